//! The API of administration. The daemon implements it, so that this room depends on no other part of
//! the exporter.

use std::future::Future;
use std::time::{Duration, SystemTime};

use super::document::JsonObject;
use crate::model::{Role, ServerVersion};

/// Runs the commands of administrators.
pub trait AdminApi: Send + Sync + 'static {
    /// The servers, in the order they are shown.
    fn servers(&self) -> Vec<ServerReport>;

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
    fn scrape(&self, server: &str) -> impl Future<Output = Result<ScrapeReport, String>> + Send;

    /// Whether a reload would be good, and what the role may see at each server.
    fn check(&self) -> impl Future<Output = CheckReport> + Send;
}

/// One server, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReport {
    /// The value of the label `server`.
    pub name: String,
    /// Whether it answered last.
    pub active: bool,
    /// Where it came from: `file` or `kubernetes`.
    pub origin: &'static str,
    /// Where it listens.
    pub address: String,
    /// The process that scrapes it: the pod's name in a cluster, the host's elsewhere.
    pub owner: String,
    /// Once connected.
    pub version: Option<ServerVersion>,
    /// Once connected.
    pub role: Option<Role>,
    /// When the last scrape ended.
    pub last_scrape: Option<SystemTime>,
    /// How long it took.
    pub duration: Duration,
    /// Samples that it brought.
    pub samples: usize,
    /// Connections that were made to it so far.
    pub connections: u64,
    /// Whether a pooler stands before it.
    pub pooled: bool,
    /// Its name leads to different servers in turn: what to do.
    pub ambiguous: Option<String>,
    /// Collectors that the role has no right to.
    pub denied: Vec<String>,
    /// Databases whose metrics are missing: name, the reason's word, words for people.
    pub missing: Vec<(String, &'static str, String)>,
    /// What the role may do beside reading.
    pub excess_rights: Vec<String>,
    /// Collectors of which families are left out.
    pub left_out: Vec<LeftOutCollector>,
    /// Why it is not active: the reason's word, and words for people.
    pub trouble: Option<(&'static str, String)>,
    /// The last error, also when it is over.
    pub last_error: Option<LastError>,
}

/// A collector of which families are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOutCollector {
    /// Its name.
    pub collector: String,
    /// How many of its families.
    pub families: usize,
    /// The reason's word.
    pub reason: &'static str,
    /// Which limit it was, and what to do.
    pub message: String,
}

/// The last error of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct LastError {
    /// The reason's word.
    pub reason: &'static str,
    /// Words for people.
    pub message: String,
    /// When it was last so.
    pub at: SystemTime,
    /// Scrapes that brought nothing for this reason, so far.
    pub count: u64,
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

/// What one scrape of one server took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapeReport {
    /// The value of the label `server`.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Time of all queries and connections.
    pub duration: Duration,
    /// The first question there and back. `None`: no answer.
    pub round_trip: Option<Duration>,
    /// Each query in each database, as they ran.
    pub queries: Vec<ScrapedQuery>,
    /// Why it ended before its end: the reason's word, and words for people.
    pub trouble: Option<(&'static str, String)>,
}

/// One query in one database.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapedQuery {
    /// Its collector; `connect` for connecting to another database.
    pub collector: String,
    /// Its tag in the catalogue.
    pub tag: String,
    /// Where it ran.
    pub database: String,
    /// How often it runs; `None`: in each scrape.
    pub interval: Option<Duration>,
    /// Until its last row was here.
    pub duration: Duration,
    /// Samples that it shows.
    pub samples: usize,
    /// `done`, `denied`, `late`, `left out`, `failed` or `not run`.
    pub outcome: &'static str,
    /// Why it shows none.
    pub message: Option<String>,
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
    pub servers: Vec<CheckedServer>,
}

/// A server in a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckedServer {
    /// Its name.
    pub name: String,
    /// Why it cannot be scraped.
    pub trouble: Option<(&'static str, String)>,
    /// Collectors that the role has no right to.
    pub denied: Vec<String>,
}

/// A report as the object `Response`.
pub(super) trait ResponseBody {
    fn to_object(&self) -> JsonObject;
}
