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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetErrorKind;
    use crate::targets::{DatabaseProblem, LeftOut, LeftOutReason, MissingDatabase};

    fn error() -> TargetError {
        TargetError {
            kind: TargetErrorKind::ConnectionLost,
            message: "it broke".to_owned(),
        }
    }

    #[test]
    fn a_server_is_told_with_the_keys_of_the_protocol() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        let mut report = ServerReport {
            name: "primary".to_owned(),
            address: "db:5432".to_owned(),
            origin: "file",
            health: HealthReport::default(),
            connections: 2,
            failures: 3,
        };
        let fresh = json!(report);
        let trouble = json!({ "Reason": "pending", "Message": "not asked yet" });
        assert_eq!(fresh["Trouble"], trouble);
        for key in [
            "Version",
            "MinorVersion",
            "Role",
            "LastScrape",
            "Duration",
            "LastError",
        ] {
            assert_eq!(fresh.get(key), Some(&json!(null)), "{key}");
        }
        report.health = HealthReport {
            version: Some(ServerVersion(170_010)),
            role: Some(Role::Replica),
            last_scrape: Some(at),
            duration: Duration::from_nanos(1_234_567),
            missing: vec![MissingDatabase {
                name: "shop".to_owned(),
                problem: DatabaseProblem::TooSlow,
                message: "slow".to_owned(),
            }],
            left_out: vec![LeftOut {
                collector: "locks".to_owned(),
                families: 2,
                reason: LeftOutReason::TooLarge,
                message: "large".to_owned(),
            }],
            last_error: Some((error(), at)),
            ..HealthReport::default()
        };
        let told = json!(report);
        for (key, value) in [
            ("Server", json!("primary")),
            ("Version", json!("17.10")),
            ("MajorVersion", json!(17)),
            ("Role", json!("replica")),
            ("LastScrape", json!("1970-01-02T00:00:00Z")),
            ("Duration", json!(0.001235)),
            (
                "MissingDatabases",
                json!([{ "Database": "shop", "Reason": "too_slow", "Message": "slow" }]),
            ),
            (
                "LeftOut",
                json!([{
                    "Collector": "locks", "Families": 2, "Reason": "too_large", "Message": "large",
                }]),
            ),
            (
                "LastError",
                json!({
                    "Reason": "connection_lost", "Message": "it broke",
                    "Time": "1970-01-02T00:00:00Z", "Count": 3,
                }),
            ),
        ] {
            assert_eq!(told[key], value, "{key}");
        }
    }

    #[test]
    fn a_profile_is_told_in_seconds() {
        let profile = Profile {
            address: "db:5432".to_owned(),
            duration: Duration::from_micros(1500),
            round_trip: None,
            queries: vec![ProfiledQuery {
                collector: "locks".to_owned(),
                tag: "pg_locks".to_owned(),
                database: "shop".to_owned(),
                interval: Some(Duration::from_secs(60)),
                duration: Duration::from_millis(2),
                samples: 7,
                outcome: "done",
                message: None,
            }],
            trouble: Some(error()),
        };
        let told = json!({
            "Address": "db:5432",
            "Duration": 0.0015,
            "RoundTrip": null,
            "Queries": [{
                "Collector": "locks", "Tag": "pg_locks", "Database": "shop", "Interval": 60.0,
                "Duration": 0.002, "Samples": 7, "Outcome": "done", "Message": null,
            }],
            "Trouble": { "Reason": "connection_lost", "Message": "it broke" },
        });
        assert_eq!(json!(profile), told);
    }
}
