//! A name that leads to another server: a scrape shows one server only, the new one soon, and one
//! of several always.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::bed::{ROLE, Watch, all_failures, is_active, scrape_within, server};
use crate::support::exporter::{ExporterBuilder, can_name_hosts};
use crate::support::{Exporter, Postgres, Samples, Switch, eventually, within};

/// In each database the port of its server: two of them in one scrape are two servers in one.
const WHOSE: &str = "version: 13
metrics:
  - tag: whose
    database: all
    queries:
      - query: SELECT setting::int FROM pg_settings WHERE name = 'port'
        columns:
          - {type: gauge, description: The port of the server.}
  - tag: rarely
    interval: 1h
    queries:
      - query: SELECT setting::int FROM pg_settings WHERE name = 'port'
        columns:
          - {type: gauge, description: The same and seldom.}
";

fn builder(settings: &[&str]) -> ExporterBuilder {
    let begin = Exporter::builder()
        .set("metrics_path = {dir}/whose.yaml")
        .set("collectors = whose, rarely")
        .file("whose.yaml", WHOSE);
    let add = |builder: ExporterBuilder, line: &&str| builder.set(line);
    settings.iter().fold(begin, add)
}

fn exporter(switch: &Switch, settings: &[&str]) -> Exporter {
    builder(settings)
        .section(&format!(
            "[shop]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            switch.port()
        ))
        .start()
}

/// The servers whose samples a scrape shows, and in how many databases.
fn shown(samples: &Samples) -> (BTreeSet<u16>, usize) {
    let port = |value: f64| format!("{value}").parse().expect("a port");
    let everywhere = samples.all("pgexporter_whose");
    let rarely = samples.all("pgexporter_rarely");
    let all = everywhere.iter().chain(&rarely);
    (all.map(|one| port(one.value)).collect(), everywhere.len())
}

/// One scrape that shows at most one server.
#[track_caller]
fn scrape(exporter: &Exporter) -> (BTreeSet<u16>, usize) {
    let (samples, _) = scrape_within(exporter, 5.0);
    let found = shown(&samples);
    assert!(found.0.len() <= 1, "two servers under one name: {found:?}");
    found
}

/// Scrapes until the server answers, which takes some two of them.
#[track_caller]
fn loses_some_scrapes(exporter: &Exporter) {
    let mut lost = 0;
    while !is_active(&scrape_within(exporter, 2.0).0, "shop") {
        lost += 1;
        assert!(lost < 10, "{}", exporter.log());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!((1..=4).contains(&lost), "{lost} scrapes were lost");
}

fn whole(server: &Postgres) -> (BTreeSet<u16>, usize) {
    ([server.port()].into(), 5)
}

#[track_caller]
fn eventually_whole(exporter: &Exporter, server: &Postgres, limit: u64) {
    let found = within(Duration::from_secs(limit), || {
        let found = scrape(exporter);
        std::thread::sleep(Duration::from_millis(100));
        found == whole(server)
    });
    assert!(found, "{:?}: {}", scrape(exporter), exporter.log());
}

#[test]
fn a_name_that_was_moved_shows_one_server_at_a_time_and_soon_the_new_one() {
    let (old, new) = (server(17), server(17));
    let watches = [Watch::on(&old), Watch::on(&new)];
    let switch = Switch::to(&[old.port()]);
    let exporter = exporter(&switch, &[]);
    eventually_whole(&exporter, &old, 60);
    switch.lead_to(&[new.port()]);
    eventually_whole(&exporter, &new, 60);
    // What an interval keeps is the new server's as well.
    let (samples, _) = scrape_within(&exporter, 5.0);
    let rarely = samples.value("pgexporter_rarely", &[("server", "shop")]);
    assert_eq!(rarely, Some(f64::from(new.port())));
    assert!(exporter.log().contains("leads to another server"));
    assert!(!exporter.log().contains("ambiguous"), "{}", exporter.log());
    watches.iter().for_each(Watch::never_more_than_two);
}

#[test]
fn a_failover_from_a_server_that_hangs_costs_some_two_scrapes() {
    let (old, new) = (server(16), server(16));
    let watch = Watch::on(&new);
    let switch = Switch::to(&[old.port()]);
    let exporter = exporter(&switch, &[]);
    eventually_whole(&exporter, &old, 60);
    old.freeze();
    switch.lead_to(&[new.port()]);
    loses_some_scrapes(&exporter);
    eventually_whole(&exporter, &new, 30);
    watch.never_more_than_two();
    old.thaw();
    eventually_whole(&exporter, &new, 30);
}

#[test]
fn a_name_that_moves_away_from_a_server_that_hangs_is_looked_at_again() {
    if !can_name_hosts() {
        return;
    }
    let (old, new) = (server(14), server(14));
    let watch = Watch::on(&new);
    // One port at two addresses, as two machines have it.
    let here = Switch::at("127.0.0.2", 0, &[old.port()]);
    let there = Switch::at("127.0.0.3", here.port(), &[new.port()]);
    let exporter = builder(&[])
        .hosts("127.0.0.1 localhost\n127.0.0.2 shop.test\n")
        .section(&format!(
            "[shop]\nhost = shop.test\nport = {}\nuser = {ROLE}\n",
            there.port()
        ))
        .start();
    eventually_whole(&exporter, &old, 60);
    old.freeze();
    let hosts = "127.0.0.1 localhost\n127.0.0.3 shop.test\n";
    std::fs::write(exporter.folder().join("hosts"), hosts).expect("it can be written");
    loses_some_scrapes(&exporter);
    eventually_whole(&exporter, &new, 30);
    // Nothing that was meant for the old server came to the new one.
    let log = new.log();
    assert!(!log.contains("cancel request"), "{log}");
    watch.never_more_than_two();
}

#[test]
fn a_name_of_two_servers_is_called_ambiguous_and_shows_always_the_same() {
    let (one, other) = (server(18), server(18));
    let watches = [Watch::on(&one), Watch::on(&other)];
    let switch = Switch::to(&[one.port(), other.port()]);
    let exporter = exporter(&switch, &["session_max_age = 3s"]);
    eventually("it is told", || {
        scrape(&exporter);
        exporter.log().contains("ambiguous: ")
    });
    let mut found = scrape(&exporter);
    assert!(within(Duration::from_secs(30), || {
        found = scrape(&exporter);
        found.1 == 5
    }));
    let (kept, left) = if found.0.contains(&one.port()) {
        (&one, &other)
    } else {
        (&other, &one)
    };
    for _ in 0..40 {
        assert_eq!(scrape(&exporter), whole(kept), "{}", exporter.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let page = exporter.get("/").body;
    assert!(page.contains("make a target for each server"), "{page}");
    let told = exporter.log().matches("ambiguous: ").count();
    assert_eq!(told, 1, "{}", exporter.log());
    watches.iter().for_each(Watch::never_more_than_two);
    // No longer than it lives.
    kept.stop_fast();
    switch.lead_to(&[left.port()]);
    eventually_whole(&exporter, left, 60);
}

#[test]
fn sessions_are_renewed_by_age_and_by_a_reload_without_a_gap() {
    let server = server(15);
    let watch = Watch::on(&server);
    let switch = Switch::to(&[server.port()]);
    let exporter = exporter(&switch, &["session_max_age = 2s"]);
    eventually_whole(&exporter, &server, 60);
    let session = || {
        let sessions = server.text(&format!(
            "SELECT min(pid)::text FROM pg_stat_activity WHERE usename = '{ROLE}' \
             AND datname = 'postgres' AND query NOT LIKE '%pg_stat_get_activity%' \
             AND application_name = 'pgexporter'"
        ));
        sessions[0][0].clone().unwrap_or_default()
    };
    let mut seen = BTreeSet::new();
    let renewed = within(Duration::from_secs(60), || {
        assert_eq!(scrape(&exporter), whole(&server), "{}", exporter.log());
        seen.insert(session());
        seen.len() > 4
    });
    assert!(renewed, "{seen:?}");
    let text = exporter
        .config_text()
        .replace("session_max_age = 2s", "session_max_age = 0");
    exporter.write_config(&text);
    exporter.signal(Signal::HUP);
    eventually("it is reloaded", || exporter.log().contains("reloaded: "));
    // The reload asks for one more, whatever the age.
    std::thread::sleep(Duration::from_secs(17));
    let last = session();
    for _ in 0..20 {
        assert_eq!(scrape(&exporter), whole(&server));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(session(), last, "renewed though it is switched off");
    exporter.write_config(&text.replace(
        "session_max_age = 0",
        "session_max_age = 0\nlock_timeout = 2s",
    ));
    assert_eq!(all_failures(&scrape_within(&exporter, 5.0).0, "shop"), 0.0);
    watch.never_more_than_two();
}
