//! What the pods say becomes one; what changes an exporter is for one pod.

use std::collections::BTreeSet;

use serde_json::json as value;

use super::bed::{self, SECRET, at, secret, target};
use super::support::{self, *};
use super::*;

#[test]
fn the_targets_of_all_pods_are_one_table_with_the_owner_of_each() {
    let namespace = api().namespace("shared");
    let server = Postgres::builder(17)
        .password(SECRET, "scram-sha-256")
        .start();
    api().apply(&secret(&namespace, "s", SECRET));
    let spec = at(&server, "s", ", collectors: {include: [connections]}");
    let names: Vec<String> = (0..12).map(|number| format!("t{number:02}")).collect();
    let targets: Vec<String> = names
        .iter()
        .map(|name| target(&namespace, name, &spec))
        .collect();
    api().apply(&targets.join("---\n"));
    let pods: Vec<Exporter> = ["pgexporter-a", "pgexporter-b"]
        .into_iter()
        .map(|name| {
            let one = bed::exporter(api(), &namespace)
                .set("kubernetes_shards = lease")
                .variable("POD_NAME", name)
                .start();
            pod_of(&namespace, name, &one);
            one
        })
        .collect();
    let servers: Vec<String> = names.iter().map(|n| format!("{namespace}/{n}")).collect();
    let mut last = String::new();
    let came = support::within(support::DEADLINE, || {
        for pod in &pods {
            pod.metrics();
        }
        // Through kubectl itself, which finds the program by its name.
        let kubectl = support::kubernetes::assets().unwrap().kubectl;
        let (status, out, err) = said(
            Command::new(kubectl)
                .args(["pgexporter", "status", "-n", &namespace])
                .env_clear()
                .env("HOME", api().folder())
                .env("KUBECONFIG", api().kubeconfig_admin())
                .env("PATH", plugin().parent().unwrap())
                .output()
                .expect("kubectl is there"),
        );
        last = format!("{status}: {out}{err}");
        let rows = cells(&out);
        let listed: Vec<&str> = rows.iter().skip(1).map(|row| row[0]).collect();
        let owners: BTreeSet<&str> = rows.iter().skip(1).map(|row| row[6]).collect();
        status == 0
            && listed == servers
            && owners == BTreeSet::from(["pgexporter-a", "pgexporter-b"])
            && rows.iter().skip(1).all(|row| row[1] == "yes")
    });
    assert!(came, "{last}");
    let (status, document) = json(&namespace, &["status"]);
    assert_eq!(status, 0);
    assert_eq!(document["Outcome"]["Status"], true);
    assert_eq!(document["Response"]["NumberOfServers"], servers.len());
    let pods = &document["Response"]["Pods"];
    assert_eq!(
        pods[0],
        value!({"Pod": "pgexporter-a", "Outcome": pods[0]["Outcome"]})
    );
    for server in document["Response"]["Servers"].as_array().unwrap() {
        assert_eq!(server["Pod"], server["Owner"]);
        assert_eq!(
            server["Version"].as_str().unwrap().split('.').next(),
            Some("17")
        );
    }
    // Raw is what each exporter sent.
    let (status, out, _) = run(&namespace, &["targets", "-F", "raw"]);
    assert_eq!((status, out.lines().count()), (0, 2), "{out}");
    for line in out.lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["Outcome"]["Status"], true);
    }
    let (_, details, _) = run(&namespace, &["status", "details"]);
    for server in &servers {
        assert!(
            details.contains(&format!("Server: {server}\n")),
            "{details}"
        );
    }
}

#[test]
fn what_changes_an_exporter_is_for_one_pod() {
    let namespace = api().namespace("changes");
    let exporters = [lonely().start(), lonely().start()];
    for (name, exporter) in ["one", "two"].iter().zip(&exporters) {
        pod_of(&namespace, name, exporter);
    }
    for change in [
        &["conf", "set", "log_level", "debug"][..],
        &["shutdown"],
        &["conf", "reload"],
        &["clear", "prometheus"],
        &["log", "level", "debug"],
    ] {
        let (status, out, err) = run(&namespace, change);
        assert_eq!((status, out.as_str()), (2, ""), "{change:?}: {err}");
        for part in ["--pod one", "--pod two", &namespace, "is for one exporter"] {
            assert!(err.contains(part), "{change:?}: {err}");
        }
    }
    let level = |pod: &str| run(&namespace, &["--pod", pod, "conf", "get", "log_level"]).1;
    assert_eq!(
        (level("one").as_str(), level("two").as_str()),
        ("info\n", "info\n")
    );
    let set = ["conf", "set", "log_level", "debug", "--pod", "two"];
    let (status, out, err) = run(&namespace, &set);
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (0, "Configuration change applied\n   New value: debug\n", "")
    );
    assert_eq!(
        (level("one").as_str(), level("two").as_str()),
        ("info\n", "debug\n")
    );
    // Of all pods, each below its name.
    let (status, out, _) = run(&namespace, &["conf", "get", "log_level"]);
    assert_eq!((status, out.as_str()), (0, "one:\n  info\ntwo:\n  debug\n"));
    // What an exporter refuses has its words, and the exit status of pgexporter-cli.
    let (status, out, err) = run(
        &namespace,
        &["conf", "set", "log_level", "loud", "--pod", "two"],
    );
    assert_eq!(status, 1, "{err}");
    assert!(out.starts_with("Configuration change failed\n"), "{out}");
    assert!(err.contains("pod two: log_level: "), "{err}");
    // A value that looks like an option reaches the exporter as a value.
    let dash = ["--pod", "two", "conf", "set", "--", "log_level", "-F"];
    let (status, _, err) = run(&namespace, &dash);
    assert_eq!(status, 1, "{err}");
    let (status, document) = json(
        &namespace,
        &["conf", "set", "log_level", "x", "--pod", "one"],
    );
    assert_eq!(status, 1);
    assert_eq!(document["Pods"][0]["Response"]["status"], "invalid_value");
}

#[test]
fn the_only_pod_need_not_be_named_and_is_shut_down() {
    let namespace = api().namespace("only");
    let mut exporter = lonely().start();
    pod_of(&namespace, "alone", &exporter);
    let (status, out, err) = run(&namespace, &["ping"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("Command: ping"), "{out}");
    let (status, _, err) = run(&namespace, &["shutdown"]);
    assert_eq!(status, 0, "{err}");
    assert!(exporter.wait_exit().success());
}

#[test]
fn a_long_list_comes_whole() {
    let namespace = api().namespace("long");
    let sections = (0..2000).fold(lonely(), |builder, number| {
        builder.section(&format!(
            "[a_server_with_a_long_name_{number}]\nhost = 127.0.0.1\nport = 1\nuser = u\n"
        ))
    });
    let exporter = sections.start();
    pod_of(&namespace, "long", &exporter);
    let (status, document) = json(&namespace, &["status", "details"]);
    assert_eq!(status, 0);
    assert_eq!(document["Response"]["NumberOfServers"], 2001);
}
