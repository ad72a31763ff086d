//! One server and its databases.

use super::super::grafana::{Dashboard, Row, Variable};
use super::{lines, namespace, number};

/// The dashboard.
pub(super) fn dashboard() -> Dashboard {
    let begin = Row {
        title: "The server",
        panels: vec![
            number(
                "none",
                ("Version", ""),
                &[(
                    "max by (version, minor_version) (pgexporter_postgresql_version{$one})",
                    "{{version}}.{{minor_version}}",
                )],
            ),
            number(
                "none",
                ("Primary", "1: a primary, 0: a replica."),
                &[("max(pgexporter_postgresql_primary{$one})", "primary")],
            ),
            number(
                "s",
                ("Uptime", ""),
                &[("max(pgexporter_postgresql_uptime{$one})", "up since")],
            ),
            number(
                "percentunit",
                ("Connections used", "Of max_connections."),
                &[(
                    "sum(pgexporter_pg_db_conn{$one}) / max(pgexporter_pg_settings_max_connections{$one})",
                    "used",
                )],
            ),
            number(
                "bytes",
                ("shared_buffers", ""),
                &[(
                    "max(pgexporter_pg_settings_shared_buffers{$one}) * 8192",
                    "shared_buffers",
                )],
            ),
            number(
                "bytes",
                ("Data", ""),
                &[("sum(pgexporter_pg_database_size{$one})", "data")],
            ),
        ],
    };
    let work = Row {
        title: "Work",
        panels: vec![
            lines(
                "ops",
                ("Transactions", "Each second, by database."),
                &[
                    (
                        "rate(pgexporter_pg_stat_database_xact_commit{$in}[$__rate_interval])",
                        "{{database}} committed",
                    ),
                    (
                        "rate(pgexporter_pg_stat_database_xact_rollback{$in}[$__rate_interval])",
                        "{{database}} rolled back",
                    ),
                ],
            ),
            lines(
                "none",
                ("Connections", "By database."),
                &[("pgexporter_pg_db_conn{$in}", "{{database}}")],
            ),
            lines(
                "ops",
                ("Rows", "Each second, over the chosen databases."),
                &[
                    (
                        "sum(rate(pgexporter_pg_stat_database_tup_fetched{$in}[$__rate_interval]))",
                        "fetched",
                    ),
                    (
                        "sum(rate(pgexporter_pg_stat_database_tup_inserted{$in}[$__rate_interval]))",
                        "inserted",
                    ),
                    (
                        "sum(rate(pgexporter_pg_stat_database_tup_updated{$in}[$__rate_interval]))",
                        "updated",
                    ),
                    (
                        "sum(rate(pgexporter_pg_stat_database_tup_deleted{$in}[$__rate_interval]))",
                        "deleted",
                    ),
                ],
            ),
            lines(
                "none",
                ("What processes wait for", "Number of processes, now."),
                &[(
                    "pgexporter_pg_wait_event_count{$one}",
                    "{{wait_event_type}} {{wait_event}}",
                )],
            ),
            lines(
                "none",
                ("Locks", "Held or awaited in the chosen databases, by mode."),
                &[(
                    "sum by (mode) (pgexporter_pg_locks_count{$in}) > 0",
                    "{{mode}}",
                )],
            ),
            lines(
                "s",
                ("Long transactions", "By database and role."),
                &[(
                    "max by (datname, usename) (pgexporter_pg_long_running_transactions_age_seconds{$one})",
                    "{{datname}} {{usename}}",
                )],
            ),
            lines(
                "none",
                ("Deadlocks and conflicts", "In 5 minutes."),
                &[
                    (
                        "sum(increase(pgexporter_pg_stat_database_deadlocks{$in}[5m]))",
                        "deadlocks",
                    ),
                    (
                        "sum(increase(pgexporter_pg_stat_database_conflicts{$in}[5m]))",
                        "conflicts",
                    ),
                ],
            ),
            lines(
                "Bps",
                (
                    "Temporary files",
                    "Written each second: sorts and hashes that did not fit into work_mem.",
                ),
                &[(
                    "rate(pgexporter_pg_stat_database_temp_bytes{$in}[$__rate_interval])",
                    "{{database}}",
                )],
            ),
        ],
    };
    let disk = Row {
        title: "Cache, disk and WAL",
        panels: vec![
            lines(
                "percentunit",
                ("Cache hits", "By database."),
                &[(
                    "rate(pgexporter_pg_stat_database_blks_hit{$in}[$__rate_interval]) / \
                     (rate(pgexporter_pg_stat_database_blks_hit{$in}[$__rate_interval]) + \
                     rate(pgexporter_pg_stat_database_blks_read{$in}[$__rate_interval]) > 0)",
                    "{{database}}",
                )],
            ),
            lines(
                "bytes",
                ("Size", "By database."),
                &[("pgexporter_pg_database_size{$in}", "{{database}}")],
            ),
            lines(
                "ops",
                (
                    "Reads and writes",
                    "Operations each second, by kind of process; from PostgreSQL 16.",
                ),
                &[
                    (
                        "sum by (backend_type) (rate(pgexporter_pg_stat_io_reads{$one}[$__rate_interval])) > 0",
                        "{{backend_type}} read",
                    ),
                    (
                        "sum by (backend_type) (rate(pgexporter_pg_stat_io_writes{$one}[$__rate_interval])) > 0",
                        "{{backend_type}} written",
                    ),
                ],
            ),
            lines(
                "Bps",
                ("WAL", "Written each second; from PostgreSQL 14."),
                &[(
                    "max(rate(pgexporter_pg_stat_wal_wal_bytes{$one}[$__rate_interval]))",
                    "WAL",
                )],
            ),
            lines(
                "none",
                (
                    "Checkpoints",
                    "In 15 minutes: those that were due, and those that were asked for, which cost more. From PostgreSQL 17.",
                ),
                &[
                    (
                        "max(increase(pgexporter_pg_stat_checkpointer_num_timed{$one}[15m]))",
                        "due",
                    ),
                    (
                        "max(increase(pgexporter_pg_stat_checkpointer_num_requested{$one}[15m]))",
                        "asked for",
                    ),
                ],
            ),
            lines(
                "none",
                ("Archived WAL files", "In 15 minutes."),
                &[
                    (
                        "max(increase(pgexporter_pg_stat_archiver_archived_count{$one}[15m]))",
                        "archived",
                    ),
                    (
                        "max(increase(pgexporter_pg_stat_archiver_failed_count{$one}[15m]))",
                        "failed",
                    ),
                ],
            ),
        ],
    };
    let tables = Row {
        title: "Tables",
        panels: vec![
            lines(
                "none",
                ("Dead rows", "The ten tables that have most."),
                &[(
                    "topk(10, pgexporter_pg_stat_user_tables_vacuum_n_dead_tup{$in})",
                    "{{database}} {{schemaname}}.{{relname}}",
                )],
            ),
            lines(
                "ops",
                (
                    "Rows read in sequence",
                    "Each second, the ten tables that have most: an index may be missing.",
                ),
                &[(
                    "topk(10, rate(pgexporter_pg_stat_user_tables_vacuum_seq_tup_read{$in}[$__rate_interval]))",
                    "{{database}} {{schemaname}}.{{relname}}",
                )],
            ),
            lines(
                "none",
                (
                    "Oldest transaction ID",
                    "By database. At two billion the server refuses to write.",
                ),
                &[(
                    "max by (datname) (pgexporter_pg_db_vacuum_age{$one})",
                    "{{datname}}",
                )],
            ),
            lines(
                "s",
                (
                    "Since the last autovacuum",
                    "The ten tables that wait longest.",
                ),
                &[(
                    "topk(10, pgexporter_pg_stat_user_tables_vacuum_last_autovacuum_seconds{$in})",
                    "{{database}} {{schemaname}}.{{relname}}",
                )],
            ),
        ],
    };
    let replication = Row {
        title: "Replication",
        panels: vec![
            lines(
                "none",
                ("Replicas that stream", "By application."),
                &[(
                    "pgexporter_pg_stat_replication{$one}",
                    "{{application_name}}",
                )],
            ),
            lines(
                "none",
                (
                    "Slots",
                    "1: somebody reads from it. The server keeps WAL for one that nobody reads.",
                ),
                &[(
                    "pgexporter_pg_replication_slots_active{$one}",
                    "{{slot_name}}",
                )],
            ),
            lines(
                "ms",
                ("Since the last word of the primary", "On a replica."),
                &[("pgexporter_pg_wal_last_received{$one}", "{{sender}}")],
            ),
        ],
    };
    Dashboard {
        name: "server",
        title: "PostgreSQL: one server",
        about: "One server and its databases.",
        variables: vec![
            namespace(),
            Variable {
                name: "target",
                label: "Target",
                query: r#"label_values(pgexporter_postgresql_active{server=~"$namespace.*"}, server)"#,
                regex: "",
                many: false,
            },
            Variable {
                name: "database",
                label: "Database",
                query: r#"label_values(pgexporter_pg_database_size{server="$target"}, database)"#,
                regex: "",
                many: true,
            },
        ],
        rows: vec![begin, work, disk, tables, replication],
    }
}
