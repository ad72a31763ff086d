//! The API server goes away, comes back, or says that it has forgotten.

use std::fs;

use super::bed::*;
use super::support::*;

#[test]
fn scraping_goes_on_without_the_api_server_and_changes_count_when_it_is_back() {
    let api = prepared();
    let (server, namespace) = (server(), api.namespace("away"));
    api.apply(&secret(&namespace, "s", SECRET));
    api.apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(&api, &namespace).start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    let pid =
        || server.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter'");
    let kept = pid();
    api.stop();
    eventually("it is noticed", || exporter.log().contains("cannot watch"));
    assert_eq!(active(&exporter, &name), Some(1.0));
    api.start_again();
    api.apply(&target(&namespace, "more", &at(&server, "s", "")));
    let more = format!("{namespace}/more");
    eventually("the new one is scraped", || {
        active(&exporter, &more) == Some(1.0)
    });
    assert_eq!(active(&exporter, &name), Some(1.0));
    assert!(
        server
            .text("SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgexporter'")
            .iter()
            .any(|row| row[0].as_deref() == Some(&kept)),
        "its session was not kept"
    );
}

#[test]
fn a_watch_that_is_too_far_behind_begins_anew_and_nothing_is_touched_that_did_not_change() {
    let api = prepared();
    let (server, other, namespace) = (server(), server(), api.namespace("gone"));
    let proxy = Proxy::to(api.port());
    let behind = fs::read_to_string(api.kubeconfig_for(HOME, "pgexporter")).unwrap();
    let behind = behind.replace(&api.port().to_string(), &proxy.port().to_string());
    let path = api.folder().join("behind.kubeconfig");
    fs::write(&path, behind).unwrap();
    api.apply(&secret(&namespace, "s", SECRET));
    with_monitor(&other);
    api.apply(&secret_of(&namespace, "t", "monitor", SECRET));
    for name in ["kept", "gone"] {
        api.apply(&target(&namespace, name, &at(&server, "s", "")));
    }
    api.apply(&target(&namespace, "turned", &at(&other, "t", "")));
    let exporter = exporter(&api, &namespace)
        .variable("KUBECONFIG", path)
        .start();
    let [kept, gone, new, turned] =
        ["kept", "gone", "new", "turned"].map(|name| format!("{namespace}/{name}"));
    for name in [&kept, &gone, &turned] {
        eventually_active(&exporter, name);
    }
    let sessions = session(&server);
    // While it sees nothing: one goes, one comes, a Secret changes, and the API server forgets what
    // was before it was started.
    proxy.cut();
    api.kubectl(&["delete", "pgt", "gone", "-n", &namespace]);
    api.apply(&target(&namespace, "new", &at(&server, "s", "")));
    api.apply(&secret_of(&namespace, "t", "monitor", "turned-Xyzzy"));
    api.stop();
    api.start_again();
    assert_eq!(active(&exporter, &gone), Some(1.0));
    proxy.mend();
    eventually("the list is made anew", || {
        let samples = exporter.metrics();
        let of = |name: &str| samples.value("pgexporter_postgresql_active", &[("server", name)]);
        of(&new) == Some(1.0) && of(&gone).is_none()
    });
    eventually("what it missed is told", || {
        exporter
            .log()
            .contains("again: the watch was too far behind")
    });
    let samples = exporter.metrics();
    let restarts = samples.all("pgexporter_kubernetes_watch_restarts_total");
    assert!(restarts.iter().any(|one| one.value > 0.0), "{restarts:?}");
    let now = session(&server);
    let stayed = sessions
        .split(' ')
        .filter(|pid| now.split(' ').any(|one| one == *pid));
    assert_eq!(stayed.count(), 1, "{sessions} {now}");
    // The changed Secret counts as well.
    set_password(&other, "turned-Xyzzy");
    eventually_active(&exporter, &turned);
    assert!(!exporter.log().contains("Xyzzy"));
}

#[test]
fn after_a_restore_of_etcd_the_cluster_is_read_anew() {
    let mut api = prepared();
    let (server, namespace) = (server(), api.namespace("restored"));
    api.apply(&secret(&namespace, "s", SECRET));
    api.apply(&target(&namespace, "kept", &at(&server, "s", "")));
    api.save();
    let exporter = exporter(&api, &namespace).start();
    let [kept, lost] = ["kept", "lost"].map(|name| format!("{namespace}/{name}"));
    eventually_active(&exporter, &kept);
    api.apply(&target(&namespace, "lost", &at(&server, "s", "")));
    eventually_active(&exporter, &lost);
    // Versions are behind what the exporter has seen from here on.
    for at in 0..40 {
        api.apply(&config_map(&namespace, "m", "k", &at.to_string()));
    }
    // The version is asked for twice a minute: the newest one was seen.
    let asked = || {
        api.metric(
            "apiserver_request_total",
            &[("resource", "postgrestargets"), ("verb", "LIST")],
        )
    };
    let before = asked();
    eventually("the version is asked for", || asked() > before);
    api.restore();
    let gone = within(std::time::Duration::from_secs(120), || {
        active(&exporter, &lost).is_none()
    });
    assert!(gone, "{}", exporter.log());
    assert!(
        exporter.log().contains("as after a restore"),
        "{}",
        exporter.log()
    );
    assert_eq!(active(&exporter, &kept), Some(1.0));
    // And what comes after it is seen.
    api.apply(&target(&namespace, "new", &at(&server, "s", "")));
    eventually_active(&exporter, &format!("{namespace}/new"));
}
