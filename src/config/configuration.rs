//! What the file says, in types. Defaults stand in the table of keys.

use std::path::PathBuf;
use std::time::Duration;

use crate::telemetry::{LogFormat, LogLevel, LogMode, LogType};

/// A whole `pgexporter.conf`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The file it was read from.
    pub path: PathBuf,
    /// The section `[pgexporter]`.
    pub main: Main,
    /// Every other section, in the order of the file.
    pub servers: Vec<Server>,
}

/// The section `[pgexporter]`. Its defaults stand in the table of keys: [`Default`] is a section
/// before they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Main {
    /// Address to listen on; `*` is every address, IPv4 and IPv6.
    pub host: String,
    /// Folder of the management socket `.s.pgexporter`.
    pub unix_socket_dir: PathBuf,
    /// Group that may use that socket too; `None` is the user alone. Ours.
    pub unix_socket_group: Option<String>,
    /// Port of `/` and `/metrics`.
    pub metrics: u16,
    /// Port of `/livez` and `/readyz`; `None` is off. Ours.
    pub health: Option<u16>,
    /// Port of remote management; `None` is off.
    pub management: Option<u16>,
    /// File or folder of the user's own metrics.
    pub metrics_path: Option<PathBuf>,
    /// How long a collection is served again; zero collects at each scrape.
    pub metrics_cache_max_age: Duration,
    /// Larger collections are not kept, in bytes.
    pub metrics_cache_max_size: u64,
    /// `statement_timeout` of a collector's query; zero takes the default. Key `metrics_query_timeout`.
    pub metrics_query_timeout: Duration,
    /// Keep a session for each server between scrapes.
    pub cache: bool,
    /// Where log lines go.
    pub log_type: LogType,
    /// Lines below it are left out.
    pub log_level: LogLevel,
    /// The log file, for `log_type = file`.
    pub log_path: PathBuf,
    /// The file is begun anew when older; zero is never.
    pub log_rotation_age: Duration,
    /// The file is begun anew when larger, in bytes; zero is never.
    pub log_rotation_size: u64,
    /// `strftime` format before each line.
    pub log_line_prefix: String,
    /// Whether an existing log file is kept at start.
    pub log_mode: LogMode,
    /// Text or JSON lines. Ours.
    pub log_format: LogFormat,
    /// How long a client or a server may keep us waiting.
    pub blocking_timeout: Duration,
    /// How long an exchange of passwords may take.
    pub authentication_timeout: Duration,
    /// Whether a login over the management port may come without TLS.
    pub management_tls: ManagementTls,
    /// TLS on the management port.
    pub tls: bool,
    /// Certificate, key and CA of the management port.
    pub tls_files: TlsFiles,
    /// Certificate, key and CA of the metrics port; both of the first two switch TLS on there.
    pub metrics_tls_files: TlsFiles,
    /// `SO_KEEPALIVE` on connections.
    pub keep_alive: bool,
    /// `TCP_NODELAY` on connections.
    pub nodelay: bool,
    /// Accepted; connections are always non-blocking.
    pub non_blocking: bool,
    /// Accepted; the event loop is the operating system's own.
    pub ev_backend: &'static str,
    /// Older name of `ev_backend`; accepted.
    pub libev: &'static str,
    /// Length of the queue of connections not yet accepted.
    pub backlog: u32,
    /// Large memory pages.
    pub hugepage: HugePage,
    /// Whether a core dump may be left. Ours.
    pub core_dumps: bool,
    /// Where the process number is written.
    pub pidfile: Option<PathBuf>,
    /// How much the process title tells.
    pub update_process_title: ProcessTitle,
    /// Extensions to scrape, for every server; empty is all that are found.
    pub extensions: Vec<String>,
    /// Patterns of the databases that metrics of every database are collected in.
    pub databases: Vec<String>,
    /// Patterns of those that they are not collected in.
    pub exclude_databases: Vec<String>,
    /// Only these collectors run; empty is all.
    pub collectors: Vec<String>,
    /// These collectors do not run.
    pub exclude_collectors: Vec<String>,
    /// `lock_timeout` of sessions. Ours.
    pub lock_timeout: Duration,
    /// Most connections to PostgreSQL at once, over all servers. Ours.
    pub max_connections: usize,
    /// How many databases of a server may keep a session of their own. Ours.
    pub session_databases: usize,
    /// How long a session lives; zero is for ever.
    pub session_max_age: Duration,
    /// OpenMetrics when a client asks for it. Ours.
    pub openmetrics: bool,
    /// Longest text of a statement in a label, in characters. Ours.
    pub query_text_length: usize,
    /// Longest value of a label, in bytes. Ours.
    pub label_value_length: usize,
    /// Longest message of a server at login, in bytes. Ours.
    pub login_message_limit: u64,
    /// Longest message of a server after login that is held, in bytes. Ours.
    pub message_limit: u64,
    /// Most that one query may give, as text, in bytes. Ours.
    pub query_bytes_limit: u64,
    /// Most that one server may give in a scrape, as text, in bytes. Ours.
    pub target_bytes_limit: u64,
    /// Most that the samples of all servers may take in memory, in bytes; 0 is half of what the
    /// cgroup allows. Ours.
    pub total_bytes_limit: u64,
    /// Overrides the catalogue's intervals; `None` is `auto`. Ours.
    pub collector_interval: Option<Duration>,
    /// Whether changed files are taken over without being asked to. Ours.
    pub reload_on_change: bool,
    /// Whether servers are read from a cluster. Ours.
    pub kubernetes: KubernetesMode,
    /// Namespaces to read them from; empty is all. Ours.
    pub kubernetes_namespaces: Vec<String>,
    /// Label selector of their resources; empty is all. Ours.
    pub kubernetes_selector: String,
    /// Whether they may be at loopback and link-local addresses. Ours.
    pub kubernetes_allow_local_hosts: bool,
    /// Patterns of the hosts they may name; empty is all. Ours.
    pub kubernetes_allowed_hosts: Vec<String>,
    /// Ports they may name, as numbers and ranges; [`port_ranges`](super::port_ranges) reads them.
    /// Ours.
    pub kubernetes_allowed_ports: Vec<String>,
    /// Upper bound of the samples of each. Ours.
    pub kubernetes_max_samples_per_target: usize,
    /// Most of them that a namespace may bring; 0 is no limit. Ours.
    pub kubernetes_max_targets_per_namespace: usize,
    /// Whether they are shared among pods. Ours.
    pub kubernetes_shards: Shards,
    /// What else than resources brings them. Ours.
    pub kubernetes_discover: Discover,
}

/// A section of a server; [`Default`] is as for [`Main`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// The section's name, which is the value of the label `server`.
    pub name: String,
    /// Host name, address, or a folder (begins with `/`) that holds a Unix socket.
    pub host: String,
    /// Port, also for the socket's name.
    pub port: u16,
    /// What answers there.
    pub kind: ServerKind,
    /// The role to log in as.
    pub user: String,
    /// File with the role's password. Ours.
    pub password_file: Option<PathBuf>,
    /// The ways of authentication that it may ask for, as libpq's `require_auth`; empty is all.
    /// Ours.
    pub require_auth: Vec<String>,
    /// The database where the session lives. Ours; default `postgres`.
    pub database: String,
    /// Folder of the server's data, if it is on this machine.
    pub data_dir: Option<PathBuf>,
    /// Folder of the server's WAL, if it is on this machine.
    pub wal_dir: Option<PathBuf>,
    /// Whether and how TLS is spoken to the server.
    pub tls: ServerTls,
    /// Client certificate, its key, and the CA.
    pub tls_files: TlsFiles,
    /// Extensions to scrape; empty takes the main section's.
    pub extensions: Vec<String>,
    /// Patterns of databases; empty takes the main section's.
    pub databases: Vec<String>,
    /// Patterns of databases to leave out; empty takes the main section's.
    pub exclude_databases: Vec<String>,
}

/// Paths of a certificate, its key, and the authorities to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
    /// Certificate authorities, PEM.
    pub ca: Option<PathBuf>,
}

/// `kubernetes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KubernetesMode {
    /// In a pod with a service account.
    Auto,
    /// Always.
    On,
    #[default]
    /// Never.
    Off,
}

/// `kubernetes_shards`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    #[default]
    /// Each pod scrapes all of them.
    Off,
    /// Each one is scraped by one of the pods that hold a Lease.
    Lease,
}

/// `management_tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManagementTls {
    #[default]
    /// With TLS or without.
    Allow,
    /// With TLS alone.
    Require,
}

/// `kubernetes_discover`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discover {
    #[default]
    /// Nothing.
    Off,
    /// Services with an annotation of ours.
    Services,
}

/// `hugepage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HugePage {
    #[default]
    Off,
    Try,
    On,
}

/// `update_process_title`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ProcessTitle {
    #[default]
    Never,
    Strict,
    Minimal,
    Verbose,
}

/// `type` of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ServerKind {
    #[default]
    Postgresql,
    Prometheus,
}

/// `tls` of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerTls {
    #[default]
    /// Never.
    Off,
    /// If the server can; the certificate is not checked.
    Try,
    /// Always; the certificate is not checked unless a CA is given.
    On,
    /// Always; the certificate is checked against the CA.
    VerifyCa,
    /// Always; the certificate is checked against the CA, and the name in it against `host`.
    VerifyFull,
}
