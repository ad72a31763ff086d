//! A primary with a replica on which every view that the catalogue asks has something to show, and
//! the counts that the test made are known.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::support::{Authority, Exporter, Postgres, Samples, Session, eventually};

/// Sessions of the test in the database `shop`.
pub(crate) const SHOP_SESSIONS: usize = 9;

/// Leaves a word in the data folder for every segment that is archived or not.
const ARCHIVE: &str = "if test -e archive_ok; then echo %f >> archived.txt; \
                       else echo %f >> failed.txt; false; fi";

const SHOP: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = off);
    CREATE TABLE looked (id int PRIMARY KEY) WITH (autovacuum_enabled = off);
    CREATE TABLE kept (id int) WITH (autovacuum_enabled = off);
    CREATE TABLE watched (id int) WITH (
        autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
        autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
    CREATE TABLE bulk (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = off);
    CREATE TABLE sampled (id int, name text) WITH (autovacuum_enabled = off);
    CREATE TABLE bloated (id int, name text) WITH (autovacuum_enabled = off);
    CREATE TABLE held (id int);
    CREATE TABLE busy (id int) WITH (autovacuum_enabled = off);
    CREATE TABLE pair (id int PRIMARY KEY, n int);
    CREATE SEQUENCE numbers;
    SELECT nextval('numbers');
    INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 1000) i;
    UPDATE items SET name = 'changed' WHERE id <= 100;
    DELETE FROM items WHERE id > 950;
    INSERT INTO looked SELECT generate_series(1, 10);
    INSERT INTO kept SELECT generate_series(1, 10);
    INSERT INTO watched SELECT generate_series(1, 1000);
    DELETE FROM watched WHERE id % 2 = 0;
    INSERT INTO bulk SELECT i, repeat('x', 200) FROM generate_series(1, 50000) i;
    DELETE FROM bulk WHERE id % 10 = 0;
    INSERT INTO sampled SELECT i, repeat('x', 200) FROM generate_series(1, 50000) i;
    INSERT INTO bloated SELECT i, repeat('x', 200) FROM generate_series(1, 8000) i;
    DELETE FROM bloated WHERE id % 4 <> 0;
    INSERT INTO pair VALUES (1, 0), (2, 0);
    SET enable_seqscan = off;
    SELECT id FROM looked WHERE id = 1;
    SELECT id FROM looked WHERE id = 2;
    SELECT id FROM looked WHERE id = 3;";

const OWN: &str = "
    CREATE ROLE mon LOGIN IN ROLE pg_monitor;
    CREATE ROLE scram LOGIN PASSWORD 'of the test';
    CREATE ROLE old LOGIN PASSWORD 'md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa';
    CREATE ROLE people NOLOGIN;
    CREATE EXTENSION pgcrypto;
    CREATE TABLE one (id int PRIMARY KEY);
    CREATE TABLE three (id int PRIMARY KEY, a int UNIQUE, b int);
    CREATE INDEX ON three (b);
    CREATE MATERIALIZED VIEW filled AS SELECT 1 AS a;
    CREATE MATERIALIZED VIEW empty AS SELECT 1 AS a WITH NO DATA;
    CREATE RULE first AS ON INSERT TO one DO ALSO NOTHING;
    CREATE RULE second AS ON DELETE TO one DO ALSO NOTHING;
    CREATE FUNCTION counted(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    CREATE FUNCTION counted(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    CREATE FUNCTION notice() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER noticed ON ddl_command_start EXECUTE FUNCTION notice();
    CREATE TABLE published (id int PRIMARY KEY);
    CREATE PUBLICATION pub FOR TABLE published;
    SELECT counted(1), counted('x'::text);
    SELECT counted(2);";

/// The running servers with what goes on there. The sessions end before the servers.
pub(crate) struct Scene {
    sessions: Vec<Session>,
    readers: Option<Readers>,
    pub(crate) replica: Postgres,
    pub(crate) primary: Postgres,
    major: u32,
}

impl Scene {
    pub(crate) fn start(major: u32) -> Self {
        let primary = start_primary(major);
        fill(&primary);
        subscribe(&primary);
        let replica = primary.replica();
        deadlock(&primary);
        let mut scene = Self {
            sessions: Vec::new(),
            readers: None,
            replica,
            primary,
            major,
        };
        scene.occupy();
        scene.settle();
        eventually("a transaction counts as long-running", || {
            scene.truth(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%the long one%' \
                 AND datname = 'shop' AND clock_timestamp() - xact_start > '5 s'",
            ) == 1.0
        });
        if major >= 18 {
            scene.readers = Some(Readers::start(&scene.primary));
        }
        scene
    }

    /// A number that the primary gives.
    #[track_caller]
    pub(crate) fn truth(&self, sql: &str) -> f64 {
        number(&self.primary.value(sql))
    }

    /// Scrapes until what comes and goes by itself is there.
    #[track_caller]
    pub(crate) fn scrape(&self, exporter: &Exporter) -> (String, Samples) {
        let mut body = String::new();
        let mut samples = Samples::default();
        eventually("an asynchronous read is seen", || {
            let answer = exporter.get("/metrics");
            assert_eq!(answer.status, 200, "{}", answer.body);
            samples = Samples::parse(&answer.body);
            body = answer.body;
            let name = "pgexporter_pg_aios_total_bytes";
            self.major < 18 || !samples.with(name, &[("server", "primary")]).is_empty()
        });
        (body, samples)
    }

    fn session(&mut self, database: &str, statements: &[&str]) -> &Session {
        let session = self.primary.session(database);
        for statement in statements {
            session.execute(statement);
        }
        self.sessions.push(session);
        self.sessions.last().expect("just pushed")
    }

    /// Opens the sessions that hold, wait, work slowly, or do nothing.
    fn occupy(&mut self) {
        let slow = ["SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1"];
        // The threads end with their sessions.
        self.session("shop", &["BEGIN", "SELECT 'the long one'"]);
        self.session(
            "shop",
            &["BEGIN", "LOCK TABLE held IN ACCESS EXCLUSIVE MODE"],
        );
        self.session("shop", &[])
            .begin_blocking("SELECT * FROM held");
        let busy = "LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE";
        self.session("shop", &["BEGIN", busy]);
        self.session("shop", &[]).begin_blocking("VACUUM busy");
        self.session("shop", &slow).begin_blocking("VACUUM bulk");
        self.session("shop", &slow)
            .begin_blocking("ANALYZE sampled");
        for _ in 0..2 {
            self.session("shop", &["SET application_name = 'idler'"]);
        }
        let idle = self.replica.session("postgres");
        idle.execute("SELECT 1");
        self.sessions.push(idle);
        assert_eq!(
            self.sessions.len() - 1,
            SHOP_SESSIONS,
            "one is the replica's"
        );
    }

    /// Waits until the server's statistics tell all that was done, and nothing moves by itself.
    fn settle(&self) {
        let shop = self.primary.session("shop");
        let holds = |what: &str, sql: &str| {
            eventually(what, || shop.text(sql)[0][0].as_deref() == Some("t"));
        };
        holds(
            "autovacuum has been there",
            "SELECT autovacuum_count > 0 AND autoanalyze_count > 0 FROM pg_stat_user_tables \
             WHERE relname = 'watched'",
        );
        self.primary.execute("ALTER SYSTEM SET autovacuum = off");
        self.primary.execute("SELECT pg_reload_conf()");
        holds(
            "the items are counted",
            "SELECT (n_tup_ins, n_tup_upd, n_tup_del) = (1000, 100, 50) FROM pg_stat_user_tables \
             WHERE relname = 'items'",
        );
        holds(
            "the vacuums are counted",
            "SELECT (SELECT (vacuum_count, analyze_count) = (2, 1) FROM pg_stat_user_tables \
             WHERE relname = 'kept') AND (SELECT vacuum_count = 1 FROM pg_stat_user_tables WHERE relname = 'bloated')",
        );
        holds(
            "the index scans are counted",
            "SELECT idx_scan = 3 FROM pg_stat_user_indexes WHERE relname = 'looked'",
        );
        holds(
            "the deadlock is counted",
            "SELECT deadlocks = 1 FROM pg_stat_database WHERE datname = 'shop'",
        );
        holds(
            "the sequence is counted",
            "SELECT blks_read + blks_hit > 0 FROM pg_statio_all_sequences WHERE relname = 'numbers'",
        );
        holds(
            "the progress views are in use",
            "SELECT EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE heap_blks_total > 0) \
             AND EXISTS (SELECT FROM pg_stat_progress_analyze WHERE sample_blks_total > 0)",
        );
        holds(
            "two sessions wait",
            "SELECT count(*) = 2 FROM pg_stat_activity \
             WHERE wait_event_type = 'Lock' AND wait_event = 'relation'",
        );
        drop(shop);
        eventually("only the known sessions are in the shop", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'";
            self.truth(sql) == SHOP_SESSIONS as f64
        });
        eventually("the functions are counted", || {
            let sql = "SELECT sum(calls) FROM pg_stat_user_functions WHERE funcname = 'counted'";
            self.truth(sql) == 3.0
        });
        eventually("the archiver has done its work", || {
            let sql = "SELECT archived_count, failed_count FROM pg_stat_archiver";
            let counts = self.primary.text(sql);
            let listed = ["archived.txt", "failed.txt"].map(|file| Some(self.listed(file)));
            counts[0] == listed && listed[0].as_deref() > Some("0")
        });
        eventually("the subscription works", || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            self.truth(sql) == 2.0
        });
    }

    /// How many names the archive command left in a file.
    pub(crate) fn listed(&self, file: &str) -> String {
        let text = fs::read_to_string(self.primary.data_dir().join(file)).unwrap_or_default();
        text.lines().count().to_string()
    }
}

/// Text of the server as a number: `t` is 1.
#[track_caller]
pub(crate) fn number(text: &str) -> f64 {
    match text {
        "t" | "on" => 1.0,
        "f" | "off" => 0.0,
        _ => match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{text:?} is no number"),
        },
    }
}

fn start_primary(major: u32) -> Postgres {
    let identity = Authority::new("catalogue").server(&["localhost", "127.0.0.1"]);
    let mut builder = Postgres::builder(major)
        .tls(&identity.certificate, &identity.key)
        .set("wal_level", "logical")
        .set("shared_buffers", "16MB")
        .set("track_functions", "all")
        .set("track_io_timing", "on")
        .set("archive_mode", "on")
        .set("archive_command", ARCHIVE)
        .set("autovacuum_naptime", "1s")
        .set("deadlock_timeout", "100ms")
        .set("wal_retrieve_retry_interval", "100ms");
    if major >= 14 {
        builder = builder.set("track_wal_io_timing", "on");
    }
    if major >= 18 {
        builder = builder.set("track_cost_delay_timing", "on");
    }
    builder.start()
}

fn fill(primary: &Postgres) {
    // Only the second attempt at the first segment works.
    primary.execute("SELECT pg_switch_wal()");
    primary.execute(OWN);
    for database in ["shop", "copy", "private", "closed"] {
        primary.execute(&format!("CREATE DATABASE {database}"));
    }
    primary.execute("REVOKE CONNECT ON DATABASE private FROM PUBLIC");
    primary.execute("ALTER DATABASE closed ALLOW_CONNECTIONS false");
    primary.execute_in("shop", SHOP);
    for statement in [
        "VACUUM kept",
        "VACUUM ANALYZE kept",
        "VACUUM bloated",
        "ANALYZE bloated",
    ] {
        primary.execute_in("shop", statement);
    }
    eventually("archiving fails", || {
        primary.value("SELECT failed_count > 0 FROM pg_stat_archiver") == "t"
    });
    fs::write(primary.data_dir().join("archive_ok"), "").expect("it is written");
}

/// Logical replication from `postgres` to `copy`. Within one server the slot must be there first.
fn subscribe(primary: &Postgres) {
    for slot in ["sub", "unused"] {
        primary.execute(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ));
    }
    let (socket, port) = (primary.socket_dir().display(), primary.port());
    primary.execute_in("copy", "CREATE TABLE published (id int PRIMARY KEY)");
    primary.execute_in(
        "copy",
        &format!(
            "CREATE SUBSCRIPTION sub CONNECTION 'host={socket} port={port} user=postgres \
             dbname=postgres' PUBLICATION pub WITH (create_slot = false, slot_name = 'sub', \
             copy_data = false)"
        ),
    );
    if primary.major() >= 15 {
        primary.execute("SELECT pg_stat_reset_subscription_stats(oid) FROM pg_subscription");
    }
}

/// Two sessions that wait for each other; the server ends one of them.
fn deadlock(primary: &Postgres) {
    let [first, second] = [primary.session("shop"), primary.session("shop")];
    first.execute("BEGIN; UPDATE pair SET n = 1 WHERE id = 1");
    second.execute("BEGIN; UPDATE pair SET n = 1 WHERE id = 2");
    let waiting = first.begin_blocking("UPDATE pair SET n = 1 WHERE id = 2");
    let outcomes = [
        second.try_execute("UPDATE pair SET n = 1 WHERE id = 1; ROLLBACK"),
        waiting.join().expect("no panic"),
    ];
    let ended = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(ended, 1, "{outcomes:?}");
}

/// Reads of a table larger than the buffers, so that asynchronous I/O is under way.
struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(primary: &Postgres) -> Self {
        primary.execute(
            "CREATE UNLOGGED TABLE wide WITH (autovacuum_enabled = off) AS \
             SELECT repeat('x', 2000) AS t FROM generate_series(1, 16000)",
        );
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2)
            .map(|_| {
                let (session, stop) = (primary.session("postgres"), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = session.try_execute("SELECT count(*) FROM wide");
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What a reader panicked with, it has printed.
            let _ = thread.join();
        }
    }
}
