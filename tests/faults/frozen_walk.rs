//! A server that freezes while the exporter is connected to another of its databases: both
//! connections stay open and say nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Metrics, ROLE, Watch, is_active, nothing_lost, recovers, scrape_within, server};
use crate::support::{DEADLINE, Exporter, Postgres, Samples, Switch, eventually, within};

/// A query that takes a moment in one of the other databases.
const DOZE: (&str, &str, &str) = (
    "doze",
    "database: all",
    "SELECT count(*) FROM pg_class, pg_sleep(CASE WHEN current_database() = 'd2' THEN 1 ELSE 0 END)",
);

fn start(switch: &Switch, metrics: &Metrics) -> Exporter {
    Exporter::builder()
        .set(&metrics.line())
        .section(&format!(
            "[sick]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            switch.port()
        ))
        .start()
}

/// Freezes the server while the exporter is connected to another database, and scrapes until both
/// connections are known not to answer.
fn freeze_in_walk(server: &Postgres, exporter: &Exporter) {
    let at_work = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{ROLE}' AND datname = 'd2' \
         AND wait_event = 'PgSleep'"
    );
    thread::scope(|scope| {
        let scrape = scope.spawn(|| scrape_within(exporter, 3.0));
        assert!(within(DEADLINE, || server.value(&at_work) == "t"));
        server.freeze();
        scrape.join().expect("a scrape")
    });
    for turn in 0..3 {
        let (samples, _) = scrape_within(exporter, 2.0);
        assert!(!is_active(&samples, "sick"), "{turn}: {}", exporter.log());
        thread::sleep(Duration::from_millis(500));
    }
}

/// Scrapes each second until the server answers: how long that took.
fn is_back(exporter: &Exporter) -> Duration {
    let begin = Instant::now();
    while !is_active(&scrape_within(exporter, 5.0).0, "sick") {
        let log = exporter.log();
        assert!(begin.elapsed() < Duration::from_secs(100), "{log}");
        thread::sleep(Duration::from_secs(1));
    }
    begin.elapsed()
}

fn eventually_whole(exporter: &Exporter, before: &Samples) {
    eventually("all databases are scraped again", || {
        let (samples, _) = scrape_within(exporter, 10.0);
        let all = |samples: &Samples| samples.all("pgexporter_doze").len();
        is_active(&samples, "sick") && all(&samples) == all(before)
    });
    nothing_lost(before, &recovers(exporter, "sick"), "sick");
}

#[test]
fn a_server_frozen_in_a_walk_is_back_soon_after_the_thaw() {
    let sick = server(17);
    let watch = Watch::on(&sick);
    let switch = Switch::to(&[sick.port()]);
    let exporter = start(&switch, &Metrics::new(&[DOZE]));
    let before = recovers(&exporter, "sick");
    freeze_in_walk(&sick, &exporter);
    sick.thaw();
    let took = is_back(&exporter);
    assert!(
        took < Duration::from_secs(8),
        "{took:?}: {}",
        exporter.log()
    );
    eventually_whole(&exporter, &before);
    watch.never_more_than_two();
}

#[test]
fn a_server_frozen_in_a_walk_is_back_soon_after_another_took_its_address() {
    let sick = server(17);
    let healthy = server(17);
    let watches = [Watch::on(&sick), Watch::on(&healthy)];
    let switch = Switch::to(&[sick.port()]);
    let exporter = start(&switch, &Metrics::new(&[DOZE]));
    let before = recovers(&exporter, "sick");
    freeze_in_walk(&sick, &exporter);
    switch.lead_to(&[healthy.port()]);
    let took = is_back(&exporter);
    assert!(
        took < Duration::from_secs(10),
        "{took:?}: {}",
        exporter.log()
    );
    eventually_whole(&exporter, &before);
    assert!(took < Duration::from_secs(10), "{took:?}");
    watches[1].never_more_than_two();
    sick.thaw();
    eventually_whole(&exporter, &before);
    watches.iter().for_each(Watch::never_more_than_two);
}
