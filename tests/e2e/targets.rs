//! Two teams' servers, each by its Service's name, one of them with TLS of the team's authority.

use crate::scene::{Scene, TEAMS, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn a_target_for_each_server_becomes_ready_and_its_metrics_are_there() {
    let Some(scene) = scene() else { return };
    for (namespace, name, major) in TEAMS {
        let ready = scene.wait_ready(namespace, name, 60);
        assert!(
            ready.is_ok(),
            "{ready:?} {:?}",
            scene.condition(namespace, name, "Ready")
        );
        let target = scene.cluster.get("pgt", namespace, name).unwrap();
        let version = target["status"]["version"].as_str().unwrap_or_default();
        assert!(version.starts_with(&format!("{major}.")), "{target}");
        let server = format!("{namespace}/{name}");
        let active = || {
            let samples = scene.scrape().ok()?;
            samples.value("pgexporter_postgresql_active", &[("server", &server)])
        };
        assert!(
            Scene::soon(|| active() == Some(1.0)),
            "{server}: {:?}",
            active()
        );
    }
    // The second one lets nobody in without TLS, and its own log would say who came without.
    let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE usename = 'monitor'";
    let (namespace, name, _) = TEAMS[1];
    let pod = format!("{name}-0");
    let encrypted = scene
        .cluster
        .kubectl(&["exec", "-n", namespace, &pod, "--", "psql", "-Atc", sql]);
    assert_eq!(encrypted.trim(), "t");
}
