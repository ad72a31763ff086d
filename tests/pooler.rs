//! A server behind PgBouncer shows what it shows without it, and nothing of ours stays in the pool.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

use std::collections::BTreeSet;

use support::{Exporter, PgBouncer, Postgres, Samples, eventually};

/// Families with samples, but for those of what sessions do at the moment.
fn families(samples: &Samples, server: &str) -> BTreeSet<String> {
    const VOLATILE: [&str; 6] = [
        "wait_event",
        "locks",
        "idle_procs",
        "long_running",
        "mem_ctx",
        "aios",
    ];
    samples
        .samples
        .iter()
        .filter(|sample| {
            sample
                .labels
                .get("server")
                .is_some_and(|name| name == server)
        })
        .map(|sample| sample.name.clone())
        .filter(|name| !VOLATILE.iter().any(|part| name.contains(part)))
        .collect()
}

fn value(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    samples
        .value(name, labels)
        .unwrap_or_else(|| panic!("no {name} {labels:?}"))
}

fn behaves_behind(mode: &str, more: &str) {
    let server = Postgres::start(17);
    server.execute("CREATE DATABASE shop");
    server.execute("CREATE TABLE orders AS SELECT 7 AS number");
    server.execute_in("shop", "CREATE TABLE goods AS SELECT 1 AS a");
    let bouncer = PgBouncer::start(&server, mode);
    if !more.is_empty() {
        bouncer.set(more);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = folder.path().join("metrics.yaml");
    let text = "version: 13\nmetrics:\n  - tag: orders\n    queries:\n      - query: SELECT number FROM orders\n        columns:\n          - {type: gauge, description: Orders.}\n";
    std::fs::write(&metrics, text).expect("it is written");
    let exporter = Exporter::builder()
        .set(&format!("metrics_path = {}", metrics.display()))
        .server("direct", &server)
        .section(&format!(
            "[pooled]\nhost = 127.0.0.1\nport = {}\nuser = postgres\n",
            bouncer.port()
        ))
        .start();
    let active = |samples: &Samples, name: &str| {
        samples.value("pgexporter_postgresql_active", &[("server", name)]) == Some(1.0)
    };
    let mut first = None;
    eventually("both are scraped", || {
        let samples = exporter.metrics();
        let both = active(&samples, "direct") && active(&samples, "pooled");
        first = Some(samples);
        both
    });
    let first = first.expect("a scrape");
    let mut last = None;
    for turn in 0..20 {
        let samples = exporter.metrics();
        assert!(active(&samples, "pooled"), "{turn}: {}", exporter.log());
        assert_eq!(
            value(&samples, "pgexporter_orders", &[("server", "pooled")]),
            7.0
        );
        last = Some(samples);
    }
    let last = last.expect("a scrape");
    let (direct, pooled) = (families(&last, "direct"), families(&last, "pooled"));
    let differ: Vec<_> = direct.symmetric_difference(&pooled).collect();
    assert!(
        direct.len() > 100 && differ.is_empty(),
        "{mode}: {differ:#?}"
    );
    // Tables of the other database are there as well.
    let labels = [
        ("server", "pooled"),
        ("database", "shop"),
        ("relname", "goods"),
    ];
    assert!(last.samples.iter().any(|sample| {
        labels
            .iter()
            .all(|(key, text)| sample.labels.get(*key).is_some_and(|found| found == text))
    }));
    assert_eq!(
        value(&last, "pgexporter_query_errors_total", &[]),
        value(&first, "pgexporter_query_errors_total", &[]),
        "{}",
        exporter.log()
    );
    let failed: f64 = last
        .with(
            "pgexporter_postgresql_failures_total",
            &[("server", "pooled")],
        )
        .iter()
        .map(|sample| sample.value)
        .sum();
    assert_eq!(failed, 0.0);
    let page = exporter.get("/").body;
    assert_eq!(
        page.to_lowercase().matches("pooler").count().min(1),
        1,
        "{page}"
    );
    assert!(!exporter.log().contains("no samples"), "{}", exporter.log());

    // What we leave in a server's session the next client of the pool would get.
    let state = bouncer.text(
        "postgres",
        "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('default_transaction_read_only'), current_setting('search_path'), current_setting('statement_timeout')",
    );
    let state: Vec<_> = state[0]
        .iter()
        .map(|field| field.clone().unwrap_or_default())
        .collect();
    assert_eq!(state, ["0", "off", "\"$user\", public", "0"], "{mode}");
}

#[test]
fn a_server_behind_a_session_pool_shows_what_it_shows_directly() {
    behaves_behind("session", "");
}

#[test]
fn a_server_behind_a_transaction_pool_shows_what_it_shows_directly() {
    behaves_behind("transaction", "");
}

#[test]
fn a_pool_that_swallows_our_settings_is_found_out() {
    for mode in ["session", "transaction"] {
        behaves_behind(
            mode,
            "ignore_startup_parameters = 'options,extra_float_digits'",
        );
    }
}
