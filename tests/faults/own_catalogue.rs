//! Locks on the catalogues of the database that the exporter itself connects to.

use std::time::Duration;

use crate::bed::{ROLE, Watch, failures, furnish, is_active, recovers, scrape_within};
use crate::support::{Exporter, Postgres, Session, eventually};

/// Locks a catalogue of the database `postgres` until it is rolled back.
fn lock(server: &Postgres, catalogue: &str) -> Session {
    let session = server.session("postgres");
    session.execute(&format!(
        "BEGIN; LOCK TABLE pg_catalog.{catalogue} IN ACCESS EXCLUSIVE MODE"
    ));
    session
}

fn start(server: &Postgres, more: &str) -> Exporter {
    Exporter::builder()
        .set("cache = off")
        .set(more)
        .server_as("sick", server, ROLE, None)
        .start()
}

#[test]
fn locked_extensions_of_its_own_database_do_not_keep_a_server_down() {
    let server = Postgres::start(17);
    furnish(&server);
    let watch = Watch::on(&server);
    eventually("it is watched", || watch.looks() > 0);
    let held = lock(&server, "pg_extension");
    let exporter = start(&server, "lock_timeout = 1s");
    recovers(&exporter, "sick");
    for turn in 0..4 {
        let (samples, took) = scrape_within(&exporter, 5.0);
        assert!(is_active(&samples, "sick"), "{}", exporter.log());
        assert!(samples.samples.len() > 1_000, "{}", exporter.log());
        // What needs the catalogue waits longer each time.
        assert!(
            turn < 2 || took < Duration::from_secs(3),
            "{turn}: {took:?}"
        );
    }
    let told = exporter.log().matches("cannot be listed").count();
    assert_eq!(told, 1, "{}", exporter.log());
    held.execute("ROLLBACK");
    recovers(&exporter, "sick");
    watch.never_more_than_two();
}

#[test]
fn a_server_whose_own_catalogue_answers_nothing_is_down_with_the_reason_and_recovers() {
    let server = Postgres::start(17);
    furnish(&server);
    let watch = Watch::on(&server);
    eventually("it is watched", || watch.looks() > 0);
    let held = lock(&server, "pg_namespace");
    let exporter = start(&server, "lock_timeout = 100ms");
    eventually("the reason is told", || {
        failures(&exporter.metrics(), "sick", "timeout") > 0.0
            && exporter.get("/").body.contains("lock timeout")
    });
    assert!(!is_active(&exporter.metrics(), "sick"));
    held.execute("ROLLBACK");
    recovers(&exporter, "sick");
    watch.never_more_than_two();
}

#[test]
fn a_login_that_waits_for_a_lock_is_the_only_one_that_waits() {
    let server = Postgres::start(17);
    furnish(&server);
    let looks = server.session("postgres");
    let waiting = || {
        let rows = looks.text("SELECT count(*) FROM pg_locks WHERE NOT granted");
        rows[0][0].as_deref().map(str::to_owned)
    };
    waiting();
    let held = lock(&server, "pg_database");
    let exporter = start(&server, "blocking_timeout = 1s");
    eventually("a login waits", || waiting().as_deref() == Some("1"));
    for _ in 0..12 {
        scrape_within(&exporter, 1.0);
        assert_eq!(waiting().as_deref(), Some("1"), "{}", exporter.log());
        std::thread::sleep(Duration::from_millis(300));
    }
    let samples = exporter.metrics();
    assert!(!is_active(&samples, "sick"));
    assert!(failures(&samples, "sick", "timeout") > 0.0);
    held.execute("ROLLBACK");
    recovers(&exporter, "sick");
}
