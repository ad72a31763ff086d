//! A password is changed while all goes on.

use std::time::Duration;

use crate::prometheus::{INTERVAL, now};
use crate::scene::{Scene, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn a_rotated_password_costs_at_most_one_scrape_and_no_restart() {
    let Some(scene) = scene() else { return };
    scene.observe();
    scene.is_whole();
    let pods = scene.own_pods();
    let begin = std::time::Instant::now();
    let new = "it's another: \"now\"";
    let sql = format!("ALTER ROLE monitor PASSWORD '{}'", new.replace('\'', "''"));
    let psql = ["exec", "-n", "shop", "orders-0", "--", "psql", "-qc"];
    let execute = |sql: &str| scene.cluster.kubectl(&[&psql[..], &[sql]].concat());
    execute(&sql);
    let secret = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "orders-monitor", "namespace": "shop"},
        "stringData": {"username": "monitor", "password": new},
    });
    scene.cluster.apply(&secret.to_string());
    // The kept session would go on with the old one. It is ended, so that the new one counts.
    let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE usename = 'monitor'";
    std::thread::sleep(INTERVAL);
    execute(sessions);
    let since = |name: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{name}'");
        let mut arguments = psql[..psql.len() - 1].to_vec();
        arguments.extend(["-Atc", &sql]);
        scene.cluster.kubectl(&arguments).trim().to_owned()
    };
    assert!(
        Scene::soon(|| since("monitor") != "0"),
        "nobody logs in again"
    );
    let back = now();
    let seen = || {
        let seconds = begin.elapsed().as_secs() + 1;
        let selector = "pgexporter_postgresql_active{server=\"shop/orders\"}";
        let series = scene.samples(selector, seconds);
        series.into_iter().flat_map(|(_, values)| values).collect()
    };
    let two = || {
        let seen: Vec<(f64, f64)> = seen();
        seen.iter().filter(|(time, _)| *time > back).count() >= 2
    };
    assert!(Scene::soon(two), "{:?}", seen());
    let seen = seen();
    let failed = seen.iter().filter(|(_, value)| *value < 1.0).count();
    assert!(failed <= 1, "{seen:?}");
    assert_eq!(scene.own_pods(), pods);
    assert!(Scene::before(Duration::from_secs(10), || {
        scene.condition("shop", "orders", "Ready")[0] == "True"
    }));
    scene.is_whole();
}
