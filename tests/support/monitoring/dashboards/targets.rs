//! Every server at a glance.

use super::super::grafana::{Dashboard, Row, Shape};
use super::{lines, namespace, number, panel};

/// The dashboard.
pub(super) fn dashboard() -> Dashboard {
    let begin = Row {
        title: "At a glance",
        panels: vec![
            number(
                "none",
                ("Up", "Servers that answered the last scrape."),
                &[(
                    "sum(max by (server) (pgexporter_postgresql_active{$all}))",
                    "up",
                )],
            ),
            number(
                "none",
                ("Down", "Servers that did not."),
                &[(
                    "sum(1 - max by (server) (pgexporter_postgresql_active{$all}))",
                    "down",
                )],
            ),
            number(
                "none",
                (
                    "Connections",
                    "Processes that are connected to a database, over all servers.",
                ),
                &[(
                    "sum(max by (server, database) (pgexporter_pg_db_conn{$all}))",
                    "connections",
                )],
            ),
            number(
                "ops",
                (
                    "Transactions",
                    "Committed and rolled back each second, over all servers.",
                ),
                &[(
                    "sum(rate(pgexporter_pg_stat_database_xact_commit{$all}[$__rate_interval])) + \
                     sum(rate(pgexporter_pg_stat_database_xact_rollback{$all}[$__rate_interval]))",
                    "transactions",
                )],
            ),
            number(
                "bytes",
                ("Data", "Size of all databases on disk."),
                &[(
                    "sum(max by (server, database) (pgexporter_pg_database_size{$all}))",
                    "data",
                )],
            ),
            number(
                "s",
                (
                    "Longest transaction",
                    "Age of the oldest transaction of all servers.",
                ),
                &[(
                    "max(pgexporter_pg_long_running_transactions_age_seconds{$all}) or vector(0)",
                    "longest",
                )],
            ),
            panel(
                Shape::Table,
                24,
                "none",
                ("Servers", "A row for each server that answers."),
                &[
                    ("max by (server) (pgexporter_postgresql_active{$all})", "Up"),
                    (
                        "max by (server) (pgexporter_postgresql_primary{$all})",
                        "Primary",
                    ),
                    (
                        "max by (server) (sum without (database) (pgexporter_pg_db_conn{$all}))",
                        "Connections",
                    ),
                    (
                        "max by (server) (pgexporter_pg_settings_max_connections{$all})",
                        "Limit",
                    ),
                    (
                        "max by (server) (sum without (database) (pgexporter_pg_database_size{$all}))",
                        "Bytes",
                    ),
                    (
                        "max by (server) (pgexporter_pg_db_vacuum_age{$all})",
                        "Oldest XID",
                    ),
                    (
                        "max by (server) (pgexporter_postgresql_uptime{$all})",
                        "Uptime in s",
                    ),
                ],
            ),
        ],
    };
    let load = Row {
        title: "Load",
        panels: vec![
            lines(
                "ops",
                ("Transactions", "Committed and rolled back each second."),
                &[(
                    "sum by (server) (rate(pgexporter_pg_stat_database_xact_commit{$all}[$__rate_interval])) + \
                     sum by (server) (rate(pgexporter_pg_stat_database_xact_rollback{$all}[$__rate_interval]))",
                    "{{server}}",
                )],
            ),
            lines(
                "percentunit",
                ("Connections used", "Of max_connections."),
                &[(
                    "max by (server) (sum without (database) (pgexporter_pg_db_conn{$all}) / \
                     max without (database) (pgexporter_pg_settings_max_connections{$all}))",
                    "{{server}}",
                )],
            ),
            lines(
                "percentunit",
                ("Cache hits", "Blocks that were found in the buffer cache."),
                &[(
                    "sum by (server) (rate(pgexporter_pg_stat_database_blks_hit{$all}[$__rate_interval])) / \
                     (sum by (server) (rate(pgexporter_pg_stat_database_blks_hit{$all}[$__rate_interval])) + \
                     sum by (server) (rate(pgexporter_pg_stat_database_blks_read{$all}[$__rate_interval])))",
                    "{{server}}",
                )],
            ),
            lines(
                "s",
                (
                    "Longest transaction",
                    "Those of at least 5 seconds are looked at.",
                ),
                &[(
                    "max by (server) (pgexporter_pg_long_running_transactions_age_seconds{$all})",
                    "{{server}}",
                )],
            ),
        ],
    };
    let safety = Row {
        title: "Safety",
        panels: vec![
            lines(
                "none",
                (
                    "Oldest transaction ID",
                    "At two billion a server refuses to write.",
                ),
                &[(
                    "max by (server) (pgexporter_pg_db_vacuum_age{$all})",
                    "{{server}}",
                )],
            ),
            lines(
                "ms",
                ("Since the last word of the primary", "For replicas."),
                &[(
                    "max by (server) (pgexporter_pg_wal_last_received{$all})",
                    "{{server}}",
                )],
            ),
            lines(
                "none",
                ("Failed archiving", "Attempts in 15 minutes."),
                &[(
                    "max by (server) (increase(pgexporter_pg_stat_archiver_failed_count{$all}[15m]))",
                    "{{server}}",
                )],
            ),
            lines(
                "none",
                (
                    "Servers that do not answer",
                    "Collections that brought nothing in 5 minutes, by reason.",
                ),
                &[(
                    "sum by (server, reason) (increase(pgexporter_postgresql_failures_total{$all}[5m])) > 0",
                    "{{server}} {{reason}}",
                )],
            ),
        ],
    };
    Dashboard {
        name: "targets",
        title: "PostgreSQL: all targets",
        about: "Every server that pgexporter scrapes.",
        variables: vec![namespace()],
        rows: vec![begin, load, safety],
    }
}
