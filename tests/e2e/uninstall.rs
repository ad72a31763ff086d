//! Nothing stays behind but what is the teams'.

use crate::scene::{HOME, SECRETS, Scene, TEAMS, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn uninstalled_nothing_is_left_but_targets_and_installed_again_they_are_scraped() {
    let Some(scene) = scene() else { return };
    let ids = || {
        TEAMS.map(|(namespace, name, _)| {
            let target = scene.cluster.get("pgt", namespace, name).unwrap();
            target["metadata"]["uid"].as_str().unwrap().to_owned()
        })
    };
    let before = ids();
    let uninstall = ["uninstall", "pgexporter", "--namespace", HOME, "--wait"];
    scene.cluster.helm(&uninstall).unwrap();
    // All kinds that the API server has, not only those that one thinks of.
    let kinds = scene
        .cluster
        .kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.contains("metrics.k8s.io"))
        .collect();
    let left = |selector: &str| {
        let all = kinds.join(",");
        scene.cluster.kubectl(&[
            "get",
            &all,
            "-A",
            "--ignore-not-found",
            "-o",
            "name",
            "-l",
            selector,
        ])
    };
    let crd = "customresourcedefinition.apiextensions.k8s.io/postgrestargets.pgexporter.io";
    assert!(
        Scene::soon(|| left("app.kubernetes.io/instance=pgexporter").trim() == crd),
        "{}",
        left("app.kubernetes.io/instance=pgexporter")
    );
    // What helm makes, and the program itself: Leases, which go with their pods.
    let listed = || {
        let listed = ["get", "secrets,leases", "-n", HOME, "-o", "name"];
        scene.cluster.kubectl(&listed)
    };
    let theirs = SECRETS.map(|name| format!("secret/{name}"));
    assert!(
        Scene::soon(|| listed().lines().collect::<Vec<_>>() == theirs),
        "{}",
        listed()
    );
    assert_eq!(ids(), before);

    scene.install().unwrap();
    for (namespace, name, _) in TEAMS {
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
    assert_eq!(ids(), before);
    scene.is_whole();
}
