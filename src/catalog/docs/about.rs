//! What no catalogue file says and a reader of the pages wants to know.

/// Each built-in collector in one line.
pub(super) const COLLECTORS: &[(&str, &str)] = &[
    ("activity", "What the sessions wait for now, by wait event."),
    ("aios", "Asynchronous I/O handles in use now."),
    ("analyze_progress", "ANALYZE commands that run now."),
    (
        "auth_type",
        "Login roles by the kind of their stored password.",
    ),
    (
        "available_extensions",
        "Extensions that could be installed.",
    ),
    (
        "blocked_vacuum",
        "Vacuums that wait for a lock, and who holds it.",
    ),
    (
        "connections",
        "Connections to each database, and those with TLS.",
    ),
    ("db", "Size of each database."),
    (
        "db_vacuum",
        "Age of databases and relations: how near a forced vacuum is.",
    ),
    (
        "encryted_conns",
        "Connections encrypted with GSSAPI. The name is spelled so in dashboards and configuration files.",
    ),
    (
        "file_settings",
        "Settings of the configuration files that are applied.",
    ),
    ("gssapi", "Connections authenticated with GSSAPI."),
    (
        "gssapi_creds_delegated",
        "Connections with delegated GSSAPI credentials.",
    ),
    ("idle_procs", "How long idle sessions have been idle."),
    ("indexes", "Indexes of the biggest relations."),
    (
        "installed_extensions",
        "Extensions installed in each database.",
    ),
    ("locks", "Locks by database and mode."),
    ("long_running_txns", "The oldest transactions that run now."),
    ("matviews", "Populated materialized views."),
    ("mem_ctx", "Memory contexts of the exporter's own session."),
    ("primary", "Whether the server is a primary."),
    ("replication", "Replication slots."),
    ("roles", "Number of roles."),
    ("rules", "Rewrite rules of tables and views."),
    ("shmem_numa", "Shared memory by NUMA node."),
    ("shmem_size", "Sizes of the allocations in shared memory."),
    (
        "stat_all_indexes",
        "Use of the indexes of the biggest relations.",
    ),
    ("stat_archiver", "WAL archiving: done and failed."),
    ("stat_backend_io", "I/O of the backends that live now."),
    (
        "stat_bgwriter",
        "The background writer, and before 17 the checkpointer.",
    ),
    ("stat_checkpointer", "The checkpointer, from 17."),
    (
        "stat_conflicts",
        "Queries cancelled on a replica by conflicts with recovery.",
    ),
    (
        "stat_db",
        "Statistics of each database: transactions, blocks, rows, sessions.",
    ),
    (
        "stat_io",
        "I/O of the whole server by type of backend, from 16.",
    ),
    (
        "stat_replication",
        "WAL senders: replicas and backups that stream from this server.",
    ),
    ("stat_user_functions", "Calls and time of functions."),
    (
        "stat_user_tables",
        "Use, changes and vacuums of the biggest tables.",
    ),
    ("stat_wal", "WAL that was written."),
    ("stat_walreceiver", "The WAL receiver of a replica."),
    ("statio_all_sequences", "Block reads and hits of sequences."),
    (
        "statio_all_tables",
        "Block reads and hits of the biggest tables and their indexes.",
    ),
    (
        "subscription_stats",
        "Errors and conflicts of logical subscriptions.",
    ),
    (
        "table_activity_ratio",
        "Reads against writes of the biggest tables.",
    ),
    ("table_bloat", "Estimated bloat of the biggest tables."),
    ("usr_evt_trigger", "Event triggers that no extension owns."),
    ("vacuum_progress", "VACUUM commands that run now."),
    ("wait_events", "Wait events that the server knows, from 17."),
    (
        "wal_last_received",
        "Time since a replica last heard from its WAL sender.",
    ),
    (
        "wal_prefetch_reset",
        "Age of the statistics of WAL prefetching.",
    ),
];

/// Labels of the exporter's own families. One that is not here has none.
pub(super) const OWN_LABELS: &[(&str, &str)] = &[
    ("pgexporter_version", "`pgexporter_version`"),
    ("pgexporter_postgresql_active", "`server`"),
    (
        "pgexporter_postgresql_version",
        "`server`, `version`, `minor_version`",
    ),
    ("pgexporter_postgresql_uptime", "`server`"),
    (
        "pgexporter_postgresql_extension_info",
        "`server`, `extension`, `version`, `comment`",
    ),
    ("pgexporter_postgresql_failures_total", "`server`, `reason`"),
    ("pgexporter_postgresql_connections_total", "`server`"),
    ("pgexporter_postgresql_scrape_duration_seconds", "`server`"),
    ("pgexporter_postgresql_denied", "`server`, `collector`"),
    ("pgexporter_postgresql_left_out", "`server`, `collector`"),
    (
        "pgexporter_postgresql_query_failures_total",
        "`server`, `collector`, `reason`",
    ),
    (
        "pgexporter_postgresql_database_missing",
        "`server`, `database`, `reason`",
    ),
    (
        "pgexporter_postgresql_duplicate_samples_total",
        "`server`, `collector`",
    ),
];

/// Head of the index page.
pub(super) const INDEX: &str = include_str!("index.md");
/// The part of the page of own families that follows its table.
pub(super) const OWN: &str = include_str!("own.md");
