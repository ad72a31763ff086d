//! What people and dashboards are told: events, the status beside the scrape, metrics of the
//! controller.

use std::time::Duration;

use super::bed::*;
use super::support::*;

#[test]
fn events_tell_what_happened_to_a_target_and_count_what_happens_again() {
    let (server, namespace) = (server(), api().namespace("events"));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    let event = |reason: &str| {
        let all = events(api(), &namespace, "db");
        all.into_iter().find(|event| event["reason"] == reason)
    };
    eventually("a refusal is told", || event("SecretNotFound").is_some());
    assert_eq!(event("SecretNotFound").unwrap()["type"], "Warning");
    api().apply(&secret(&namespace, "s", SECRET));
    eventually("that it answers is told", || event("Ready").is_some());
    let ready = event("Ready").unwrap();
    assert_eq!(ready["type"], "Normal");
    assert_eq!(ready["reportingController"], "pgexporter.io/exporter");
    assert_eq!(ready["reportingInstance"], "pgexporter-0");
    assert_eq!(ready["regarding"]["kind"], "PostgresTarget");
    let note = ready["note"].as_str().unwrap();
    assert!(note.contains("accepted; PostgreSQL 17."), "{note}");
    // Lost and found again, more than once: told once, and counted.
    for _ in 0..2 {
        server.stop_fast();
        eventually_is(api(), &namespace, "db", "Ready", "False ConnectionRefused");
        server.start_again();
        eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    }
    eventually("it is counted", || {
        event("Ready").is_some_and(|event| event["series"]["count"] == 3)
    });
    let all = events(api(), &namespace, "db");
    let ready = all.iter().filter(|event| event["reason"] == "Ready");
    assert_eq!(ready.count(), 1, "{all:#?}");
    let described = api().kubectl(&["describe", "pgt", "db", "-n", &namespace]);
    assert!(described.contains("ConnectionRefused"), "{described}");
    let told = format!("{all:?}{}", exporter.log());
    assert!(!told.contains("Xyzzy"), "{told}");
}

#[test]
fn a_server_that_hangs_or_is_gone_is_told_within_a_minute_though_nobody_scrapes() {
    let (hangs, gone, namespace) = (server(), server(), api().namespace("unscraped"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "hangs", &at(&hangs, "s", "")));
    api().apply(&target(&namespace, "gone", &at(&gone, "s", "")));
    let _exporter = exporter(api(), &namespace).start();
    eventually_is(api(), &namespace, "hangs", "Ready", "True Scraped");
    eventually_is(api(), &namespace, "gone", "Ready", "True Scraped");
    hangs.freeze();
    gone.stop_immediate();
    eventually_is(
        api(),
        &namespace,
        "gone",
        "Ready",
        "False ConnectionRefused",
    );
    let told = within(Duration::from_secs(60), || {
        condition(api(), &namespace, "hangs", "Ready") == "False Timeout"
    });
    assert!(told, "{}", status(api(), &namespace, "hangs"));
    hangs.thaw();
    eventually_is(api(), &namespace, "hangs", "Ready", "True Scraped");
}

#[test]
fn the_controller_counts_what_it_does() {
    let (server, namespace) = (server(), api().namespace("counted"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "good", &at(&server, "s", "")));
    api().apply(&target(&namespace, "lost", &at(&server, "nowhere", "")));
    api().apply(&target(
        &namespace,
        "asleep",
        &at(&server, "s", ", paused: true"),
    ));
    let nobody = at(&server, "s", "").replace(&server.port().to_string(), "1");
    api().apply(&target(&namespace, "down", &nobody));
    let exporter = exporter(api(), &namespace).start();
    let value = |name: &str, label: (&str, &str)| {
        let name = format!("pgexporter_kubernetes_{name}");
        let labels = [label];
        let labels = if label.0.is_empty() { &[][..] } else { &labels };
        exporter.metrics().value(&name, labels).unwrap_or(-1.0)
    };
    for state in ["ready", "failing", "refused", "paused"] {
        eventually(&format!("one is {state}"), || {
            value("targets", ("state", state)) == 1.0
        });
    }
    assert_eq!(value("targets", ("state", "foreign")), 0.0);
    assert_eq!(value("targets_owned", ("", "")), 4.0);
    assert_eq!(value("reconciles_total", ("result", "paused")), 1.0);
    assert!(value("reconciles_total", ("result", "accepted")) >= 2.0);
    let reason = ("reason", "SecretNotFound");
    assert_eq!(value("reconcile_errors_total", reason), 1.0);
    let count = value("reconcile_duration_seconds_count", ("", ""));
    assert!(count >= 4.0, "{count}");
    assert!(value("api_requests_total", ("verb", "get")) >= 3.0);
    assert_eq!(value("api_requests_total", ("verb", "watch")), 3.0);
    assert!(value("api_requests_total", ("verb", "patch")) >= 4.0);
    assert_eq!(value("api_errors_total", ("verb", "get")), 0.0);
    let samples = exporter.metrics();
    for sample in samples.all("pgexporter_kubernetes_right_missing") {
        assert_eq!(sample.value, 0.0, "{sample:?}");
    }
    // Without Leases there is nothing to say of them.
    assert!(samples.all("pgexporter_kubernetes_lease_held").is_empty());
    promtool_check(&exporter.get("/metrics").body).unwrap();
}
