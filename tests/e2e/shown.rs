//! Prometheus finds the pods by the chart's ServiceMonitor, and its alerts by the PrometheusRule.
//! It stands after the test of shards, so that its alert has waited through that: who asks the
//! server changes there, and the alert waits on.

use std::time::Duration;

use serde_json::Value;

use crate::scene::{ARCHIVE, Scene, TEAMS, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn prometheus_finds_the_pods_and_an_alert_fires_and_resolves() {
    let Some(scene) = scene() else { return };
    scene.observe();
    let active = || scene.query("pgexporter_postgresql_active == 1").unwrap();
    for (namespace, name, _) in TEAMS {
        let server = format!("{namespace}/{name}");
        let found = active();
        let labels = &found
            .iter()
            .find(|series| series.labels["server"] == server)
            .unwrap_or_else(|| panic!("no {server}: {found:?}"))
            .labels;
        // The team's own, and not that of the exporter's pods.
        assert_eq!(labels["namespace"], namespace, "{labels:?}");
        assert!(labels["pod"].starts_with("pgexporter-"), "{labels:?}");
    }
    // Each pod once; those that an upgrade took away are forgotten soon.
    let scraped = || scene.query("up{job=\"pgexporter\"}").unwrap();
    assert!(
        Scene::soon(|| scraped().len() == scene.own_pods().len()),
        "{:?}",
        scraped()
    );

    let rules: Value = serde_json::from_str(&scene.prometheus("/api/v1/rules").unwrap()).unwrap();
    let loaded: Vec<&Value> = rules["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    let shipped = crate::support::monitoring::alerts().unwrap();
    assert_eq!(loaded.len(), shipped.len());
    let healthy = |rules: &[&Value]| rules.iter().all(|rule| rule["lastError"].is_null());
    assert!(healthy(&loaded), "{loaded:?}");

    // The team took its server away when all began.
    let (namespace, name, _) = ARCHIVE;
    let server = format!("{namespace}/{name}");
    let down = || {
        scene.alerts().into_iter().find(|alert| {
            alert["labels"]["alertname"] == "PostgreSQLDown" && alert["labels"]["server"] == server
        })
    };
    let fires = || down().is_some_and(|alert| alert["state"] == "firing");
    assert!(
        Scene::before(Duration::from_secs(180), fires),
        "{:?}",
        scene.alerts()
    );
    let others: Vec<Value> = scene
        .alerts()
        .into_iter()
        .filter(|alert| alert["state"] == "firing" && alert["labels"]["severity"] != "info")
        .filter(|alert| alert["labels"]["server"] != server)
        .collect();
    assert!(others.is_empty(), "{others:?}");
    scene.scale_archive(1);
    assert!(
        Scene::before(Duration::from_secs(60), || down().is_none()),
        "{:?}",
        down()
    );
    scene.cluster.kubectl(&[
        "delete",
        "-n",
        namespace,
        &format!("pgt/{name}"),
        &format!("statefulset/{name}"),
        &format!("service/{name}-rw"),
        &format!("secret/{name}-monitor"),
    ]);
    scene.is_whole();
    assert_eq!(scene.helm_test(), Ok(()));
}
