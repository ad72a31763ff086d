//! Settings that change how many connections there are, and when they are used.

use crate::bed::{
    Metrics, ROLE, Watch, exporter, is_active, nothing_lost, recovers, server, settled,
};
use crate::support::{Exporter, Postgres, Samples, eventually};

const SICK: [(&str, &str); 1] = [("server", "sick")];

fn sessions(server: &Postgres) -> String {
    server.value(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    ))
}

fn connections(samples: &Samples) -> f64 {
    samples
        .value("pgexporter_postgresql_connections_total", &SICK)
        .expect("counted")
}

#[test]
fn without_a_kept_session_each_scrape_is_whole_and_leaves_none() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[]))
        .set("cache = off")
        .start();
    let before = settled(&exporter);
    for _ in 0..3 {
        let after = exporter.metrics();
        nothing_lost(&before, &after, "sick");
        eventually("no session is left", || sessions(&sick) == "0");
    }
    sick.stop_fast();
    let during = exporter.metrics();
    assert!(!is_active(&during, "sick") && is_active(&during, "healthy"));
    sick.start_again();
    nothing_lost(&before, &recovers(&exporter, "sick"), "sick");
    watch.never_more_than_two();
}

#[test]
fn sessions_of_other_databases_are_kept_when_that_is_chosen() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[]))
        .set("session_databases = 3")
        .start();
    let before = settled(&exporter);
    let first = exporter.metrics();
    assert_eq!(sessions(&sick), "3");
    let second = exporter.metrics();
    // Two of the four other databases have none.
    assert_eq!(connections(&second) - connections(&first), 2.0);
    nothing_lost(&before, &second, "sick");
    // A database that goes takes its session with it, and holds up nobody who drops it.
    sick.execute("DROP DATABASE d1 WITH (FORCE)");
    let after = exporter.metrics();
    assert!(is_active(&after, "sick"));
    assert_eq!(after.with("pgexporter_everywhere", &SICK).len(), 4);
    watch.never_more_than(4);
    sick.stop_fast();
    eventually("it is down", || !is_active(&exporter.metrics(), "sick"));
    sick.start_again();
    recovers(&exporter, "sick");
    eventually("all is back", || {
        exporter
            .metrics()
            .with("pgexporter_everywhere", &SICK)
            .len()
            == 4
    });
}

#[test]
fn a_collection_is_served_again_while_it_is_young_enough() {
    let (sick, healthy) = (server(17), server(18));
    let metrics = Metrics::new(&[]);
    let exporter = exporter(&sick, &healthy, &metrics)
        .set("metrics_cache_max_age = 1h")
        .set("metrics_cache_max_size = 50M")
        .start();
    eventually("both are connected", || {
        exporter.log().matches("connected").count() >= 2
    });
    let first = exporter.get("/metrics").body;
    sick.execute("CREATE TABLE news ()");
    assert_eq!(exporter.get("/metrics").body, first);
    assert!(is_active(&Samples::parse(&first), "sick"));
    let text = exporter.config_text().replace("1h", "0");
    exporter.write_config(&text);
    exporter.signal(rustix::process::Signal::HUP);
    eventually("it is asked again", || {
        exporter.get("/metrics").body != first
    });
}

#[test]
fn three_servers_take_turns_when_there_is_one_connection_for_all() {
    let servers = [server(16), server(17), server(18)];
    let watches: Vec<Watch> = servers.iter().map(Watch::on).collect();
    let metrics = Metrics::new(&[]);
    let mut builder = Exporter::builder()
        .set(&metrics.line())
        .set("max_connections = 1");
    for (number, server) in servers.iter().enumerate() {
        builder = builder.server_as(&format!("s{number}"), server, ROLE, None);
    }
    let exporter = builder.start();
    for turn in 0..5 {
        let samples = exporter.metrics();
        for number in 0..3 {
            let name = format!("s{number}");
            assert!(
                is_active(&samples, &name),
                "{name}, {turn}: {}",
                exporter.log()
            );
            let settings = samples.with(
                "pgexporter_pg_settings_max_connections",
                &[("server", &name)],
            );
            assert_eq!(settings.len(), 1);
        }
    }
    let total: usize = watches.iter().map(Watch::most).sum();
    assert!(total <= 3, "{total}");
    for watch in &watches {
        watch.never_more_than(1);
    }
}
