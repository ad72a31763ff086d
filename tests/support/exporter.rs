//! The program itself, as its users run it: the real binary, on a configuration file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cgroup::Cgroup;
use super::keeper::{FOLDER_VARIABLE, Keeper};
use super::ports::Port;
use super::postgres::{Postgres, SUPERUSER};
use super::samples::Samples;
use super::{DEADLINE, within};

/// The exporter's configuration before it starts.
///
/// In every text, `{dir}` stands for its temporary folder, and `{metrics}`, `{health}` and
/// `{management}` for free ports.
#[derive(Default)]
pub struct ExporterBuilder {
    whole: Option<String>,
    settings: Vec<String>,
    sections: Vec<String>,
    passwords: String,
    files: Vec<(String, String)>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    hosts: Option<String>,
    resolver: Option<String>,
    cgroup: Option<PathBuf>,
    open_files: Option<u32>,
}

/// A running exporter. Dropping it kills it and removes all it wrote.
#[derive(Debug)]
pub struct Exporter {
    process: Child,
    ports: BTreeMap<&'static str, Port>,
    keeper: Keeper,
}

/// An exporter that did not come up.
#[derive(Debug)]
pub struct NotStarted {
    /// `None` when it ran, but did not listen.
    pub status: Option<ExitStatus>,
    /// All that it said.
    pub log: String,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl ExporterBuilder {
    /// The whole configuration file, instead of one made of settings and sections.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.whole = Some(text.into());
        self
    }

    /// A line of the section `[pgexporter]`, beside host, ports, socket folder and log file. A
    /// key given here replaces ours.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        self.settings.push(line.into());
        self
    }

    /// A section `[name]` for a server, asked as its superuser over TCP.
    #[must_use]
    pub fn server(self, name: &str, server: &Postgres) -> Self {
        self.server_as(name, server, SUPERUSER, server.password())
    }

    /// A section for a server, asked as another role.
    #[must_use]
    pub fn server_as(
        mut self,
        name: &str,
        server: &Postgres,
        user: &str,
        password: Option<&str>,
    ) -> Self {
        let (host, port) = (server.host(), server.port());
        if let Some(password) = password {
            let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
            self.passwords
                .push_str(&format!("{host}:{port}:*:{user}:{escaped}\n"));
        }
        self.section(&format!(
            "[{name}]\nhost = {host}\nport = {port}\nuser = {user}\n"
        ))
    }

    /// Any section, with its heading.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push(text.into());
        self
    }

    /// A further file in its folder.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// A further argument of the command line, after `-c FILE`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A further variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Names that only this exporter resolves, as `/etc/hosts` has them. Only where
    /// [`can_name_hosts`].
    #[must_use]
    pub fn hosts(mut self, lines: &str) -> Self {
        self.hosts = Some(lines.into());
        self
    }

    /// A file of its own in the place of `/etc/resolv.conf`. Only with [`Self::hosts`].
    #[must_use]
    pub fn resolver(mut self, lines: &str) -> Self {
        self.resolver = Some(lines.into());
        self
    }

    /// Runs in this cgroup from the start.
    #[must_use]
    pub fn in_cgroup(mut self, group: &Cgroup) -> Self {
        self.cgroup = Some(group.processes());
        self
    }

    /// The most files that it may have open, soft and hard.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Starts it and waits until it accepts connections on `{metrics}`; fails the test with its
    /// log when it does not.
    #[track_caller]
    pub fn start(self) -> Exporter {
        match self.try_start() {
            Ok(exporter) => exporter,
            Err(error) => panic!("pgexporter: {:?}: {}", error.status, error.log),
        }
    }

    /// Starts it and waits until it accepts connections on `{metrics}`.
    ///
    /// # Errors
    /// When it ends before that, or does not come to it.
    pub fn try_start(self) -> Result<Exporter, NotStarted> {
        let mut exporter = self.spawn();
        let port = exporter.port("metrics");
        let mut status = None;
        let ready = within(DEADLINE, || {
            if let Ok(Some(ended)) = exporter.process.try_wait() {
                status = Some(ended);
            }
            status.is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        // Only after its end is the log whole.
        if ready && status.is_none() {
            return Ok(exporter);
        }
        Err(NotStarted {
            status,
            log: exporter.log(),
        })
    }

    /// Starts it and waits for nothing.
    #[track_caller]
    pub fn spawn(self) -> Exporter {
        let keeper = Keeper::new().expect("a temporary folder");
        let ports: BTreeMap<_, _> = ["metrics", "health", "management"]
            .map(|name| (name, Port::free()))
            .into();
        let folder = keeper.path().to_owned();
        let text = self.whole.clone().unwrap_or_else(|| self.generated());
        fs::write(
            folder.join("pgexporter.conf"),
            filled(&text, &folder, &ports),
        )
        .expect("the configuration is written");
        for (name, text) in &self.files {
            let parent = folder.join(name);
            fs::create_dir_all(parent.parent().unwrap_or(&folder)).expect("its folder is made");
            fs::write(folder.join(name), filled(text, &folder, &ports)).expect("it is written");
        }
        let passwords = folder.join("pgpass");
        fs::write(&passwords, &self.passwords).expect("the password file is written");
        fs::set_permissions(&passwords, Permissions::from_mode(0o600)).expect("it is made private");
        let console = File::create(folder.join("console.log")).expect("a log file");
        let mut command = match &self.hosts {
            None if self.cgroup.is_none() && self.open_files.is_none() => Command::new(program()),
            None => {
                let limit = self
                    .open_files
                    .map(|limit| format!("ulimit -n {limit} && "));
                let group = self.cgroup.as_ref();
                let enter = group.map(|group| format!("echo $$ > '{}' && ", group.display()));
                let script = format!(
                    "{}{}exec \"$0\" \"$@\"",
                    enter.unwrap_or_default(),
                    limit.unwrap_or_default()
                );
                let mut command = Command::new("sh");
                command.args(["-c", &script]).arg(program());
                command
            }
            Some(lines) => {
                let hosts = folder.join("hosts");
                fs::write(&hosts, lines).expect("it is written");
                let resolver = folder.join("resolv.conf");
                if let Some(lines) = &self.resolver {
                    fs::write(&resolver, lines).expect("it is written");
                }
                let mut command = in_own_mounts();
                let script = r#"mount --bind "$0" /etc/hosts || exit
                    [ ! -e "$1" ] || mount --bind "$1" /etc/resolv.conf || exit
                    shift; exec "$@""#;
                command.args(["sh", "-c", script]).arg(hosts).arg(resolver);
                command.arg(program());
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("PG") || name_text.starts_with("KUBE") {
                command.env_remove(name);
            }
        }
        let process = command
            .arg("-c")
            .arg(folder.join("pgexporter.conf"))
            .args(
                self.arguments
                    .iter()
                    .map(|argument| filled(&argument.to_string_lossy(), &folder, &ports)),
            )
            .env("HOME", &folder)
            .env("PGPASSFILE", &passwords)
            // A detached exporter may work in another folder; the keeper knows it by this.
            .env(FOLDER_VARIABLE, &folder)
            .envs(self.environment)
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a second handle"))
            .stderr(console)
            .spawn()
            .expect("pgexporter is built");
        Exporter {
            process,
            ports,
            keeper,
        }
    }

    fn generated(&self) -> String {
        let own = [
            "host = 127.0.0.1",
            "metrics = {metrics}",
            "health = {health}",
            "unix_socket_dir = {dir}",
            "kubernetes = off",
            "log_type = file",
            "log_path = {dir}/pgexporter.log",
        ];
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let given: Vec<String> = self.settings.iter().map(|line| key(line)).collect();
        let mut lines = vec!["[pgexporter]".to_owned()];
        lines.extend(
            own.iter()
                .filter(|line| !given.contains(&key(line)))
                .map(|&l| l.into()),
        );
        lines.extend(self.settings.iter().cloned());
        lines.extend(self.sections.iter().cloned());
        lines.join("\n") + "\n"
    }
}

impl Exporter {
    /// An exporter to be configured.
    pub fn builder() -> ExporterBuilder {
        ExporterBuilder::default()
    }

    /// An exporter for these servers, each under its name, with default settings.
    #[track_caller]
    pub fn on(servers: &[(&str, &Postgres)]) -> Self {
        servers
            .iter()
            .fold(Self::builder(), |builder, (name, server)| {
                builder.server(name, server)
            })
            .start()
    }

    /// The port called `metrics`, `health` or `management`.
    pub fn port(&self, name: &str) -> u16 {
        self.ports[name].number()
    }

    /// Its temporary folder, with `pgexporter.conf` and its logs.
    pub fn folder(&self) -> &Path {
        self.keeper.path()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// The configuration file's text.
    pub fn config_text(&self) -> String {
        fs::read_to_string(self.folder().join("pgexporter.conf")).expect("it can be read")
    }

    /// Writes the configuration file anew; [`Signal::HUP`] makes it count.
    pub fn write_config(&self, text: &str) {
        let text = filled(text, self.folder(), &self.ports);
        fs::write(self.folder().join("pgexporter.conf"), text).expect("it can be written");
    }

    /// The URL of a path on the metrics port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port("metrics"))
    }

    /// `GET` of a path on the metrics port; fails the test when there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    /// `GET` with headers.
    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        match get(&self.url(path), headers) {
            Ok(answer) => answer,
            Err(error) => panic!("GET {path}: {error}: {}", self.log()),
        }
    }

    /// One scrape; fails the test when it is not a 200 that parses.
    #[track_caller]
    pub fn metrics(&self) -> Samples {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Samples::parse(&answer.body)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        kill_process(pid, signal).expect("it is alive");
    }

    /// Waits for its end; fails the test when it does not come within [`DEADLINE`].
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        within(DEADLINE, || {
            status = self.process.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("pgexporter does not end: {}", self.log()))
    }

    /// All that it wrote: to the console, then to its log file.
    pub fn log(&self) -> String {
        ["console.log", "pgexporter.log"]
            .iter()
            .filter_map(|name| fs::read(self.folder().join(name)).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.keeper.close();
        let _ = self.process.wait();
    }
}

/// Whether [`ExporterBuilder::hosts`] can be used: for root, and for whoever may make a user
/// namespace.
pub fn can_name_hosts() -> bool {
    let tried = in_own_mounts().arg("true").output();
    tried.is_ok_and(|output| output.status.success())
}

fn in_own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}

/// `GET` of any URL.
///
/// # Errors
/// When there is no answer; an answer with any status is one.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.call().map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let mut body = String::new();
    answer
        .into_body()
        .into_with_config()
        .limit(1 << 30)
        .reader()
        .read_to_string(&mut body)
        .map_err(|error| error.to_string())?;
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// The binary. Cargo builds it beside tests, benchmarks and tools: in the same folder, or above
/// the one that they are in.
pub fn program() -> PathBuf {
    let this = std::env::current_exe().expect("this program's path");
    this.ancestors()
        .skip(1)
        .map(|folder| folder.join("pgexporter"))
        .find(|path| path.is_file())
        .expect("pgexporter is built: cargo build --bin pgexporter")
}

fn filled(text: &str, folder: &Path, ports: &BTreeMap<&'static str, Port>) -> String {
    let text = text.replace("{dir}", &folder.display().to_string());
    ports.iter().fold(text, |text, (name, port)| {
        text.replace(&format!("{{{name}}}"), &port.number().to_string())
    })
}
