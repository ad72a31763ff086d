//! Many pods share the targets: each is scraped by one of them, whoever joins, leaves, dies, sleeps
//! or is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;

use super::bed::*;
use super::support::exporter::ExporterBuilder;
use super::support::*;

const TARGETS: usize = 30;

/// A server with many names.
fn many(namespace: &str) -> Postgres {
    let server = Postgres::builder(17)
        .password(SECRET, "scram-sha-256")
        .max_connections(200)
        .start();
    let spec = at(&server, "s", ", collectors: {include: [connections]}");
    let targets: Vec<String> = (0..TARGETS)
        .map(|number| target(namespace, &format!("t{number}"), &spec))
        .collect();
    api().apply(&secret(namespace, "s", SECRET));
    api().apply(&targets.join("---\n"));
    server
}

fn pod(namespace: &str, number: usize) -> ExporterBuilder {
    exporter(api(), namespace)
        .set("kubernetes_shards = lease")
        .variable("POD_NAME", format!("{namespace}-{number}"))
}

/// The targets in a scrape of the pod, those that are down as well.
fn listed(pod: &Exporter) -> BTreeSet<String> {
    let samples = pod.metrics();
    let all = samples.all("pgexporter_postgresql_active");
    all.iter().map(|one| one.labels["server"].clone()).collect()
}

/// Who scrapes each target; `None` while one is scraped by nobody or by two.
fn shared(pods: &[&Exporter]) -> Option<BTreeMap<String, usize>> {
    let mut owners = BTreeMap::new();
    for (number, pod) in pods.iter().enumerate() {
        for server in listed(pod) {
            if owners.insert(server, number).is_some() {
                return None;
            }
        }
    }
    (owners.len() == TARGETS).then_some(owners)
}

#[track_caller]
fn eventually_shared(pods: &[&Exporter]) -> BTreeMap<String, usize> {
    let mut owners = None;
    let came = within(Duration::from_secs(60), || {
        owners = shared(pods);
        let owners = owners.as_ref();
        owners.is_some_and(|all| (0..pods.len()).all(|pod| all.values().any(|one| *one == pod)))
    });
    let seen: Vec<_> = pods.iter().map(|pod| listed(pod).len()).collect();
    assert!(came, "{seen:?}: {}", pods[0].log());
    owners.unwrap()
}

fn metric(pod: &Exporter, name: &str) -> Option<f64> {
    let name = format!("pgexporter_kubernetes_{name}");
    pod.metrics().value(&name, &[])
}

#[test]
fn a_pod_that_joins_takes_its_share_and_one_that_leaves_or_dies_is_replaced() {
    let namespace = api().namespace("shards");
    let server = many(&namespace);
    let first = pod(&namespace, 0).start();
    let mut second = pod(&namespace, 1).start();
    let before = eventually_shared(&[&first, &second]);
    let mut third = pod(&namespace, 2).start();
    let after = eventually_shared(&[&first, &second, &third]);
    for (target, owner) in &after {
        assert!(
            *owner == 2 || *owner == before[target],
            "{target} moved from {} to {owner}",
            before[target]
        );
    }
    for pod in [&first, &second, &third] {
        assert_eq!(metric(pod, "members"), Some(3.0));
        assert_eq!(metric(pod, "lease_held"), Some(1.0));
    }
    // The owner, and nobody else, writes the status.
    for (target, owner) in &after {
        let name = target.split('/').next_back().unwrap();
        eventually(&format!("{owner} writes the status of {name}"), || {
            let status = status(api(), &namespace, name);
            status["owner"] == format!("{namespace}-{owner}")
        });
    }
    eventually("each target has one session", || {
        session(&server).split(' ').count() == TARGETS
    });

    third.signal(Signal::TERM);
    let handed_over = within(Duration::from_secs(3), || {
        shared(&[&first, &second]).is_some_and(|now| now.len() == TARGETS)
    });
    assert!(handed_over, "{}", first.log());
    assert!(third.wait_exit().success());
    assert_eq!(eventually_shared(&[&first, &second]), before);

    second.signal(Signal::KILL);
    second.wait_exit();
    let (renewed, lives) = lease(&format!("{namespace}-1"));
    let replaced = within(Duration::from_secs(30), || listed(&first).len() == TARGETS);
    assert!(replaced, "{}", first.log());
    // Its Lease had to run out first: nobody takes what somebody may still serve.
    let after = Timestamp::now().duration_since(renewed);
    assert!(after >= lives, "{after:#}");
}

#[test]
fn a_pod_that_joins_takes_nothing_before_somebody_asks_it() {
    let namespace = api().namespace("joins");
    let _server = many(&namespace);
    let first = pod(&namespace, 0).start();
    eventually("the first has all", || listed(&first).len() == TARGETS);
    // It is no beginner, whom nobody waits for.
    std::thread::sleep(Duration::from_secs(36));
    let second = pod(&namespace, 1).start();
    let asked = || {
        let name = format!("pgexporter-{namespace}-1");
        let path = "jsonpath={.metadata.annotations.pgexporter\\.io/asked}";
        api().kubectl(&[
            "get",
            "lease",
            &name,
            "-n",
            HOME,
            "--ignore-not-found",
            "-o",
            path,
        ])
    };
    eventually("it has a Lease", || asked() == "false");
    // Longer than the Lease of the first takes to be renewed.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        assert_eq!(listed(&first).len(), TARGETS);
    }
    assert_eq!(metric(&first, "members"), Some(1.0));
    // Prometheus finds it.
    second.metrics();
    let handed_over = within(Duration::from_secs(5), || asked() == "true");
    assert!(handed_over, "{}", second.log());
    eventually_shared(&[&first, &second]);
}

/// When the Lease of a pod was renewed, and how long it lives from then.
fn lease(pod: &str) -> (Timestamp, SignedDuration) {
    let all = api().kubectl(&["get", "leases", "-A", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let mut all = all["items"].as_array().unwrap().iter();
    let spec = all
        .find(|one| one["spec"]["holderIdentity"] == pod)
        .unwrap()["spec"]
        .clone();
    let renewed = spec["renewTime"].as_str().unwrap().parse().unwrap();
    let lives = spec["leaseDurationSeconds"].as_i64().unwrap();
    (renewed, SignedDuration::from_secs(lives))
}

#[test]
fn a_pod_that_was_frozen_or_cut_off_stops_before_others_take_over() {
    let namespace = api().namespace("frozen");
    let _server = many(&namespace);
    let proxy = Proxy::to(api().port());
    let behind = fs::read_to_string(api().kubeconfig_for(HOME, "pgexporter")).unwrap();
    let behind = behind.replace(&api().port().to_string(), &proxy.port().to_string());
    let path = api().folder().join(format!("{namespace}.kubeconfig"));
    fs::write(&path, behind).unwrap();
    let well = pod(&namespace, 0).start();
    let sick = pod(&namespace, 1).variable("KUBECONFIG", path).start();
    let owners = eventually_shared(&[&well, &sick]);

    // Frozen, with a scrape at the door that it will answer when it wakes up.
    sick.signal(Signal::STOP);
    let mut door = TcpStream::connect(("127.0.0.1", sick.port("metrics"))).unwrap();
    door.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let taken = within(Duration::from_secs(30), || listed(&well).len() == TARGETS);
    assert!(taken, "{}", well.log());
    sick.signal(Signal::CONT);
    let mut answer = Vec::new();
    door.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("pgexporter_state"), "{answer}");
    let served = answer
        .lines()
        .filter(|line| line.starts_with("pgexporter_postgresql_active{") && line.ends_with(" 1"));
    assert_eq!(
        served.count(),
        0,
        "it served what another pod had taken over"
    );
    assert_eq!(eventually_shared(&[&well, &sick]), owners);

    // Cut off from the API server: nobody may take a target that it still serves.
    proxy.cut();
    let taken = within(Duration::from_secs(40), || {
        let here = listed(&well);
        let there = listed(&sick);
        let both: Vec<&String> = here.intersection(&there).collect();
        assert!(both.is_empty(), "{both:?} are served twice");
        here.len() == TARGETS
    });
    assert!(taken, "{}", well.log());
    assert_eq!(listed(&sick).len(), 0);
    eventually("it says so", || {
        readyz(&sick).1.contains("has lost its Lease")
    });
    assert_eq!(readyz(&sick).0, 200);
    assert_eq!(metric(&sick, "lease_held"), Some(0.0));
    proxy.mend();
    assert_eq!(eventually_shared(&[&well, &sick]), owners);
    assert_eq!(metric(&sick, "lease_held"), Some(1.0));
    eventually("it is well again", || {
        readyz(&sick) == (200, "ok".to_owned())
    });
}
