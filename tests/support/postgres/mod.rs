//! Real PostgreSQL servers, of any major version, in temporary folders and on free ports.

mod builder;
mod faults;
mod install;
mod replica;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, Row};

pub use builder::Builder;
pub use install::release;

use super::client::{self, Session, describe};
use super::keeper::{Keeper, processes_in};
use super::ports::Port;
use super::{account, within};

/// The superuser of every server.
pub const SUPERUSER: &str = "postgres";

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops it and removes all it wrote.
#[derive(Debug)]
pub struct Postgres {
    major: u32,
    port: Port,
    password: Option<String>,
    /// `None` while it is stopped.
    server: Mutex<Option<Child>>,
    keeper: Keeper,
}

impl Postgres {
    /// Starts a server with default settings.
    #[track_caller]
    pub fn start(major: u32) -> Self {
        Self::builder(major).start()
    }

    /// A server with settings of one's own.
    pub fn builder(major: u32) -> Builder {
        Builder::new(major)
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Its TCP port, on 127.0.0.1 and, where there is IPv6, on `::1`.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The address it listens on, without the port.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The folder of its Unix socket: a value for `host` that begins with `/`.
    pub fn socket_dir(&self) -> &Path {
        self.keeper.path()
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.keeper.path().join("data")
    }

    /// The superuser's password, when it was given one.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The superuser's URL to the database `postgres`.
    pub fn url(&self) -> String {
        let password = self
            .password
            .as_ref()
            .map(|password| format!(":{password}"))
            .unwrap_or_default();
        format!(
            "postgresql://{SUPERUSER}{password}@{}:{}/postgres",
            self.host(),
            self.port()
        )
    }

    /// The superuser's connection over the Unix socket.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.socket_dir())
            .port(self.port())
            .user(SUPERUSER)
            .dbname(database)
            .application_name("testbed")
            .connect_timeout(Duration::from_secs(10));
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }

    /// Runs statements as superuser in the database `postgres`; fails the test on an error.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.execute_in("postgres", sql);
    }

    /// Runs statements as superuser in a database; fails the test on an error.
    #[track_caller]
    pub fn execute_in(&self, database: &str, sql: &str) {
        if let Err(error) = client::execute(&self.config(database), sql) {
            panic!("{sql}: {}", describe(&error));
        }
    }

    /// Asks as superuser in the database `postgres`; fails the test on an error.
    #[track_caller]
    pub fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        match client::query(&self.config("postgres"), sql, parameters) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {}", describe(&error)),
        }
    }

    /// Asks as superuser, each row as text, NULL as `None`; fails the test on an error.
    #[track_caller]
    pub fn text(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match client::text(&self.config("postgres"), sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {}", describe(&error)),
        }
    }

    /// The first column of the first row as text, empty for NULL and for no row.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        let mut rows = self.text(sql);
        let first = rows.first_mut().and_then(|row| row.first_mut());
        first.and_then(Option::take).unwrap_or_default()
    }

    /// A session as superuser that stays open; fails the test when there is none to be had.
    #[track_caller]
    pub fn session(&self, database: &str) -> Session {
        match Session::open(&self.config(database)) {
            Ok(session) => session,
            Err(error) => panic!("no session in {database}: {}", describe(&error)),
        }
    }

    /// A client as superuser in the current tokio runtime.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(&self, database: &str) -> Result<Client, Error> {
        client::connect(&self.config(database)).await
    }

    /// All that the server wrote to its log.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The postmaster's process id, `None` while it is stopped.
    pub fn pid(&self) -> Option<i32> {
        self.server().as_ref().map(|child| child.id().cast_signed())
    }

    /// All processes of the server, the postmaster among them.
    pub fn processes(&self) -> Vec<i32> {
        processes_in(&self.data_dir())
    }

    fn log_file(&self) -> PathBuf {
        self.keeper.path().join("server.log")
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts the postmaster and waits until it lets clients in.
    fn launch(&self) -> Result<(), String> {
        let installed = install::server(self.major).map_err(|error| format!("{error:#}"))?;
        let written = self.log().len();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(|error| format!("{}: {error}", self.log_file().display()))?;
        let data = self.data_dir();
        let mut command = account::command(&installed.join("bin/postgres"));
        install::environment(&mut command);
        let child = command
            .arg("-D")
            .arg(&data)
            .current_dir(&data)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("PostgreSQL does not start: {error}"))?;
        let mut server = self.server();
        let child = server.insert(child);
        let mut outcome = Err(format!("not ready within {PATIENCE:?}"));
        within(PATIENCE, || {
            if let Ok(Some(status)) = child.try_wait() {
                outcome = Err(format!("it ended ({status})"));
                return true;
            }
            if is_ready(&data, child.id()) {
                outcome = Ok(());
            }
            outcome.is_ok()
        });
        outcome.map_err(|error| {
            let log = self.log();
            format!(
                "PostgreSQL {}: {error}: {}",
                self.major,
                &log[written.min(log.len())..]
            )
        })
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    fn stop(&self, signal: Signal) {
        self.thaw();
        self.signal(signal);
        let mut server = self.server();
        if let Some(child) = server.as_mut() {
            let ended = within(PATIENCE, || {
                child.try_wait().is_ok_and(|status| status.is_some())
            });
            assert!(ended, "PostgreSQL {} does not stop", self.major);
        }
        *server = None;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The keeper's shell asks the server to end; its parent, which is us, has to take note.
        self.keeper.close();
        if let Some(mut child) = self.server().take() {
            let _ = child.wait();
        }
    }
}

/// The postmaster writes its state into the eighth line of its pidfile.
fn is_ready(data: &Path, process: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().collect();
    lines
        .first()
        .is_some_and(|line| *line == process.to_string())
        && lines.get(7).is_some_and(|line| line.trim() == "ready")
}
