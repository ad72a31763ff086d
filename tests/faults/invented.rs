//! Names that a server invents anew at each scrape: what the exporter remembers of them ends with
//! them.

use std::time::Duration;

use crate::bed::{Metrics, ROLE, is_active, server};
use crate::support::{Exporter, eventually, within};

/// Fails in databases of which the name says so.
const FAILS: (&str, &str, &str) = (
    "fails",
    "database: all",
    "SELECT 1 / CASE WHEN starts_with(current_database(), 'tmp') THEN 0 ELSE 1 END",
);

#[test]
fn databases_that_come_and_go_are_forgotten_and_logged_again_when_they_are_back() {
    let server = server(17);
    let metrics = Metrics::new(&[FAILS]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("collectors = everywhere, fails")
        .server_as("sick", &server, ROLE, None)
        .start();
    eventually("it is scraped", || is_active(&exporter.metrics(), "sick"));
    let told = || {
        let log = exporter.log();
        let lines = log.lines().filter(|line| line.contains("no samples: "));
        lines.filter(|line| line.contains("tmp")).count()
    };
    for turn in 1..=3 {
        server.execute("CREATE DATABASE tmp");
        for _ in 0..4 {
            assert!(is_active(&exporter.metrics(), "sick"));
        }
        let once = within(Duration::from_secs(10), || told() == turn);
        assert!(once, "{turn}: {}", exporter.log());
        server.execute("DROP DATABASE tmp WITH (FORCE)");
        let samples = exporter.metrics();
        assert_eq!(
            samples
                .with("pgexporter_fails", &[("server", "sick")])
                .len(),
            5
        );
    }
    // New ones at each scrape are logged once each, and lose nothing of the others.
    for turn in 0..10 {
        let name = format!("tmp{turn}");
        server.execute(&format!("CREATE DATABASE {name}"));
        let samples = exporter.metrics();
        assert_eq!(
            samples
                .with("pgexporter_fails", &[("server", "sick")])
                .len(),
            5
        );
        server.execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
    }
    assert_eq!(told(), 13, "{}", exporter.log());
}
