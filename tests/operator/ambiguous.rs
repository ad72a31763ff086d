//! A target whose name leads to two servers in turn.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::bed::*;
use super::support::*;

#[test]
fn a_target_that_leads_to_two_servers_is_ambiguous_and_its_status_is_written_seldom() {
    let (one, other, namespace) = (server(), server(), api().namespace("ambiguous"));
    let switch = Switch::to(&[one.port(), other.port()]);
    api().apply(&secret(&namespace, "s", SECRET));
    let spec = format!(
        "{{host: 127.0.0.1, port: {}, credentials: {{secretRef: {{name: s}}}}}}",
        switch.port()
    );
    api().apply(&target(&namespace, "db", &spec));
    let exporter = exporter(api(), &namespace)
        .set("session_max_age = 2s")
        .start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    let is_told = within(DEADLINE, || {
        exporter.metrics();
        std::thread::sleep(Duration::from_millis(200));
        condition(api(), &namespace, "db", "Ambiguous") == "True Ambiguous"
    });
    assert!(is_told, "{:#}", status(api(), &namespace, "db"));
    // It is scraped all the same, from one of them.
    assert_eq!(condition(api(), &namespace, "db", "Ready"), "True Scraped");
    let told = message(api(), &namespace, "db", "Ambiguous");
    assert!(told.contains("make a target for each server"), "{told}");
    assert!(told.contains("troubleshooting#ambiguous"), "{told}");

    // Sessions are renewed all the time, and reach the one and the other.
    let (begun, mut versions, mut messages) = (Instant::now(), BTreeSet::new(), BTreeSet::new());
    while begun.elapsed() < Duration::from_secs(12) {
        assert_eq!(active(&exporter, &name), Some(1.0), "{}", exporter.log());
        let version = &resource(api(), &namespace, "db")["metadata"]["resourceVersion"];
        versions.insert(version.to_string());
        messages.insert(message(api(), &namespace, "db", "Ambiguous"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(versions.len() <= 4, "{} versions", versions.len());
    assert!(messages.len() <= 2, "{messages:?}");

    // It goes with the second server.
    switch.lead_to(&[one.port()]);
    let gone = within(Duration::from_secs(120), || {
        exporter.metrics();
        std::thread::sleep(Duration::from_millis(100));
        condition(api(), &namespace, "db", "Ambiguous").is_empty()
    });
    assert!(gone, "{}", status(api(), &namespace, "db"));
}
