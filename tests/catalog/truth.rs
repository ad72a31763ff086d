//! What the values must be: the counts that the scene made, and what the server itself says.

use std::collections::BTreeSet;

use tokio_postgres::Config;

use super::families;
use super::scene::{SHOP_SESSIONS, Scene, number};
use super::support::{Samples, client};

/// Families with labels, and what their one sample of the primary must be.
struct Expected<'a> {
    samples: &'a Samples,
    wrong: Vec<String>,
}

impl Expected<'_> {
    fn of(
        &mut self,
        server: &str,
        name: &str,
        labels: &[(&str, &str)],
        test: impl Fn(f64) -> bool,
        expected: &str,
    ) {
        let name = format!("pgexporter_{name}");
        let mut all = vec![("server", server)];
        all.extend_from_slice(labels);
        let found = self.samples.with(&name, &all);
        match found[..] {
            [sample] if test(sample.value) => {}
            [sample] => self.wrong.push(format!(
                "{name} {labels:?} is {}, not {expected}",
                sample.value
            )),
            _ => self.wrong.push(format!(
                "{name} {labels:?} has {} samples, not one of {expected}",
                found.len()
            )),
        }
    }

    fn is(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.of(
            "primary",
            name,
            labels,
            |found| found == value,
            &value.to_string(),
        );
    }

    fn between(&mut self, name: &str, labels: &[(&str, &str)], low: f64, high: f64) {
        let expected = format!("{low} to {high}");
        self.of(
            "primary",
            name,
            labels,
            |found| (low..=high).contains(&found),
            &expected,
        );
    }

    fn that(&mut self, holds: bool, what: String) {
        if !holds {
            self.wrong.push(what);
        }
    }
}

/// The counts that the scene made.
#[allow(clippy::too_many_lines)]
pub(crate) fn of_the_scene(scene: &Scene, samples: &Samples) -> Vec<String> {
    let major = scene.primary.major();
    let mut expected = Expected {
        samples,
        wrong: Vec::new(),
    };
    let e = &mut expected;
    let truth = |sql: &str| scene.truth(sql);

    for (server, role) in [("primary", 1.0), ("replica", 0.0)] {
        let plain = role.to_string();
        e.of(
            server,
            "postgresql_primary",
            &[],
            |found| found == role,
            &plain,
        );
        e.of(server, "postgresql_active", &[], |found| found == 1.0, "1");
        let major = major.to_string();
        e.of(
            server,
            "postgresql_version",
            &[("version", &major)],
            |found| found == 1.0,
            "1",
        );
        e.of(
            server,
            "postgresql_uptime",
            &[],
            |found| (0.0..600.0).contains(&found),
            "seconds",
        );
    }
    let state = samples.value("pgexporter_state", &[]);
    e.that(state == Some(1.0), format!("pgexporter_state is {state:?}"));

    // Objects of the session's own database.
    for (table, indexes) in [("one", 1.0), ("three", 3.0)] {
        e.is(
            "pg_indexes",
            &[("schemaname", "public"), ("tablename", table)],
            indexes,
        );
    }
    e.is("pg_rule", &[("tablename", "one")], 2.0);
    e.is("pg_matviews", &[], 1.0);
    e.is("pg_usr_evt_trigger", &[], 1.0);
    e.is(
        "pg_installed_extensions",
        &[("extensions", "{pgcrypto,plpgsql}")],
        2.0,
    );
    e.is(
        "pg_stat_user_functions_calls",
        &[("funcname", "counted")],
        3.0,
    );
    e.is(
        "pg_available_extensions",
        &[],
        truth("SELECT count(*) FROM pg_available_extensions"),
    );
    let extensions = samples.all("pgexporter_postgresql_extension_info");
    e.that(
        extensions.len() == 4,
        format!("extension_info: {extensions:?}"),
    );

    // The server's roles, settings and databases.
    e.is("pg_role", &[], truth("SELECT count(*) FROM pg_roles"));
    let md5 = if major >= 14 { 1.0 } else { 2.0 };
    e.is("pg_shadow", &[("encryption_type", "MD5")], md5);
    e.is("pg_shadow", &[("encryption_type", "NONE")], 1.0);
    if major >= 14 {
        e.is("pg_shadow", &[("encryption_type", "SCRAM-SHA-256")], 1.0);
    }
    let size = truth("SELECT pg_database_size('closed')");
    e.is("pg_database_size", &[("database", "closed")], size);
    let databases = samples.with("pgexporter_pg_database_size", &[("server", "primary")]);
    e.that(databases.len() == 7, format!("databases: {databases:?}"));
    e.between("pg_db_vacuum_age", &[("datname", "shop")], 1.0, 100_000.0);
    e.between(
        "pg_view_vacuum_age",
        &[("datname", "pg_class")],
        1.0,
        100_000.0,
    );

    // Sessions and locks.
    #[allow(clippy::cast_precision_loss)]
    let sessions = SHOP_SESSIONS as f64;
    e.is("pg_db_conn", &[("database", "shop")], sessions);
    e.is("pg_db_conn", &[("database", "private")], 0.0);
    e.is(
        "pg_stat_database_numbackends",
        &[("database", "shop")],
        sessions,
    );
    e.is("pg_db_conn_ssl", &[("database", "postgres")], 1.0);
    e.is("pg_db_conn_ssl", &[("database", "shop")], 0.0);
    e.is("pg_encrypted_conn", &[], 0.0);
    e.is("pg_gss_auth", &[], 0.0);
    for (mode, count) in [
        ("accessexclusivelock", 1.0),
        ("accesssharelock", 1.0),
        ("shareupdateexclusivelock", 4.0),
        ("exclusivelock", 0.0),
    ] {
        e.is(
            "pg_locks_count",
            &[("database", "shop"), ("mode", mode)],
            count,
        );
    }
    let waiting = [("wait_event_type", "Lock"), ("wait_event", "relation")];
    e.is("pg_wait_event_count", &waiting, 2.0);
    let long = [
        ("datname", "shop"),
        ("usename", "postgres"),
        ("query", "SELECT 'the long one'"),
    ];
    e.between(
        "pg_long_running_transactions_age_seconds",
        &long,
        5.0,
        600.0,
    );
    let blocked = [
        ("blocked_database", "shop"),
        ("blocked_query", "VACUUM busy"),
        (
            "blocking_query",
            "LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE",
        ),
    ];
    e.between(
        "pg_blocked_vacuum_blocked_duration_seconds",
        &blocked,
        0.0,
        600.0,
    );
    e.between(
        "pg_blocked_vacuum_blocking_duration_seconds",
        &blocked,
        0.0,
        600.0,
    );
    let idler = [("application_name", "idler")];
    e.is("pg_process_idle_seconds_seconds_count", &idler, 2.0);
    let all = [("application_name", "idler"), ("le", "+Inf")];
    e.is("pg_process_idle_seconds_seconds_bucket", &all, 2.0);

    // Tables of another database.
    let items = [
        ("database", "shop"),
        ("schemaname", "public"),
        ("relname", "items"),
    ];
    e.is("pg_table_ratio_tuples_write", &items, 1150.0);
    e.is("pg_stat_user_tables_vacuum_n_live_tup", &items, 950.0);
    e.is("pg_stat_user_tables_vacuum_n_dead_tup", &items, 150.0);
    if major >= 16 {
        for (name, count) in [("ins", 1000.0), ("upd", 100.0), ("del", 50.0)] {
            e.is(
                &format!("pg_stat_user_tables_vacuum_n_tup_{name}"),
                &items,
                count,
            );
        }
    }
    let kept = [("database", "shop"), ("relname", "kept")];
    e.is("pg_stat_user_tables_vacuum_vacuum_count", &kept, 2.0);
    e.is("pg_stat_user_tables_vacuum_analyze_count", &kept, 1.0);
    e.between(
        "pg_stat_user_tables_vacuum_last_vacuum_seconds",
        &kept,
        0.0,
        600.0,
    );
    let looked = [("database", "shop"), ("relname", "looked")];
    e.is("pg_stat_all_indexes_idx_scans", &looked, 3.0);
    e.is("pg_stat_all_indexes_idx_tup_fetchs", &looked, 3.0);
    let bloated = [("database", "shop"), ("tblname", "bloated")];
    e.between("pg_table_bloat_bloat_ratio_pct", &bloated, 60.0, 80.0);
    e.is("pg_table_bloat_block_size", &bloated, 8192.0);
    e.is("pg_stat_database_deadlocks", &[("database", "shop")], 1.0);
    e.is(
        "pg_stat_database_checksum_failures",
        &[("database", "shop")],
        0.0,
    );

    // Work under way.
    let bulk = [
        ("datname", "shop"),
        ("query", "VACUUM bulk"),
        ("phase", "scanning heap"),
    ];
    let pages = scene
        .primary
        .session("shop")
        .text("SELECT pg_relation_size('bulk') / 8192");
    let pages = number(pages[0][0].as_deref().unwrap_or_default());
    e.is("pg_stat_progress_vacuum_heap_blks_total", &bulk, pages);
    e.between(
        "pg_stat_progress_vacuum_heap_blks_scanned",
        &bulk,
        0.0,
        pages,
    );
    e.between(
        "pg_stat_progress_vacuum_pct_scan_completed",
        &bulk,
        0.0,
        100.0,
    );
    let sampled = [("datname", "shop"), ("phase", "acquiring sample rows")];
    e.between(
        "pg_stat_progress_analyze_sample_blks_total",
        &sampled,
        1.0,
        30_000.0,
    );

    // Replication and the archive.
    e.is("pg_stat_replication", &[("application_name", "sub")], 1.0);
    let standby = scene
        .primary
        .value("SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical'");
    e.is(
        "pg_stat_replication",
        &[("application_name", &standby)],
        1.0,
    );
    for (slot, kind, active) in [
        ("sub", "logical", 1.0),
        ("unused", "logical", 0.0),
        (standby.as_str(), "physical", 1.0),
    ] {
        let slot = [("slot_name", slot), ("slot_type", kind)];
        e.is("pg_replication_slots_active", &slot, active);
        e.is("pg_replication_slots_temporary", &slot, 0.0);
    }
    if major >= 16 {
        e.is(
            "pg_stat_subscription_stats_apply_error_count",
            &[("subname", "sub")],
            0.0,
        );
        e.between(
            "pg_stat_subscription_stats_stats_reset_seconds",
            &[("subname", "sub")],
            0.0,
            600.0,
        );
    }
    e.is(
        "pg_stat_archiver_archived_count",
        &[],
        number(&scene.listed("archived.txt")),
    );
    e.is(
        "pg_stat_archiver_failed_count",
        &[],
        number(&scene.listed("failed.txt")),
    );
    e.between(
        "pg_stat_archiver_success_time_elapsed_ms",
        &[],
        0.0,
        600_000.0,
    );
    let port = f64::from(scene.primary.port());
    let receiver = [("slot_name", standby.as_str()), ("status", "streaming")];
    e.of(
        "replica",
        "pg_stat_walreceiver_sender_port",
        &receiver,
        |found| found == port,
        "the primary's port",
    );
    e.of(
        "replica",
        "pg_stat_walreceiver_received_tli",
        &receiver,
        |found| found == 1.0,
        "1",
    );
    let now = truth("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')");
    e.of(
        "replica",
        "pg_stat_walreceiver_flushed_lsn",
        &receiver,
        |found| found > now - 1e9 && found <= now,
        "the primary's position",
    );

    // Every database that lets the role in, and no other.
    let everywhere = ["copy", "postgres", "private", "shop"];
    e.wrong
        .extend(of_the_databases(samples, major, &everywhere));
    expected.wrong
}

/// Families of scope `all` show just these databases.
fn of_the_databases(samples: &Samples, major: u32, databases: &[&str]) -> Vec<String> {
    let wanted: BTreeSet<&str> = databases.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for family in families::of(Some(major)) {
        let of_primary = samples.with(family.name, &[("server", "primary")]);
        let found: BTreeSet<&str> = of_primary
            .iter()
            .map(|sample| sample.labels["database"].as_str())
            .collect();
        if family.everywhere {
            if !found.is_subset(&wanted) {
                wrong.push(format!("{} is of {found:?}", family.name));
            }
            met.extend(found);
        } else if !has_own_database(family.name) && !found.iter().all(|one| *one == "postgres") {
            wrong.push(format!("{} is of {found:?}", family.name));
        }
    }
    if met != wanted {
        wrong.push(format!("of all databases only {met:?} were asked"));
    }
    wrong
}

/// Families whose label `database` is a column of their query.
fn has_own_database(name: &str) -> bool {
    [
        "pg_database_size",
        "pg_db_conn",
        "pg_locks_count",
        "pg_replication_slots",
        "pg_stat_database",
    ]
    .iter()
    .any(|tag| name.starts_with(&format!("pgexporter_{tag}")))
}

/// A role with `pg_monitor` and no more is told what it may not see, and never gets into the
/// databases that are closed to it.
pub(crate) fn of_a_monitor(samples: &Samples, major: u32) -> Vec<String> {
    let mut wrong = of_the_databases(samples, major, &["copy", "postgres", "shop"]);
    let mut denied: BTreeSet<&str> = BTreeSet::from(["auth_type", "file_settings"]);
    if major == 14 {
        denied.insert("mem_ctx");
    }
    if major < 15 {
        denied.insert("shmem_size");
    }
    let found: BTreeSet<&str> = samples
        .all("pgexporter_postgresql_denied")
        .iter()
        .map(|sample| sample.labels["collector"].as_str())
        .collect();
    if found != denied {
        wrong.push(format!("denied are {found:?}, not {denied:?}"));
    }
    wrong
}

/// Settings that the exporter gives its own session, and what they are there (timeouts in
/// milliseconds): `pg_settings` is what a session sees.
const OF_THE_SESSION: [(&str, f64); 6] = [
    ("default_transaction_read_only", 1.0),
    ("transaction_read_only", 1.0),
    ("jit", 0.0),
    ("max_parallel_workers_per_gather", 0.0),
    ("lock_timeout", 1_000.0),
    ("statement_timeout", 10_000.0),
];

/// Each row of `pg_settings` is a gauge with its value and its description.
pub(crate) fn of_the_settings(scene: &Scene, samples: &Samples) -> Vec<String> {
    let mut wrong = Vec::new();
    // Over TCP, as the exporter asks: some settings are those of the connection.
    let mut config = Config::new();
    config
        .host(scene.primary.host())
        .port(scene.primary.port())
        .user("postgres")
        .dbname("postgres");
    let sql =
        "SELECT name, vartype, setting, short_desc FROM pg_settings WHERE setting IS NOT NULL";
    let rows = client::text(&config, sql).expect("the superuser may ask");
    let mut count = 0;
    for row in &rows {
        let [Some(setting), Some(kind), Some(value), Some(help)] = &row[..] else {
            wrong.push(format!("{row:?}"));
            continue;
        };
        count += 1;
        let name = format!(
            "pgexporter_pg_settings_{}",
            setting.to_lowercase().replace('.', "_")
        );
        let own = OF_THE_SESSION.iter().find(|(name, _)| name == setting);
        let expected = match kind.as_str() {
            _ if own.is_some() => own.map_or(0.0, |(_, value)| *value),
            "bool" | "integer" | "real" => number(value),
            _ => 1.0,
        };
        let found = samples.with(&name, &[("server", "primary")]);
        match found[..] {
            [sample] if sample.value == expected => {
                if sample.labels.len() != 1 {
                    wrong.push(format!("{name} has labels {:?}", sample.labels));
                }
            }
            _ => wrong.push(format!("{name} is {found:?}, not {expected}")),
        }
        let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
        if samples.helps.get(&name) != Some(&escaped) || samples.types[&name] != "gauge" {
            wrong.push(format!(
                "{name} has help {:?}, not {escaped}",
                samples.helps.get(&name)
            ));
        }
    }
    let families = samples.types.keys();
    let shown = families
        .filter(|name| name.starts_with("pgexporter_pg_settings_"))
        .count();
    if shown < count {
        wrong.push(format!("{shown} settings of {count}"));
    }
    wrong
}
