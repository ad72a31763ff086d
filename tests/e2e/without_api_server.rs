//! The API server is away; the databases are still looked at. It stands last: all parts of the
//! cluster take a minute to find back to it. In a cluster of somebody else it clears up instead.

use std::time::{Duration, Instant};

use crate::prometheus::INTERVAL;
use crate::scene::scene;
use crate::theirs::remove;

#[test]
#[ignore = "takes a cluster: make e2e"]
fn scraping_goes_on_while_the_api_server_is_stopped_for_a_minute() {
    let Some(scene) = scene() else { return };
    scene.observe();
    scene.is_whole();
    let Some(node) = scene.cluster.node() else {
        eprintln!("skipped: the API server of KUBECONFIG is not ours to stop");
        remove(&scene.cluster);
        return;
    };
    let away = Duration::from_secs(60);
    let begin = Instant::now();
    node.stop_api_server();
    std::thread::sleep(away);
    assert!(scene.cluster.try_kubectl(&["get", "nodes"]).is_err());
    node.start_api_server().unwrap();
    let seconds = begin.elapsed().as_secs();
    for server in ["shop/orders", "billing/ledger"] {
        let selector = format!("pgexporter_postgresql_active{{server=\"{server}\"}}");
        let seen = scene.samples(&selector, seconds);
        let values: Vec<f64> = seen
            .iter()
            .flat_map(|(_, values)| values.iter().map(|(_, value)| *value))
            .collect();
        let due = away.as_secs() / INTERVAL.as_secs() - 1;
        assert!(values.len() as u64 >= due, "{server}: {seen:?}");
        assert!(
            values.iter().all(|value| *value > 0.0),
            "{server}: {seen:?}"
        );
    }
    scene.is_whole();
}
