//! What pages and commands tell of a target. The keys are those of the management protocol.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::json;

use super::health::{HealthReport, TargetError};
use crate::model::{Role, ServerVersion};

/// One server, as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReport {
    /// The value of the label `server`.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Where it came from: `file` or `kubernetes`.
    pub origin: &'static str,
    /// How it is.
    pub health: HealthReport,
    /// Connections that were made to it.
    pub connections: u64,
    /// Collections that brought nothing for the reason of its last error.
    pub failures: u64,
}

impl Serialize for ServerReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let health = &self.health;
        let last_error = health.last_error.as_ref().map(|(error, at)| {
            json!({
                "Reason": error.kind,
                "Message": error.message,
                "Time": timestamp(*at),
                "Count": self.failures,
            })
        });
        json!({
            "Server": self.name,
            "Active": health.active,
            "Address": self.address,
            "Origin": self.origin,
            "Version": health.version.map(|version| version.to_string()),
            "MajorVersion": health.version.map(ServerVersion::major),
            "MinorVersion": health.version.map(ServerVersion::minor),
            "Role": health.role.map(Role::as_str),
            "LastScrape": health.last_scrape.and_then(timestamp),
            "Duration": health.last_scrape.map(|_| seconds(health.duration)),
            "Samples": health.samples,
            "Connections": self.connections,
            "Pooled": health.pooled,
            "Ambiguous": health.ambiguous,
            "Denied": health.denied,
            "MissingDatabases": health.missing,
            "ExcessRights": health.excess_rights,
            "LeftOut": health.left_out,
            "Trouble": health.trouble,
            "LastError": last_error,
        })
        .serialize(serializer)
    }
}

/// One scrape of one server, query by query.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Profile {
    /// Where the server listens.
    pub address: String,
    /// Time of the queries and connections, without that of scrapes that came between.
    #[serde(serialize_with = "serialize_seconds")]
    pub duration: Duration,
    /// Time of the questions that a scrape begins with: nearly all of it is the way there and
    /// back. `None`: no answer.
    #[serde(serialize_with = "serialize_some_seconds")]
    pub round_trip: Option<Duration>,
    /// Each query in each database, in the order in which they ran.
    pub queries: Vec<ProfiledQuery>,
    /// Why it ended before its end.
    pub trouble: Option<TargetError>,
}

/// One query in one database.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProfiledQuery {
    /// The collector it belongs to; `connect` for connecting to another database.
    pub collector: String,
    /// Its tag in the catalogue.
    pub tag: String,
    /// Where it ran.
    pub database: String,
    /// How often it runs; `None`: in each scrape.
    #[serde(serialize_with = "serialize_some_seconds")]
    pub interval: Option<Duration>,
    /// Until its last row was here.
    #[serde(serialize_with = "serialize_seconds")]
    pub duration: Duration,
    /// Samples that it shows.
    pub samples: usize,
    /// How it ended: `done`, `denied`, `late`, `left out`, `failed` or `not run`.
    pub outcome: &'static str,
    /// Why it shows none.
    pub message: Option<String>,
}

/// Seconds, to the microsecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*duration))
}

fn serialize_some_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(seconds).serialize(serializer)
}

/// RFC 3339, in UTC.
fn timestamp(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
