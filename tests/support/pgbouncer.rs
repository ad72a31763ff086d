//! A real PgBouncer in front of a test server.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio_postgres::Config;

use super::client;
use super::keeper::Keeper;
use super::ports::Port;
use super::postgres::{Postgres, SUPERUSER};
use super::{DEADLINE, account, downloads, within};

/// A running PgBouncer. Dropping it stops it.
#[derive(Debug)]
pub struct PgBouncer {
    port: Port,
    password: Option<String>,
    process: Child,
    keeper: Keeper,
}

impl PgBouncer {
    /// Starts one that forwards every database to `server`; `pool_mode` is `session`,
    /// `transaction` or `statement`. Clients are let in as the server's superuser, with its
    /// password when it has one. All else is as PgBouncer has it by default, so that start-up
    /// parameters which it does not know are refused.
    #[track_caller]
    pub fn start(server: &Postgres, pool_mode: &str) -> Self {
        Self::start_with(server, pool_mode, &[])
    }

    /// One with further users and their passwords.
    #[track_caller]
    pub fn start_with(server: &Postgres, pool_mode: &str, users: &[(&str, &str)]) -> Self {
        let tool = downloads::pgbouncer().expect("pgbouncer is to be had");
        let keeper = Keeper::new().expect("a temporary folder");
        let port = Port::free();
        let folder = keeper.path();
        let superuser = (SUPERUSER, server.password().unwrap_or_default());
        let list: String = std::iter::once(&superuser)
            .chain(users)
            .map(|(user, password)| format!("\"{user}\" \"{}\"\n", password.replace('"', "\"\"")))
            .collect();
        let auth = if server.password().is_some() {
            "scram-sha-256"
        } else {
            "trust"
        };
        let config = format!(
            "[databases]\n* = host={host} port={server_port}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir = {folder}\nauth_type = {auth}\nauth_file = {folder}/users.txt\n\
             admin_users = {SUPERUSER}\npool_mode = {pool_mode}\n",
            host = server.host(),
            server_port = server.port(),
            port = port.number(),
            folder = folder.display(),
        );
        for (name, text) in [("users.txt", &list), ("pgbouncer.ini", &config)] {
            let file = folder.join(name);
            std::fs::write(&file, text).expect("it is written");
            account::own(&file).expect("it is given away");
        }
        let log = File::create(folder.join("pgbouncer.log")).expect("a log file");
        // Root's cache folder is closed to the user whom root drops to.
        let (program, libraries) = match &tool.libraries {
            Some(libraries) if !account::reaches(libraries) => {
                let (program, copied) = (folder.join("pgbouncer"), folder.join("lib"));
                std::fs::copy(&tool.program, &program).expect("it is copied");
                super::files::copy(libraries, &copied, &|_| false).expect("they are copied");
                (program, Some(copied))
            }
            libraries => (tool.program.clone(), libraries.clone()),
        };
        let mut command = account::command(&program);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = command
            .arg(folder.join("pgbouncer.ini"))
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("pgbouncer starts");
        let password = server.password().map(str::to_owned);
        let mut bouncer = Self {
            port,
            password,
            process,
            keeper,
        };
        let ready = within(DEADLINE, || {
            TcpStream::connect(("127.0.0.1", bouncer.port())).is_ok()
                || bouncer
                    .process
                    .try_wait()
                    .is_ok_and(|status| status.is_some())
        });
        let alive = bouncer
            .process
            .try_wait()
            .is_ok_and(|status| status.is_none());
        assert!(
            ready && alive,
            "pgbouncer does not start: {}",
            bouncer.log()
        );
        bouncer
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The superuser's connection through it; the database `pgbouncer` is its own console.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port())
            .user(SUPERUSER)
            .dbname(database)
            .connect_timeout(Duration::from_secs(10));
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }

    /// Asks through it, each row as text; fails the test on an error.
    #[track_caller]
    pub fn text(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        match client::text(&self.config(database), sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {}", client::describe(&error)),
        }
    }

    /// Changes a setting while it runs, by its own console: `name = 'value'`.
    #[track_caller]
    pub fn set(&self, setting: &str) {
        if let Err(error) = client::text(&self.config("pgbouncer"), &format!("SET {setting}")) {
            panic!("{setting}: {}", client::describe(&error));
        }
    }

    /// All that it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.keeper.path().join("pgbouncer.log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.keeper.close();
        let _ = self.process.wait();
    }
}
