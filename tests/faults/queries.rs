//! Queries that wait, fail, take too long, or bring too much.

use std::time::Duration;

use crate::bed::{
    Metrics, ROLE, SLACK, Watch, all_failures, exporter, failures, healthy_is_whole, is_active,
    nothing_lost, recovers, scrape_within, server, settled,
};
use crate::support::{Exporter, Samples, eventually};

const SICK: [(&str, &str); 1] = [("server", "sick")];

fn counted(samples: &Samples, name: &str) -> f64 {
    samples.value(name, &[]).expect("an own family")
}

#[test]
fn a_locked_table_costs_its_own_metric_and_no_longer_than_the_lock_timeout() {
    let (sick, healthy) = (server(17), server(18));
    sick.execute("CREATE TABLE orders AS SELECT 7 AS number");
    sick.execute("GRANT SELECT ON orders TO public");
    let watch = Watch::on(&sick);
    let metrics = Metrics::new(&[("orders", "", "SELECT sum(number) FROM orders")]);
    let exporter = exporter(&sick, &healthy, &metrics)
        .set("lock_timeout = 500ms")
        .start();
    let before = settled(&exporter);
    assert_eq!(
        before.value("pgexporter_orders", &SICK),
        Some(7.0),
        "{}",
        exporter.log()
    );
    let lock = sick.session("postgres");
    lock.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
    let (during, took) = scrape_within(&exporter, 30.0);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(is_active(&during, "sick"));
    assert_eq!(during.value("pgexporter_orders", &SICK), None);
    let cut = "pgexporter_query_timeouts_total";
    assert!(counted(&during, cut) > counted(&before, cut));
    healthy_is_whole(&before, &during);
    lock.execute("ROLLBACK");
    let after = exporter.metrics();
    nothing_lost(&before, &after, "sick");
    assert_eq!(all_failures(&after, "sick"), 0.0);
    let log = exporter.log();
    let told = log
        .lines()
        .filter(|line| line.contains("sick") && line.contains("tag=orders"));
    assert_eq!(told.count(), 1, "{log}");
    watch.never_more_than_two();
}

#[test]
fn a_locked_catalogue_holds_no_scrape_beyond_its_deadline() {
    let (sick, healthy) = (server(18), server(17));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[]))
        .set("lock_timeout = 200ms")
        .start();
    let before = settled(&exporter);
    for catalogue in ["pg_database", "pg_class"] {
        let lock = sick.session("postgres");
        lock.execute(&format!(
            "BEGIN; LOCK TABLE pg_catalog.{catalogue} IN ACCESS EXCLUSIVE MODE"
        ));
        for _ in 0..2 {
            let (during, took) = scrape_within(&exporter, 3.0);
            assert!(
                took < Duration::from_secs(3) + SLACK,
                "{catalogue}: {took:?}"
            );
            healthy_is_whole(&before, &during);
            // What needs no catalogue is there.
            assert!(
                is_active(&during, "sick"),
                "{catalogue}: {}",
                exporter.log()
            );
            let name = "pgexporter_postgresql_uptime";
            assert!(during.value(name, &SICK).is_some(), "{catalogue}");
        }
        lock.execute("ROLLBACK");
        let mut last = None;
        eventually("all is back", || {
            let samples = exporter.metrics();
            let whole = samples.with("pgexporter_everywhere", &SICK).len() == 5;
            last = Some(samples);
            whole
        });
        let after = last.expect("a scrape");
        assert!(is_active(&after, "sick"));
        healthy_is_whole(&before, &after);
    }
    watch.never_more_than_two();
}

#[test]
fn a_query_that_fails_costs_its_own_metric() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    sick.execute("CREATE TABLE only_here AS SELECT 0 AS zero");
    sick.execute("GRANT SELECT ON only_here TO public");
    let metrics = Metrics::new(&[
        ("divided", "", "SELECT 1 / zero FROM only_here"),
        ("misspelt", "", "SELEKT 1"),
        ("good", "", "SELECT 5"),
    ]);
    let exporter = exporter(&sick, &healthy, &metrics).start();
    let before = settled(&exporter);
    let (during, _) = scrape_within(&exporter, 10.0);
    assert!(is_active(&during, "sick"));
    assert_eq!(during.value("pgexporter_good", &SICK), Some(5.0));
    for tag in ["divided", "misspelt"] {
        assert_eq!(during.value(&format!("pgexporter_{tag}"), &SICK), None);
    }
    let errors = "pgexporter_query_errors_total";
    // Both at each server: the healthy one lacks the table.
    assert_eq!(counted(&during, errors) - counted(&before, errors), 4.0);
    nothing_lost(&before, &during, "sick");
    healthy_is_whole(&before, &during);
    let log = exporter.log();
    assert_eq!(log.matches("division by zero").count(), 1, "{log}");
    assert_eq!(all_failures(&during, "sick"), 0.0);
    watch.never_more_than_two();
}

#[test]
fn a_slow_query_is_cut_by_whatever_limit_comes_first() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let slow = "SELECT CASE WHEN current_setting('port') = 'PORT' THEN length(pg_sleep(600)::text) ELSE 1 END"
        .replace("PORT", &sick.port().to_string());
    // Its own timeout, the timeout of all, and the deadline of the scrape.
    let cases = [
        ("timeout: 1s", "0", 20.0),
        ("", "1s", 20.0),
        ("", "0", 2.0),
        ("timeout: 20s", "0", 2.0),
    ];
    for (key, query_timeout, deadline) in cases {
        let metrics = Metrics::new(&[
            ("slow", key, &slow),
            ("quick", "", "SELECT 3"),
            ("later", "timeout: 5s", "SELECT 4"),
        ]);
        let exporter = exporter(&sick, &healthy, &metrics)
            .set(&format!("metrics_query_timeout = {query_timeout}"))
            .start();
        let case = format!("{key}, {query_timeout}, {deadline}");
        eventually("both are connected", || {
            exporter.log().matches("connected").count() >= 2
        });
        let mut before = None;
        for turn in 0..3 {
            let (during, took) = scrape_within(&exporter, deadline);
            assert!(took < Duration::from_secs(2) + SLACK, "{case}: {took:?}");
            assert!(
                is_active(&during, "sick"),
                "{case}, {turn}: {}",
                exporter.log()
            );
            assert_eq!(during.value("pgexporter_slow", &SICK), None, "{case}");
            // Those behind the slow one have their turn from the second scrape on.
            for (name, value) in [("pgexporter_quick", 3.0), ("pgexporter_later", 4.0)] {
                let found = during.value(name, &SICK);
                let cut = turn == 0 && found.is_none();
                assert!(
                    cut || found == Some(value),
                    "{case}, {turn}: {name} {found:?}"
                );
            }
            assert!(
                counted(&during, "pgexporter_query_timeouts_total") >= 1.0,
                "{case}"
            );
            let before = before.get_or_insert_with(|| during.clone());
            healthy_is_whole(before, &during);
            assert_eq!(all_failures(&during, "sick"), 0.0, "{case}");
        }
        // No query of ours is left at the server.
        eventually("the slow query is cancelled", || {
            sick.value(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}' AND state = 'active'")) == "0"
        });
        // And no session beside the kept one but that of a walk.
        let sessions = sick.value(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"
        ));
        assert!(sessions == "1" || sessions == "2", "{case}: {sessions}");
    }
    watch.never_more_than_two();
}

#[test]
fn a_message_over_64_mib_ends_the_session_and_not_the_process() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let large = format!(
        "SELECT repeat('x', CASE WHEN current_setting('port') = '{}' AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'flood') THEN 70 ELSE 0 END * 1024 * 1024)",
        sick.port()
    );
    let metrics = Metrics::new(&[("large", "", &large)]);
    let exporter = exporter(&sick, &healthy, &metrics).start();
    let before = settled(&exporter);
    let memory = peak_memory(&exporter);
    sick.execute("CREATE ROLE flood");
    for turn in 1..=2 {
        let mut during = None;
        eventually("the reason is counted", || {
            let samples = exporter.metrics();
            let counted = failures(&samples, "sick", "message_too_large") >= f64::from(turn);
            during = Some(samples);
            counted
        });
        let during = during.expect("a scrape");
        assert!(!is_active(&during, "sick"));
        healthy_is_whole(&before, &during);
    }
    assert!(exporter.log().contains("the limit is 67108864"));
    let grown = peak_memory(&exporter) - memory;
    assert!(grown < 20 * 1024, "its memory grew by {grown} kB");
    sick.execute("DROP ROLE flood");
    let after = recovers(&exporter, "sick");
    nothing_lost(&before, &after, "sick");
    watch.never_more_than_two();
}

/// The most memory that the process ever held, in kB.
fn peak_memory(exporter: &Exporter) -> i64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .expect("a line");
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse().ok())
        .expect("a number")
}

#[test]
fn a_role_without_pg_monitor_gets_what_it_may_see_and_is_told_once_what_not() {
    let (sick, healthy) = (server(17), server(18));
    sick.execute(&format!("REVOKE pg_monitor FROM {ROLE}"));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let first = settled(&exporter);
    let again = exporter.metrics();
    assert!(is_active(&again, "sick"));
    let denied = again.with("pgexporter_postgresql_denied", &SICK);
    assert!(!denied.is_empty());
    let log = exporter.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sick") && line.contains("may not see"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for sample in &denied {
        assert!(told[0].contains(&sample.labels["collector"]), "{}", told[0]);
    }
    // Far more is shown than denied.
    assert!(crate::bed::series(&again, "sick").len() > 500);
    nothing_lost(&first, &again, "sick");
    healthy_is_whole(&first, &again);
    watch.never_more_than_two();
}
