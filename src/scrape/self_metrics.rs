//! The exporter's own families: of itself, and of each target.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::collection_result::CollectionResult;
use super::counters::Counters;
use crate::connection_limit::{DisplacedConnections, ListenerPort};
use crate::exposition::{FamilyHead, Format, NotAccepted, SampleWriter, write_head};
use crate::model::Kind;
use crate::telemetry::LogCounters;

/// Name, type, help of every own family, in the order they are sent.
pub(super) const FAMILIES: [(&str, Kind, &str); 24] = [
    (
        "pgexporter_state",
        Kind::Gauge,
        "State of pgexporter: 1 is running.",
    ),
    (
        "pgexporter_version",
        Kind::Gauge,
        "Version of pgexporter in a label; always 1.",
    ),
    (
        "pgexporter_logging_info",
        Kind::Counter,
        "Number of INFO log lines.",
    ),
    (
        "pgexporter_logging_warn",
        Kind::Counter,
        "Number of WARN log lines.",
    ),
    (
        "pgexporter_logging_error",
        Kind::Counter,
        "Number of ERROR log lines.",
    ),
    (
        "pgexporter_logging_fatal",
        Kind::Counter,
        "Number of FATAL log lines.",
    ),
    (
        "pgexporter_connections_displaced_total",
        Kind::Counter,
        "Number of connections to a port of the exporter that were closed for newer ones, because \
         they were idle or did not read their answer.",
    ),
    (
        "pgexporter_query_executions_total",
        Kind::Counter,
        "Number of queries sent to servers.",
    ),
    (
        "pgexporter_query_errors_total",
        Kind::Counter,
        "Number of queries that failed.",
    ),
    (
        "pgexporter_query_timeouts_total",
        Kind::Counter,
        "Number of queries cut off by a deadline, a statement timeout or a lock timeout.",
    ),
    (
        "pgexporter_postgresql_active",
        Kind::Gauge,
        "Whether the server answered this scrape: 1 is yes.",
    ),
    (
        "pgexporter_postgresql_version",
        Kind::Gauge,
        "Version of the server in labels; always 1.",
    ),
    (
        "pgexporter_postgresql_uptime",
        Kind::Gauge,
        "Seconds since the server was started.",
    ),
    (
        "pgexporter_postgresql_extension_info",
        Kind::Gauge,
        "An extension that is installed in the session's database; always 1.",
    ),
    (
        "pgexporter_postgresql_failures_total",
        Kind::Counter,
        "Number of collections that brought nothing, by reason.",
    ),
    (
        "pgexporter_postgresql_connections_total",
        Kind::Counter,
        "Number of connections made to the server.",
    ),
    (
        "pgexporter_postgresql_scrape_duration_seconds",
        Kind::Gauge,
        "How long the last collection of the server took, in seconds.",
    ),
    (
        "pgexporter_postgresql_denied",
        Kind::Gauge,
        "A collector that the role has no right to; always 1.",
    ),
    (
        "pgexporter_postgresql_left_out",
        Kind::Gauge,
        "Number of families of a collector that are left out, because the server has more samples or bytes than its limits.",
    ),
    (
        "pgexporter_postgresql_limit_exceeded_total",
        Kind::Counter,
        "Number of runs of a collector's queries that gave more than a limit allows, by reason.",
    ),
    (
        "pgexporter_postgresql_query_failures_total",
        Kind::Counter,
        "Number of queries of a collector that gave no samples, by reason.",
    ),
    (
        "pgexporter_postgresql_database_missing",
        Kind::Gauge,
        "A database whose metrics are missing, with the reason; always 1.",
    ),
    (
        "pgexporter_postgresql_duplicate_samples_total",
        Kind::Counter,
        "Number of samples of a collector that were left out, because another one had the same labels.",
    ),
    (
        "pgexporter_postgresql_not_accepted",
        Kind::Gauge,
        "A server of Kubernetes that is not scraped as its PostgresTarget asks, by reason; always 1.",
    ),
];

/// Renders all of them.
pub(super) fn render(
    servers: &[Arc<CollectionResult>],
    not_accepted: &[NotAccepted],
    (counters, logs, displaced): (&Counters, &LogCounters, &DisplacedConnections),
    format: Format,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    for (name, kind, help) in FAMILIES {
        let mut lines = SelfMetricsLines {
            out: Vec::new(),
            name,
            more: &[],
        };
        match name {
            "pgexporter_state" => lines.add(&[], 1),
            "pgexporter_version" => {
                lines.add(&[("pgexporter_version", env!("CARGO_PKG_VERSION"))], 1);
            }
            "pgexporter_logging_info" => lines.add(&[], logs.info.load(Ordering::Relaxed)),
            "pgexporter_logging_warn" => lines.add(&[], logs.warn.load(Ordering::Relaxed)),
            "pgexporter_logging_error" => lines.add(&[], logs.error.load(Ordering::Relaxed)),
            "pgexporter_logging_fatal" => lines.add(&[], logs.fatal.load(Ordering::Relaxed)),
            "pgexporter_connections_displaced_total" => {
                for port in ListenerPort::ALL {
                    lines.add(&[("port", port.as_str())], displaced.number(port));
                }
            }
            "pgexporter_query_executions_total" => lines.add(&[], counters.executions.get()),
            "pgexporter_query_errors_total" => lines.add(&[], counters.errors.get()),
            "pgexporter_query_timeouts_total" => lines.add(&[], counters.timeouts.get()),
            _ => {
                servers
                    .iter()
                    .for_each(|server| of_server(&mut lines, server));
                let known = |one: &NotAccepted| {
                    one.scraped
                        || servers
                            .iter()
                            .any(|server| server.target.name == one.server)
                };
                for one in not_accepted {
                    of_not_accepted(&mut lines, one, known(one));
                }
            }
        }
        if !lines.out.is_empty() {
            write_head(&mut out, FamilyHead { name, kind, help }, format);
            out.append(&mut lines.out);
        }
    }
    out
}

fn of_server<'a>(lines: &mut SelfMetricsLines<'a>, collected: &'a CollectionResult) {
    let server = ("server", collected.target.name.as_str());
    lines.more = &collected.target.labels;
    match lines.name {
        "pgexporter_postgresql_active" => lines.add(&[server], u64::from(collected.active())),
        "pgexporter_postgresql_version" => {
            if let Some(facts) = &collected.facts {
                let major = facts.version.major().to_string();
                let minor = facts.version.minor().to_string();
                lines.add(&[server, ("version", &major), ("minor_version", &minor)], 1);
            }
        }
        "pgexporter_postgresql_uptime" => {
            if let Some(facts) = &collected.facts {
                // Whole seconds, as the C program gives them.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                lines.add(&[server], facts.uptime.max(0.0) as u64);
            }
        }
        "pgexporter_postgresql_extension_info" => {
            for (name, version, comment) in collected.facts.iter().flat_map(|f| &f.extensions) {
                let labels = [
                    server,
                    ("extension", name.as_str()),
                    ("version", version),
                    ("comment", comment),
                ];
                lines.add(&labels, 1);
            }
        }
        "pgexporter_postgresql_failures_total" => {
            for (reason, number) in collected.counters.failures() {
                lines.add(&[server, ("reason", reason.as_str())], number);
            }
        }
        "pgexporter_postgresql_connections_total" => {
            lines.add(&[server], collected.counters.connections.get());
        }
        "pgexporter_postgresql_scrape_duration_seconds" => {
            let mut sample = SampleWriter::begin(&mut lines.out, lines.name);
            sample.label("server", server.1.as_bytes());
            for (name, value) in lines.more {
                sample.label(name, value.as_bytes());
            }
            sample.float(collected.duration.as_secs_f64());
        }
        "pgexporter_postgresql_denied" => {
            for collector in &collected.denied {
                lines.add(&[server, ("collector", collector)], 1);
            }
        }
        "pgexporter_postgresql_left_out" => {
            for one in &collected.left_out {
                let collector = ("collector", one.collector.as_str());
                lines.add(&[server, collector], one.families as u64);
            }
        }
        "pgexporter_postgresql_limit_exceeded_total" => {
            for ((collector, reason), number) in collected.counters.left_out() {
                let labels = [
                    server,
                    ("collector", collector.as_str()),
                    ("reason", reason.as_str()),
                ];
                lines.add(&labels, number);
            }
        }
        "pgexporter_postgresql_query_failures_total" => {
            for (collector, reason, number) in collected.counters.query_failures() {
                let labels = [server, ("collector", &collector), ("reason", reason)];
                lines.add(&labels, number);
            }
        }
        "pgexporter_postgresql_database_missing" => {
            for one in &collected.missing {
                let reason = ("reason", one.problem.as_str());
                lines.add(&[server, ("database", &one.name), reason], 1);
            }
        }
        "pgexporter_postgresql_duplicate_samples_total" => {
            for (collector, number) in collected.counters.duplicates() {
                lines.add(&[server, ("collector", &collector)], number);
            }
        }
        _ => {}
    }
}

/// A server that is not scraped has no sample but these.
fn of_not_accepted<'a>(lines: &mut SelfMetricsLines<'a>, one: &'a NotAccepted, known: bool) {
    let server = ("server", one.server.as_str());
    lines.more = &one.labels;
    match lines.name {
        "pgexporter_postgresql_active" if !known => lines.add(&[server], 0),
        "pgexporter_postgresql_not_accepted" => {
            lines.add(&[server, ("reason", one.reason)], 1);
        }
        _ => {}
    }
}

struct SelfMetricsLines<'a> {
    out: Vec<u8>,
    name: &'a str,
    /// Labels of the target that is written of.
    more: &'a [(String, String)],
}

impl SelfMetricsLines<'_> {
    fn add(&mut self, labels: &[(&str, &str)], value: u64) {
        let mut sample = SampleWriter::begin(&mut self.out, self.name);
        for (name, value) in labels {
            sample.label(name, value.as_bytes());
        }
        for (name, value) in self.more {
            sample.label(name, value.as_bytes());
        }
        sample.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::is_reserved;

    #[test]
    fn a_server_that_is_refused_is_shown_as_not_active_with_a_reason() {
        let one = |server: &str, scraped| NotAccepted {
            server: server.to_owned(),
            labels: vec![("namespace".to_owned(), "shop".to_owned())],
            reason: "InvalidHost",
            scraped,
        };
        let all = [one("shop/a", false), one("shop/b", true)];
        let (counters, logs) = (Counters::default(), LogCounters::default());
        let text = render(
            &[],
            &all,
            (&counters, &logs, &DisplacedConnections::default()),
            Format::Text,
        );
        let text = String::from_utf8(text).unwrap();
        let active = "pgexporter_postgresql_active{server=\"shop/a\",namespace=\"shop\"} 0\n";
        assert!(text.contains(active), "{text}");
        assert!(!text.contains("active{server=\"shop/b"), "{text}");
        let reason = "{server=\"shop/b\",reason=\"InvalidHost\",namespace=\"shop\"} 1\n";
        assert!(text.contains(reason), "{text}");
    }

    #[test]
    fn no_catalogue_may_bring_a_family_of_the_exporter() {
        for (name, _, _) in FAMILIES {
            assert!(is_reserved(name), "{name}");
        }
    }
}
