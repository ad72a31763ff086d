//! Asking a running exporter: in its pod without an option, and from another pod over TLS.

use serde_json::Value;

use crate::scene::{ADMIN, HOME, PASSWORD, Scene, scene};
use crate::support::images;

/// A pod that asks for the status from afar with a password; its answer and its exit status.
fn from_afar(scene: &Scene, name: &str, password: &str) -> (String, i64) {
    let pod = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {HOME}}}
spec:
  restartPolicy: Never
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: cli
      image: {image}
      imagePullPolicy: Never
      command: [pgexporter-cli, -h, pgexporter.{HOME}.svc, -p, \"5004\", -U, {ADMIN}, -F, json, status]
      env: [{{name: PGPASSWORD, value: \"{password}\"}}, {{name: HOME, value: /home/nonroot}}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
      volumeMounts: [{{name: ca, mountPath: /home/nonroot/.pgexporter}}]
  volumes:
    - name: ca
      configMap: {{name: pgexporter-management-ca}}
",
        image = images::EXPORTER
    );
    scene.cluster.apply(&pod);
    let state = || {
        let pod = scene.cluster.get("pod", HOME, name).unwrap_or_default();
        let container = &pod["status"]["containerStatuses"][0];
        container["state"]["terminated"]["exitCode"].as_i64()
    };
    let ended = Scene::soon(|| state().is_some());
    let log = scene.cluster.kubectl(&["logs", "-n", HOME, name]);
    let status = state();
    scene
        .cluster
        .kubectl(&["delete", "pod", "-n", HOME, name, "--now"]);
    assert!(ended, "{name} does not end: {log}");
    (log, status.unwrap_or(-1))
}

fn active(document: &Value) -> Vec<(&str, bool)> {
    let servers = document["Response"]["Servers"].as_array();
    let mut all: Vec<(&str, bool)> = servers
        .unwrap_or_else(|| panic!("{document}"))
        .iter()
        .map(|server| {
            let name = server["Server"].as_str().unwrap_or_default();
            (name, server["Active"] == true)
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
#[ignore = "takes a cluster: make e2e"]
fn the_command_line_answers_in_the_pod_and_from_another_one() {
    let Some(scene) = scene() else { return };
    let both = [("billing/ledger", true), ("shop/orders", true)];
    scene.is_whole();
    let pod = scene.own_pods().remove(0);
    let here = |arguments: &[&str]| {
        let mut all = vec!["exec", "-n", HOME, &pod, "--", "pgexporter-cli"];
        all.extend(arguments);
        scene.cluster.kubectl(&all)
    };
    let said = here(&["status"]);
    assert!(said.contains("NumberOfServers: 2"), "{said}");
    let document: Value = serde_json::from_str(&here(&["-F", "json", "status"])).unwrap();
    assert_eq!(active(&document), both);

    let (said, status) = from_afar(&scene, "admin", PASSWORD);
    assert_eq!(status, 0, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(active(&document), both);
    let (said, status) = from_afar(&scene, "stranger", "guessed");
    assert_eq!(status, 3, "{said}");
    assert!(!said.contains("Servers"), "{said}");
}
