//! A short scrape timeout: the share of a database is short then, and says nothing of the database.

use crate::bed::{Metrics, ROLE, Watch, is_active, scrape_within, server};
use crate::support::{Exporter, eventually};

/// Takes 0.4 s in one database, and no time in the others.
const SLOW: (&str, &str, &str) = (
    "slow",
    "database: all",
    "SELECT length(pg_sleep(CASE current_database() WHEN 'd2' THEN 0.4 ELSE 0 END)::text)",
);

#[test]
fn a_database_that_misses_a_short_share_is_not_left_alone_and_answers_in_the_next_scrape() {
    let server = server(17);
    let watch = Watch::on(&server);
    let metrics = Metrics::new(&[SLOW]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("collectors = everywhere, slow")
        .server_as("sick", &server, ROLE, None)
        .start();
    eventually("connected", || exporter.log().contains("connected"));
    let mut seen = 0;
    for turn in 0..8 {
        let (samples, _) = scrape_within(&exporter, 1.0);
        assert!(is_active(&samples, "sick"), "{turn}: {}", exporter.log());
        let d2 = [("server", "sick"), ("database", "d2")];
        seen += usize::from(samples.value("pgexporter_slow", &d2).is_some());
        let missing = samples.with(
            "pgexporter_postgresql_database_missing",
            &[("server", "sick")],
        );
        let named: Vec<_> = missing.iter().map(|one| &one.labels["database"]).collect();
        println!("{turn}: {seen} {named:?}");
    }
    assert!(seen >= 4, "{seen}: {}", exporter.log());
    let log = exporter.log();
    assert!(!log.contains("retries later and less often"), "{log}");
    watch.never_more_than_two();
}
