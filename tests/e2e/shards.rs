//! Three pods share the targets. One dies; then all are replaced by an upgrade.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::prometheus::{INTERVAL, now};
use crate::scene::{HOME, Scene, TEAMS, scene};

/// For Prometheus to find a new pod and scrape it: it looks every 5 s, as it scrapes here.
const FOUND: &str = "--set=minReadySeconds=12";

/// Which pod scrapes which target, by what the pods serve.
fn owners(scene: &Scene) -> BTreeMap<String, Vec<String>> {
    let mut owners = BTreeMap::new();
    for pod in scene.own_pods() {
        let pod = pod.trim_start_matches("pod/");
        let path = format!("/api/v1/namespaces/{HOME}/pods/{pod}:5002/proxy/metrics");
        let text = scene.cluster.try_kubectl(&["get", "--raw", &path]);
        let Ok(text) = text else { continue };
        for sample in crate::support::Samples::parse(&text).all("pgexporter_postgresql_active") {
            if sample.value > 0.0 {
                let server = sample.labels["server"].clone();
                owners
                    .entry(server)
                    .or_insert_with(Vec::new)
                    .push(pod.to_owned());
            }
        }
    }
    owners
}

/// Whether each target is scraped, by one pod.
fn shared(owners: &BTreeMap<String, Vec<String>>) -> bool {
    owners.len() == TEAMS.len() && owners.values().all(|pods| pods.len() == 1)
}

/// When there was a good sample of a target, of all pods together.
fn times(scene: &Scene, server: &str, seconds: u64) -> Vec<f64> {
    let selector = format!("pgexporter_postgresql_active{{server=\"{server}\"}}");
    let mut times: Vec<f64> = scene
        .samples(&selector, seconds)
        .into_iter()
        .flat_map(|(_, values)| values)
        .filter(|(_, value)| *value > 0.0)
        .map(|(time, _)| time)
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The longest time without one.
fn longest_gap(scene: &Scene, server: &str, seconds: u64) -> (f64, Vec<f64>) {
    let times = times(scene, server, seconds);
    assert!(times.len() > 2, "{server}: {times:?}");
    let inner = times.windows(2).map(|pair| pair[1] - pair[0]);
    let gap = inner.fold(now() - times[times.len() - 1], f64::max);
    (gap, times)
}

#[test]
#[ignore = "takes a cluster: make e2e"]
fn three_pods_share_the_targets_and_neither_a_kill_nor_an_upgrade_loses_one() {
    let Some(scene) = scene() else { return };
    scene.observe();
    scene.is_whole();
    scene
        .upgrade(&["--set=replicas=3", FOUND])
        .unwrap_or_else(|said| panic!("{said}"));
    let three = || scene.own_pods().len() == 3;
    assert!(Scene::soon(three), "{:?}", scene.own_pods());
    assert!(
        Scene::soon(|| shared(&owners(&scene))),
        "{:?}",
        owners(&scene)
    );

    let victim = owners(&scene)["shop/orders"][0].clone();
    let begin = Instant::now();
    scene.cluster.kubectl(&[
        "delete",
        "pod",
        "-n",
        HOME,
        &victim,
        "--grace-period=0",
        "--force",
    ]);
    let whole = || {
        let owners = owners(&scene);
        shared(&owners) && !owners.values().flatten().any(|pod| *pod == victim)
    };
    assert!(Scene::soon(whole), "{:?}", owners(&scene));
    assert!(
        begin.elapsed() <= Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    let ready = [
        "rollout",
        "status",
        "-n",
        HOME,
        "deployment/pgexporter",
        "--timeout=60s",
    ];
    scene.cluster.kubectl(&ready);

    // All pods are replaced, one after the other.
    let (begin, before) = (Instant::now(), scene.own_pods());
    let values = [
        "--set=replicas=3",
        FOUND,
        "--set=podAnnotations.upgraded=yes",
    ];
    scene
        .upgrade(&values)
        .unwrap_or_else(|said| panic!("{said}"));
    assert!(
        Scene::soon(|| {
            let after = scene.own_pods();
            after.len() == 3 && after.iter().all(|pod| !before.contains(pod))
        }),
        "{before:?} {:?}",
        scene.own_pods()
    );
    // What was missed at the end is known when both are there again.
    let end = now();
    let again = || {
        let last = |(namespace, name, _): (&str, &str, u32)| {
            let server = format!("{namespace}/{name}");
            times(&scene, &server, begin.elapsed().as_secs()).pop()
        };
        TEAMS.map(last).iter().all(|last| *last > Some(end))
    };
    assert!(Scene::soon(again), "{:?}", owners(&scene));
    let seconds = begin.elapsed().as_secs();
    let gaps = TEAMS
        .map(|(namespace, name, _)| longest_gap(&scene, &format!("{namespace}/{name}"), seconds));
    // One of them stays, while other tests begin already.
    let same = [
        "--set=podAnnotations.upgraded=yes",
        "--set=sharding.enabled=true",
    ];
    let back = scene.begin_to_go_back(&same);
    assert!(back.is_ok(), "{back:?}");
    // One that is missed is two intervals without a sample; half of one for the clock.
    let limit = 2.5 * INTERVAL.as_secs_f64();
    assert!(gaps.iter().all(|(gap, _)| *gap <= limit), "{gaps:?}");
    scene.is_whole();
}
