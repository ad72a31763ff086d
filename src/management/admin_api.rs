//! The API of administration. The daemon implements it, so that this room depends on no other part of
//! the exporter.

use std::future::Future;
use std::time::Duration;

use crate::blocking::BlockingError;
use crate::config::SetError;
use crate::targets::{LoadErrors, Profile, ServerReport};
use crate::telemetry::TelemetryError;

/// Runs the commands of administrators.
pub trait AdminApi: Send + Sync + 'static {
    /// The servers, in the order they are shown.
    fn servers(&self) -> Vec<ServerReport>;

    /// The process that scrapes them: the pod's name in a cluster, the host's elsewhere.
    fn owner(&self) -> &str;

    /// What a person should know of all servers together, one sentence each.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Begins the shutdown; returns at once.
    fn shutdown(&self);

    /// Reads all files again, and uses them only if all of them are right.
    ///
    /// # Errors
    /// All that is wrong, one line each.
    fn reload(&self) -> impl Future<Output = Result<ReloadReport, AdminApiError>> + Send;

    /// The files that the configuration came from: what each is, and its path.
    fn files(&self) -> Vec<(&'static str, String)>;

    /// The configuration: of one key, or all.
    ///
    /// # Errors
    /// What is wrong with the key.
    fn settings(
        &self,
        key: Option<&str>,
    ) -> impl Future<Output = Result<Vec<SettingReport>, AdminApiError>> + Send;

    /// Changes a value that may change at once.
    ///
    /// # Errors
    /// There is no such key or server, the value is not allowed, or it could not be used.
    fn set(
        &self,
        key: &str,
        value: &str,
    ) -> impl Future<Output = Result<SetOutcome, AdminApiError>> + Send;

    /// Drops cached metrics and sets counters to 0.
    fn clear(&self);

    /// Asks a server everything once, one query after the other, and times each.
    ///
    /// # Errors
    /// There is no such server.
    fn scrape(&self, server: &str) -> impl Future<Output = Result<Profile, AdminApiError>> + Send;

    /// Whether a reload would be good, and what the role may see at each server.
    fn check(&self) -> impl Future<Output = CheckReport> + Send;
}

/// A reload that was taken over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReloadReport {
    /// What is different, one line each.
    pub changes: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub restart: Vec<String>,
}

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingReport {
    /// The key: `log_level`, `server.primary.port`.
    pub key: String,
    /// The value that is used.
    pub running: String,
    /// What stands in the file now, where that is something else.
    pub file: Option<String>,
    /// For a word that the C program keeps as a number: that number.
    pub number: Option<u32>,
}

/// The outcome of `conf set`.
#[derive(Clone, Debug, PartialEq)]
pub enum SetOutcome {
    /// It is used from now on.
    Applied {
        /// The value before.
        old: String,
        /// The value now.
        new: String,
        /// What a person should know of it.
        notices: Vec<String>,
    },
    /// It would need a restart, and nothing was changed.
    Restart {
        /// The value that is used.
        current: String,
    },
    /// It is so already.
    Same {
        /// The value.
        current: String,
    },
}

/// Why a request of an administrator was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminApiError {
    /// Files were not read within this time.
    #[error(
        "pgexporter.conf, or a file that it names, could not be read within {0:?}; check that the \
         disk responds and that none of the files is a pipe, then try again"
    )]
    TooSlow(Duration),
    /// The files were read when nobody waited any more.
    #[error("the reload timed out before its files were read; reload again")]
    GivenUp,
    /// There was no thread that could read the files.
    #[error("the files could not be read: {0}")]
    NotRead(#[from] BlockingError),
    /// The shutdown has begun.
    #[error("the exporter is shutting down")]
    ShuttingDown,
    /// There is no such key.
    #[error("Unknown configuration key '{0}'; `conf get` without a key lists them")]
    UnknownKey(String),
    /// There is no such server.
    #[error("Unknown server '{0}'; `targets` lists those of this exporter")]
    UnknownServer(String),
    /// A key cannot have this value.
    #[error(transparent)]
    Set(#[from] SetError),
    /// Files are wrong.
    #[error(transparent)]
    Files(#[from] LoadErrors),
    /// The log cannot be as it should.
    #[error(transparent)]
    Logging(#[from] TelemetryError),
}

impl AdminApiError {
    /// The same in words: a line for each thing that is wrong.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Files(errors) => errors.lines(),
            other => vec![other.to_string()],
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckReport {
    /// What is wrong: a reload would be refused, or a server cannot be scraped.
    pub problems: Vec<String>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// What a reload would change, one line each.
    pub changes: Vec<String>,
    /// Servers that were asked.
    pub servers: Vec<ServerReport>,
}
