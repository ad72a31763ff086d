//! What the values must be: the counts that the scene made, and what the server itself says.

use super::databases::of_the_databases;
use super::scene::{SHOP_SESSIONS, Scene, number};
use super::support::Samples;

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
pub(crate) fn of_the_scene(scene: &Scene, samples: &Samples) -> Vec<String> {
    let major = scene.primary.major();
    let mut expected = Expected {
        samples,
        wrong: Vec::new(),
    };
    let e = &mut expected;

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

    objects(e, scene);
    server(e, scene);
    sessions(e);
    tables(e, scene);
    work(e, scene);
    replication(e, scene);

    // Every database that lets the role in, and no other.
    let everywhere = ["copy", "postgres", "private", "shop"];
    e.wrong
        .extend(of_the_databases(samples, major, &everywhere));
    expected.wrong
}

/// Objects of the session's own database.
fn objects(e: &mut Expected<'_>, scene: &Scene) {
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
        scene.truth("SELECT count(*) FROM pg_available_extensions"),
    );
    let extensions = e.samples.all("pgexporter_postgresql_extension_info");
    e.that(
        extensions.len() == 4,
        format!("extension_info: {extensions:?}"),
    );
}

/// The server's roles and databases.
fn server(e: &mut Expected<'_>, scene: &Scene) {
    let major = scene.primary.major();
    e.is("pg_role", &[], scene.truth("SELECT count(*) FROM pg_roles"));
    let md5 = if major >= 14 { 1.0 } else { 2.0 };
    e.is("pg_shadow", &[("encryption_type", "MD5")], md5);
    e.is("pg_shadow", &[("encryption_type", "NONE")], 1.0);
    if major >= 14 {
        e.is("pg_shadow", &[("encryption_type", "SCRAM-SHA-256")], 1.0);
    }
    let size = scene.truth("SELECT pg_database_size('closed')");
    e.is("pg_database_size", &[("database", "closed")], size);
    let databases = e
        .samples
        .with("pgexporter_pg_database_size", &[("server", "primary")]);
    e.that(databases.len() == 7, format!("databases: {databases:?}"));
    e.between("pg_db_vacuum_age", &[("datname", "shop")], 1.0, 100_000.0);
    e.between(
        "pg_view_vacuum_age",
        &[("datname", "pg_class")],
        1.0,
        100_000.0,
    );
}

/// Sessions and locks.
fn sessions(e: &mut Expected<'_>) {
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
}

/// Tables of another database.
fn tables(e: &mut Expected<'_>, scene: &Scene) {
    let major = scene.primary.major();
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
}

/// Work under way.
fn work(e: &mut Expected<'_>, scene: &Scene) {
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
}

/// Replication and the archive.
fn replication(e: &mut Expected<'_>, scene: &Scene) {
    let major = scene.primary.major();
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
    let now = scene.truth("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')");
    e.of(
        "replica",
        "pg_stat_walreceiver_flushed_lsn",
        &receiver,
        |found| found > now - 1e9 && found <= now,
        "the primary's position",
    );
}
