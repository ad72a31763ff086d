//! One server to scrape, with all that is needed to reach it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ByteLimits, OwnershipTerm};
use crate::catalog::OwnMetrics;
pub use crate::security::tls::{ClientTls, TlsMode};
use crate::security::{RequireAuth, Secret};

/// The servers to scrape, in the order they are shown.
pub type TargetList = Arc<Vec<Arc<Target>>>;

/// A server to scrape. Two equal targets need no new session.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The value of the label `server`; unique in the list.
    pub name: String,
    /// Who asked for it.
    pub origin: Origin,
    /// Where it listens.
    pub address: Address,
    /// Whether that may be an address of this machine or its link; a name is looked at when it is
    /// resolved.
    pub allow_local: bool,
    /// The role to log in as.
    pub user: String,
    /// Whether its name came from a Secret: no message holds it then, for whoever swaps the keys of
    /// a Secret puts the password there.
    pub user_is_secret: bool,
    /// Its password, if one is known.
    pub password: Option<Secret>,
    /// The ways of authentication that the server may ask for.
    pub require_auth: RequireAuth,
    /// The database where the session lives.
    pub database: String,
    /// Whether and how TLS is spoken.
    pub tls: ClientTls,
    /// The databases that families of scope `all` run in.
    pub databases: DatabaseChoice,
    /// The collectors that run.
    pub collectors: CollectorChoice,
    /// Labels on every sample beside `server`.
    pub labels: Vec<(String, String)>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Whether a session is kept between scrapes.
    pub keep_session: bool,
    /// How many databases keep a session of their own, at least 1.
    pub session_databases: usize,
    /// Options of the TCP socket.
    pub socket: SocketOptions,
    /// Metrics of its own, beside those of the catalogue.
    pub metrics: Option<Arc<OwnMetrics>>,
    /// The most samples of one scrape: families beyond it are left out.
    pub sample_limit: Option<usize>,
    /// What it may make the exporter hold.
    pub limits: ByteLimits,
    /// How long it may be served.
    pub ownership_term: OwnershipTerm,
}

impl Target {
    /// Whether a session to the one serves the other as well: they differ in what is asked and
    /// shown, not in how the server is reached.
    #[must_use]
    pub fn shares_session(&self, other: &Self) -> bool {
        let as_other = Self {
            databases: other.databases.clone(),
            collectors: other.collectors.clone(),
            labels: other.labels.clone(),
            metrics: other.metrics.clone(),
            sample_limit: other.sample_limit,
            limits: ByteLimits {
                login_message: self.limits.login_message,
                message: self.limits.message,
                ..other.limits
            },
            ownership_term: other.ownership_term.clone(),
            ..self.clone()
        };
        as_other == *other
    }
}

/// Who asked for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A section of `pgexporter.conf`.
    File,
    /// A resource in Kubernetes.
    Kubernetes,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or an address, and a port.
    Tcp {
        /// DNS name, IPv4 or IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A folder with a socket named `.s.PGSQL.<port>`.
    Unix {
        /// The folder.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => {
                write!(f, "{}/.s.PGSQL.{port}", directory.display())
            }
        }
    }
}

/// Which databases a family of scope `all` runs in, by glob patterns (`*`, `?`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseChoice {
    /// At least one must match.
    pub include: Vec<String>,
    /// None may match.
    pub exclude: Vec<String>,
}

/// Which collectors and extensions run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectorChoice {
    /// Only these; empty is all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Only these extensions; `None` is all that are found.
    pub extensions: Option<Vec<String>>,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first packet to a session that is ready.
    pub connect: Duration,
    /// `statement_timeout`.
    pub query: Duration,
    /// `lock_timeout`.
    pub lock: Duration,
}

/// Options of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_KEEPALIVE`.
    pub keep_alive: bool,
}
