//! What a scrape's body holds: text that Prometheus reads without a complaint, whatever names and
//! statements the servers have, and whatever metrics the users add.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "exposition/changing.rs"]
mod changing;
#[path = "exposition/counters.rs"]
mod counters;
#[path = "exposition/custom.rs"]
mod custom;
#[path = "exposition/duplicates.rs"]
mod duplicates;
#[path = "catalog/lint.rs"]
mod lint;
#[path = "exposition/openmetrics.rs"]
mod openmetrics;
#[path = "exposition/raw.rs"]
mod raw;
#[path = "exposition/values.rs"]
mod values;

use raw::Raw;
use support::{Exporter, MAJORS, Postgres, Samples, eventually};

/// A table's name with all that has to be escaped.
const HOSTILE: &str = "quo\"te back\\slash\nline { } , = é";
/// The longest name there is: 63 bytes of the 64 are letters.
const LONG: &str = "a_name_of_sixty_four_characters_of_which_the_last_one_is_cut_off";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A server with names that are hard to write down.
fn hostile(major: u32) -> Postgres {
    let server = Postgres::start(major);
    assert_eq!(LONG.len(), 64);
    let table = |name: &str| {
        let name = quoted(name);
        format!(
            "CREATE TABLE {name} (id int PRIMARY KEY); INSERT INTO {name} VALUES (1); \
             ANALYZE {name};"
        )
    };
    let (hostile, long) = (table(HOSTILE), table(LONG));
    for database in ["postgres", HOSTILE] {
        if database != "postgres" {
            server.execute(&format!("CREATE DATABASE {}", quoted(database)));
        }
        server.execute_in(database, &hostile);
        server.execute_in(database, &long);
        server.execute_in(database, &format!("CREATE SCHEMA {}", quoted(HOSTILE)));
    }
    server.execute(&format!("CREATE ROLE {} LOGIN", quoted(HOSTILE)));
    server
}

#[test]
fn every_versions_scrape_is_clean_whatever_the_names() {
    let name = "pgexporter_pg_table_bloat_block_size";
    for major in MAJORS {
        let server = hostile(major);
        let exporter = Exporter::on(&[("quo\"te\\d é", &server)]);
        let body = exporter.get("/metrics").body;
        lint::assert_clean(&body);
        let samples = Samples::parse(&body);
        for database in ["postgres", HOSTILE] {
            for table in [HOSTILE, &LONG[..63]] {
                let labels = [
                    ("server", "quo\"te\\d é"),
                    ("database", database),
                    ("tblname", table),
                ];
                assert_eq!(
                    samples.value(name, &labels),
                    Some(8192.0),
                    "{major} {labels:?}"
                );
            }
        }
        let size = "pgexporter_pg_database_size";
        assert!(samples.value(size, &[("database", HOSTILE)]) > Some(1e6));
    }
}

#[test]
fn bytes_that_are_no_utf8_spoil_neither_their_own_family_nor_another() {
    for major in [13, 18] {
        let server = Postgres::builder(major).encoding("SQL_ASCII").start();
        let mut session = Raw::open(&server, "postgres", "SQL_ASCII");
        session.execute(b"CREATE TABLE \"bad\xff\xfename\" (id int PRIMARY KEY)");
        session.execute(b"CREATE TABLE busy (id int)");
        session.execute(b"BEGIN");
        session.execute(b"LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE");
        let mut waiting = Raw::open(&server, "postgres", "SQL_ASCII");
        waiting.begin(b"VACUUM /* \xe9\xe9 \xff */ busy");
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        eventually("the vacuum waits", || server.value(sql) == "1");

        let exporter = Exporter::on(&[("ascii", &server)]);
        let body = exporter.get("/metrics").body;
        lint::assert_clean(&body);
        let samples = Samples::parse(&body);
        for name in [
            "pgexporter_pg_stat_user_tables_vacuum_n_live_tup",
            "pgexporter_pg_statio_all_tables_heap_blks_hit",
        ] {
            let labels = [("relname", "bad\\377\\376name")];
            assert!(samples.value(name, &labels).is_some(), "{major} {name}");
        }
        let blocked = "pgexporter_pg_blocked_vacuum_blocked_duration_seconds";
        let labels = [("blocked_query", "VACUUM /* \\351\\351 \\377 */ busy")];
        assert!(
            samples.value(blocked, &labels).is_some(),
            "{:?}",
            samples.all(blocked)
        );
        assert_eq!(
            samples.value("pgexporter_query_errors_total", &[]),
            Some(0.0)
        );
    }
}

#[test]
fn a_statement_of_a_database_in_another_encoding_is_shown_with_its_bytes_escaped() {
    for major in MAJORS {
        let server = Postgres::start(major);
        server.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        );
        server.execute_in(
            "latin",
            "CREATE TABLE bulk (id int, name text) WITH (autovacuum_enabled = off);
             INSERT INTO bulk SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i;
             CREATE TABLE busy (id int)",
        );
        let [mut slow, mut holder, mut waiting] =
            [(); 3].map(|()| Raw::open(&server, "latin", "LATIN1"));
        slow.execute(b"SET vacuum_cost_delay = 100");
        slow.execute(b"SET vacuum_cost_limit = 1");
        slow.begin(b"VACUUM /* gr\xfc\xdfe */ bulk");
        holder.execute(b"BEGIN");
        holder.execute(b"LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE /* \xe4 */");
        waiting.begin(b"VACUUM /* \xf6 */ busy");
        eventually("one vacuum works and one waits", || {
            server.value(
                "SELECT (SELECT count(*) FROM pg_stat_progress_vacuum) = 1 AND
                 (SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') = 1",
            ) == "t"
        });
        let exporter = Exporter::on(&[("latin", &server)]);
        let body = exporter.get("/metrics").body;
        lint::assert_clean(&body);
        let samples = Samples::parse(&body);
        let progress = "pgexporter_pg_stat_progress_vacuum_heap_blks_total";
        let labels = [("query", "VACUUM /* gr\\374\\337e */ bulk")];
        assert!(
            samples.value(progress, &labels).is_some(),
            "{:?}",
            samples.all(progress)
        );
        let blocked = "pgexporter_pg_blocked_vacuum_blocked_duration_seconds";
        let labels = [
            ("blocked_query", "VACUUM /* \\366 */ busy"),
            (
                "blocking_query",
                "LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE /* \\344 */",
            ),
        ];
        assert!(
            samples.value(blocked, &labels).is_some(),
            "{:?}",
            samples.all(blocked)
        );
        assert_eq!(
            samples.value("pgexporter_query_errors_total", &[]),
            Some(0.0)
        );
    }
}

#[test]
fn a_statement_in_a_label_is_as_long_as_the_key_says() {
    let server = Postgres::start(17);
    server.execute("CREATE TABLE busy (id int)");
    let holder = server.session("postgres");
    holder.execute("BEGIN; LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE");
    let waiting = server.session("postgres");
    waiting.begin_blocking(&format!("VACUUM /* {} */ busy", "é".repeat(700)));
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually("the vacuum waits", || server.value(sql) == "1");
    for (line, length) in [
        ("", 100),
        ("query_text_length = 10", 10),
        // The server itself keeps 1,024 bytes (track_activity_query_size), here 517 characters.
        ("query_text_length = 500", 500),
    ] {
        let exporter = Exporter::builder().set(line).server("one", &server).start();
        let samples = exporter.metrics();
        let found = samples.all("pgexporter_pg_blocked_vacuum_blocked_duration_seconds");
        let text = &found[0].labels["blocked_query"];
        assert_eq!(text.chars().count(), length, "{line}: {text}");
    }
}

const WISH: (&str, &str) = (
    "Accept",
    "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);

#[test]
fn openmetrics_is_served_when_it_is_switched_on_and_asked_for_and_never_otherwise() {
    let server = hostile(18);
    let type_of = |answer: &support::Answer| answer.headers["content-type"].clone();
    let on = Exporter::builder()
        .set("openmetrics = on")
        .server("one", &server)
        .start();
    let answer = on.get_with("/metrics", &[WISH]);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(
        type_of(&answer),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let families = openmetrics::check(&answer.body).expect("it is OpenMetrics 1.0");
    assert_eq!(families["pgexporter_query_executions"], "counter");
    assert_eq!(
        families["pgexporter_pg_stat_archiver_archived_count"],
        "unknown"
    );
    assert_eq!(
        families["pgexporter_pg_shmem_allocations_size_bucket"],
        "gauge"
    );

    // The names of the samples do not change with the header.
    let plain = on.get("/metrics");
    assert_eq!(type_of(&plain), text);
    lint::assert_clean(&plain.body);
    let names = |body: &str| -> std::collections::BTreeSet<String> {
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        samples.map(name).collect()
    };
    assert_eq!(names(&plain.body), names(&answer.body));

    let off = Exporter::on(&[("one", &server)]);
    let answer = off.get_with("/metrics", &[WISH]);
    assert_eq!(type_of(&answer), text);
    assert!(!answer.body.contains("# EOF"));
    lint::assert_clean(&answer.body);
}
