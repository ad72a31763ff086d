//! Whatever cannot be reached is named, with what to do.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json as value;

use super::support::kubernetes::kubelet::running;
use super::*;

#[track_caller]
fn fails(namespace: &str, arguments: &[&str], parts: &[&str]) {
    let (status, out, err) = run(namespace, arguments);
    assert_eq!((status, out.as_str()), (3, ""), "{arguments:?}: {err}");
    for part in parts {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(
        err.lines()
            .all(|line| line.starts_with("kubectl-pgexporter: ")),
        "{err}"
    );
}

#[test]
fn no_pod_is_told_with_namespace_and_labels() {
    let namespace = api().namespace("empty");
    let labels = "app.kubernetes.io/name=pgexporter";
    fails(
        &namespace,
        &["status"],
        &[&namespace, labels, "-n", "--selector"],
    );
    fails(&namespace, &["status", "--selector", "a=b"], &["a=b"]);
    fails(
        &namespace,
        &["status", "--pod", "x"],
        &["no pod x", &namespace],
    );
    // Those that have ended are none.
    node().pod_as(&namespace, "over", value!({"phase": "Succeeded"}));
    fails(&namespace, &["status"], &[labels]);
}

#[test]
fn a_pod_that_does_not_run_says_why_and_keeps_no_other_from_answering() {
    let namespace = api().namespace("starting");
    let waiting = value!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False",
        "message": "containers with unready status: [pgexporter]"}],
        "containerStatuses": [{"name": "pgexporter", "ready": false, "restartCount": 9,
            "image": "a", "imageID": "a", "state": {"waiting": {"reason": "CrashLoopBackOff",
                "message": "back-off 5m0s restarting failed container"}}}]});
    node().pod_as(&namespace, "looping", waiting);
    fails(
        &namespace,
        &["status"],
        &[
            "pod looping: the container pgexporter is not running",
            "CrashLoopBackOff: back-off 5m0s",
        ],
    );
    let exporter = lonely().start();
    pod_of(&namespace, "good", &exporter);
    let (status, out, err) = run(&namespace, &["status"]);
    assert_eq!(status, 3, "{err}");
    assert_eq!(cells(&out)[1][0], "nobody", "{out}");
    assert!(err.contains("pod looping: "), "{err}");
    let (status, document) = json(&namespace, &["ping"]);
    assert_eq!(status, 3);
    assert_eq!(document["Pods"][0]["Outcome"]["Status"], true);
    let error = document["Pods"][1]["Error"].as_str().unwrap();
    assert!(error.contains("CrashLoopBackOff"), "{error}");
}

#[test]
fn a_pod_that_runs_and_is_not_ready_is_asked_and_that_is_said() {
    let namespace = api().namespace("unready");
    let exporter = lonely().start();
    pod_of(&namespace, "young", &exporter);
    node().pod_as(
        &namespace,
        "young",
        running(false, "no list of targets yet"),
    );
    let (status, out, err) = run(&namespace, &["targets"]);
    assert_eq!(status, 0, "{err}");
    assert_eq!(cells(&out)[1][0], "nobody", "{out}");
    assert!(
        err.contains("pod young: it answers but is not ready: no list of targets yet"),
        "{err}"
    );
}

#[test]
fn containers_without_the_program_or_the_exporter_are_told_apart() {
    let namespace = api().namespace("containers");
    let mut exporter = lonely().start();
    let folder = tempfile::tempdir().unwrap();
    let mut bare = environment(folder.path());
    bare.insert("PATH", "/nowhere".to_owned());
    node().pod(&namespace, "bare", &bare);
    let bare = ["status", "--pod", "bare"];
    fails(
        &namespace,
        &bare,
        &[
            "pod bare: the container pgexporter has no pgexporter-cli",
            "--container",
        ],
    );
    fails(
        &namespace,
        &[&bare[..], &["--container", "none"]].concat(),
        &["it has no container none; it has: pgexporter, proxy"],
    );
    // The node knows nothing of this one.
    fails(
        &namespace,
        &[&bare[..], &["-c", "proxy"]].concat(),
        &["container not found"],
    );
    pod_of(&namespace, "ended", &exporter);
    exporter.signal(Signal::TERM);
    exporter.wait_exit();
    fails(
        &namespace,
        &["status", "--pod", "ended"],
        &["pod ended: no exporter is running here"],
    );
}

#[test]
fn an_exporter_that_hangs_is_waited_for_no_longer_than_asked() {
    let namespace = api().namespace("hangs");
    let exporter = lonely().start();
    pod_of(&namespace, "frozen", &exporter);
    exporter.signal(Signal::STOP);
    let begin = Instant::now();
    fails(
        &namespace,
        &["status", "--request-timeout", "2s"],
        &["pod frozen: no answer within 2s", "--request-timeout"],
    );
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    exporter.signal(Signal::CONT);
}

#[test]
fn a_kubeconfig_that_leads_nowhere_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let tell = |kubeconfig: &Path, arguments: &[&str], parts: &[&str]| {
        let (status, out, err) = run_as(kubeconfig, &[&["status"], arguments].concat());
        assert_eq!((status, out.as_str()), (3, ""), "{err}");
        for part in parts {
            assert!(err.contains(part), "{part}: {err}");
        }
    };
    let admin = api().kubeconfig_admin();
    let missing = format!("there is no kubeconfig {}", none.display());
    tell(&none, &[], &[&missing, "KUBECONFIG"]);
    tell(
        &admin,
        &["--kubeconfig", none.to_str().unwrap()],
        &[&missing],
    );
    tell(
        &admin,
        &["--context", "prod"],
        &["no context prod; it has: test"],
    );
    let text = fs::read_to_string(&admin).unwrap();
    let write = |text: String| {
        let path = folder.path().join("config");
        fs::write(&path, text).unwrap();
        path
    };
    let no_current = text.replace("\"current-context\":\"test\"", "\"current-context\":\"\"");
    tell(
        &write(no_current),
        &[],
        &["no current context", "--context; it has: test"],
    );
    // Nobody listens on port 1.
    let away = text.replace(&api().url(), "https://127.0.0.1:1");
    tell(
        &write(away),
        &[],
        &[
            "the request to the API server https://127.0.0.1:1/ failed",
            "refused",
        ],
    );
    tell(
        &write("clusters: {".into()),
        &[],
        &["the kubeconfig cannot be used"],
    );
}
