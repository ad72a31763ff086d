//! The exporter itself.

use super::super::grafana::{Dashboard, Row};
use super::{lines, namespace, number};

/// The dashboard.
pub(super) fn dashboard() -> Dashboard {
    let begin = Row {
        title: "The exporter",
        panels: vec![
            number(
                "none",
                ("Pods", "Exporters that Prometheus scrapes."),
                &[("sum(pgexporter_state)", "running")],
            ),
            number(
                "none",
                ("Version", ""),
                &[(
                    "max by (pgexporter_version) (pgexporter_version)",
                    "{{pgexporter_version}}",
                )],
            ),
            number(
                "none",
                ("Servers", "On their lists."),
                &[(
                    "count(count by (server) (pgexporter_postgresql_active{$all}))",
                    "servers",
                )],
            ),
            number(
                "none",
                ("Errors in an hour", "ERROR and FATAL lines of the log."),
                &[(
                    "sum(increase(pgexporter_logging_error[1h])) + sum(increase(pgexporter_logging_fatal[1h]))",
                    "lines",
                )],
            ),
            number(
                "s",
                ("Slowest server", "The longest last collection."),
                &[(
                    "max(pgexporter_postgresql_scrape_duration_seconds{$all})",
                    "longest",
                )],
            ),
            number(
                "none",
                ("Not seen", "Collectors that a role has no right to."),
                &[(
                    "count(pgexporter_postgresql_denied{$all}) or vector(0)",
                    "collectors",
                )],
            ),
        ],
    };
    let work = Row {
        title: "Scrapes",
        panels: vec![
            lines(
                "s",
                (
                    "Duration by server",
                    "The last collection of each; the slowest twenty.",
                ),
                &[(
                    "topk(20, max by (server) (pgexporter_postgresql_scrape_duration_seconds{$all}))",
                    "{{server}}",
                )],
            ),
            lines(
                "none",
                (
                    "Collections that brought nothing",
                    "In 5 minutes, by reason.",
                ),
                &[(
                    "sum by (reason) (increase(pgexporter_postgresql_failures_total{$all}[5m]))",
                    "{{reason}}",
                )],
            ),
            lines(
                "ops",
                ("Queries", "Each second."),
                &[
                    (
                        "sum(rate(pgexporter_query_executions_total[$__rate_interval]))",
                        "sent",
                    ),
                    (
                        "sum(rate(pgexporter_query_errors_total[$__rate_interval]))",
                        "failed",
                    ),
                    (
                        "sum(rate(pgexporter_query_timeouts_total[$__rate_interval]))",
                        "cut off",
                    ),
                ],
            ),
            lines(
                "ops",
                (
                    "Connections made",
                    "Each second. Sessions are kept, so that these are few.",
                ),
                &[(
                    "sum by (server) (rate(pgexporter_postgresql_connections_total{$all}[$__rate_interval]))",
                    "{{server}}",
                )],
            ),
            lines(
                "none",
                (
                    "Samples of a scrape",
                    "What Prometheus stores, by exporter.",
                ),
                &[(
                    "scrape_samples_scraped and on (job, instance) pgexporter_state",
                    "{{instance}}",
                )],
            ),
            lines(
                "none",
                ("Lines of the log", "In 5 minutes, by level."),
                &[
                    ("sum(increase(pgexporter_logging_info[5m]))", "info"),
                    ("sum(increase(pgexporter_logging_warn[5m]))", "warn"),
                    ("sum(increase(pgexporter_logging_error[5m]))", "error"),
                    ("sum(increase(pgexporter_logging_fatal[5m]))", "fatal"),
                ],
            ),
        ],
    };
    Dashboard {
        name: "exporter",
        title: "PostgreSQL: the exporter",
        about: "pgexporter itself.",
        variables: vec![namespace()],
        rows: vec![begin, work],
    }
}
