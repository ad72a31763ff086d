//! The API of administration. The daemon implements it, so that this room depends on no other part of
//! the exporter.

use std::future::Future;

use crate::targets::{Profile, ServerReport};

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
    fn reload(&self) -> impl Future<Output = Result<ReloadReport, Vec<String>>> + Send;

    /// The files that the configuration came from: what each is, and its path.
    fn files(&self) -> Vec<(&'static str, String)>;

    /// The configuration: of one key, or all.
    ///
    /// # Errors
    /// What is wrong with the key.
    fn settings(
        &self,
        key: Option<&str>,
    ) -> impl Future<Output = Result<Vec<SettingReport>, String>> + Send;

    /// Changes a value that may change at once.
    fn set(&self, key: &str, value: &str) -> impl Future<Output = SetOutcome> + Send;

    /// Drops cached metrics and sets counters to 0.
    fn clear(&self);

    /// Asks a server everything once, one query after the other, and times each.
    ///
    /// # Errors
    /// There is no such server.
    fn scrape(&self, server: &str) -> impl Future<Output = Result<Profile, String>> + Send;

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
    /// The value is not allowed, for this reason.
    Invalid(String),
    /// There is no such key.
    UnknownKey(String),
    /// There is no such server.
    UnknownServer(String),
    /// The value is good and could not be used, for these reasons.
    Failed(Vec<String>),
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
