//! What is installed: the chart in a namespace of its own, and two teams with a PostgreSQL each.

use std::fs;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::prometheus::{INTERVAL, define, load};
use crate::support::chart::folder;
use crate::support::cluster::{Cluster, possible};
use crate::support::{Authority, Samples, images, within};
use crate::theirs::{MADE, make_room};

/// The namespace of the release.
pub(crate) const HOME: &str = "monitoring";
/// How long the chart may take from `helm install` to a ready pod.
pub(crate) const READY: Duration = Duration::from_secs(30);

/// One more server of the first team, which takes it away at the beginning: its alert waits for
/// minutes, and other tests do meanwhile. The test of alerts brings it back and removes it.
pub(crate) const ARCHIVE: (&str, &str, u32) = ("shop", "archive", 17);

/// An administrator of the exporter, and the password.
pub(crate) const ADMIN: &str = "anna";
pub(crate) const PASSWORD: &str = "of anna";
/// What is there before the chart, of which it is told.
pub(crate) const SECRETS: [&str; 2] = ["pgexporter-admins", "pgexporter-management"];

/// A cluster with the chart and the databases.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    /// From `helm install` to a ready pod.
    pub(crate) installed_after: Duration,
}

/// A team's server: namespace, name, major version.
pub(crate) const TEAMS: [(&str, &str, u32); 2] =
    [("shop", "orders", 17), ("billing", "ledger", 18)];

/// A test's turn with the scene.
pub(crate) struct Turn(MutexGuard<'static, Option<Scene>>);

impl Deref for Turn {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        self.0.as_ref().expect("it was made")
    }
}

/// The scene, for one test at a time; `None`, and a word why, where there can be no cluster.
pub(crate) fn scene() -> Option<Turn> {
    // Statics are not dropped: the node goes away with the process that made it.
    static SCENE: Mutex<Option<Scene>> = Mutex::new(None);
    if let Err(why) = possible() {
        eprintln!("skipped: {why}");
        return None;
    }
    let mut scene = SCENE.lock().unwrap_or_else(|poisoned| {
        let scene = poisoned.into_inner();
        assert!(
            scene.is_some(),
            "it did not come up: the first failure says why"
        );
        scene
    });
    if scene.is_none() {
        *scene = Some(Scene::start());
    }
    Some(Turn(scene))
}

impl Scene {
    fn start() -> Self {
        let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error:#}"));
        make_room(&cluster);
        for namespace in [HOME, TEAMS[0].0, TEAMS[1].0] {
            cluster.apply(&namespace_of(namespace));
        }
        cluster.apply(&management());
        // The images of Prometheus are loaded while all that is made ready.
        std::thread::scope(|scope| {
            scope.spawn(|| load(&cluster));
            define(&cluster);
        });
        let mut targets = Vec::new();
        // The servers come up while the chart is installed.
        let authority = Authority::new("billing");
        for (namespace, name, major) in [TEAMS[0], TEAMS[1], ARCHIVE] {
            let tls = (major == 18).then_some(&authority);
            let (servers, target) = server(namespace, name, major, tls);
            cluster.apply(&servers);
            targets.push(target);
        }
        let begin = Instant::now();
        let mut scene = Self {
            cluster,
            installed_after: Duration::ZERO,
        };
        eprintln!("e2e: installing the chart");
        scene
            .install()
            .unwrap_or_else(|said| panic!("{said}\n{}", scene.pods()));
        scene.installed_after = begin.elapsed();
        eprintln!("e2e: the chart is ready; applying the targets");
        for target in targets {
            scene.cluster.apply(&target);
        }
        for (namespace, name, _) in [TEAMS[0], TEAMS[1], ARCHIVE] {
            let set = format!("statefulset/{name}");
            let arguments = ["rollout", "status", "-n", namespace, "--timeout=90s", &set];
            if let Err(said) = scene.cluster.try_kubectl(&arguments) {
                panic!("{said}\n{}", scene.pods());
            }
        }
        eprintln!("e2e: the databases are ready");
        let (namespace, name, _) = ARCHIVE;
        let ready = scene.wait_ready(namespace, name, 60);
        assert!(ready.is_ok(), "{ready:?}\n{}", scene.pods());
        scene.scale_archive(0);
        scene.install_prometheus();
        scene
    }

    /// Takes the server of the archive away, or brings it back.
    pub(crate) fn scale_archive(&self, replicas: u32) {
        let (namespace, name, _) = ARCHIVE;
        let (set, replicas) = (
            format!("statefulset/{name}"),
            format!("--replicas={replicas}"),
        );
        self.cluster
            .kubectl(&["scale", "-n", namespace, &set, &replicas]);
    }

    /// Installs the chart, and waits until it is ready.
    pub(crate) fn install(&self) -> Result<String, String> {
        self.chart("install", Some(READY), &[])
    }

    /// Goes back to what was installed at first but for these values, without waiting for the pods.
    pub(crate) fn begin_to_go_back(&self, but: &[&str]) -> Result<String, String> {
        self.chart("upgrade", None, but)
    }

    /// Upgrades it with more values, and waits until all pods are the new ones.
    pub(crate) fn upgrade(&self, more: &[&str]) -> Result<String, String> {
        self.chart("upgrade", Some(Duration::from_secs(120)), more)?;
        // Helm waits until enough pods are ready, be they old or new.
        let set = "deployment/pgexporter";
        let arguments = ["rollout", "status", "-n", HOME, "--timeout=120s", set];
        self.cluster.try_kubectl(&arguments)
    }

    /// Waits for its pods for at most `limit`, if one is given.
    fn chart(&self, verb: &str, limit: Option<Duration>, more: &[&str]) -> Result<String, String> {
        let chart = folder();
        let limit = limit.map(|limit| format!("--timeout={}s", limit.as_secs()));
        let mut arguments = vec![verb, "pgexporter", chart.to_str().unwrap()];
        arguments.extend(["--namespace", HOME]);
        arguments.extend(limit.iter().flat_map(|limit| ["--wait", limit]));
        let values = values();
        arguments.extend(values.iter().map(String::as_str));
        arguments.extend(more);
        self.cluster.helm(&arguments)
    }

    /// `helm test`; what its pod printed, when it failed.
    pub(crate) fn helm_test(&self) -> Result<(), String> {
        let arguments = ["test", "pgexporter", "--namespace", HOME, "--timeout=60s"];
        let Err(why) = self.cluster.helm(&arguments) else {
            return Ok(());
        };
        // A pod that failed stays, for whoever wants to know.
        let pod = "pod/pgexporter-test";
        let said = self.cluster.try_kubectl(&["logs", "-n", HOME, pod]);
        self.cluster.kubectl(&["delete", "-n", HOME, pod]);
        Err(why + &said.unwrap_or_else(|why| why))
    }

    /// The pods of the release, as `pod/NAME`, without those that are ending.
    pub(crate) fn own_pods(&self) -> Vec<String> {
        let selector = "app.kubernetes.io/instance=pgexporter";
        let arguments = ["get", "pods", "-n", HOME, "-l", selector, "-o", "json"];
        let listed: Value = serde_json::from_str(&self.cluster.kubectl(&arguments)).unwrap();
        let pods = listed["items"].as_array().unwrap();
        pods.iter()
            .map(|pod| &pod["metadata"])
            .filter(|about| about["deletionTimestamp"].is_null())
            .map(|about| format!("pod/{}", about["name"].as_str().unwrap()))
            .collect()
    }

    /// What the pods of the release serve together, through the Service of each.
    pub(crate) fn scrape(&self) -> Result<Samples, String> {
        let path = format!("/api/v1/namespaces/{HOME}/services/pgexporter:metrics/proxy/metrics");
        let text = self.cluster.try_kubectl(&["get", "--raw", &path])?;
        Ok(Samples::parse(&text))
    }

    /// Whether a target becomes ready within a time.
    pub(crate) fn wait_ready(
        &self,
        namespace: &str,
        name: &str,
        seconds: u32,
    ) -> Result<String, String> {
        self.cluster.try_kubectl(&[
            "wait",
            &format!("pgt/{name}"),
            "-n",
            namespace,
            "--for=condition=Ready",
            &format!("--timeout={seconds}s"),
        ])
    }

    /// A condition of a target: its status, reason and message.
    pub(crate) fn condition(&self, namespace: &str, name: &str, kind: &str) -> [String; 3] {
        let target = self.cluster.get("pgt", namespace, name).unwrap_or_default();
        let conditions = target["status"]["conditions"].as_array().cloned();
        let found = conditions
            .unwrap_or_default()
            .into_iter()
            .find(|condition| condition["type"] == kind)
            .unwrap_or(Value::Null);
        ["status", "reason", "message"]
            .map(|part| found[part].as_str().unwrap_or_default().to_owned())
    }

    /// Fails the test unless both targets are ready, and no container of ours was ever restarted.
    #[track_caller]
    pub(crate) fn is_whole(&self) {
        for (namespace, name, _) in TEAMS {
            let ready = self.wait_ready(namespace, name, 30);
            assert!(
                ready.is_ok(),
                "{ready:?} {:?}",
                self.condition(namespace, name, "Ready")
            );
        }
        let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let selector = "app.kubernetes.io/instance=pgexporter";
        let counts = self
            .cluster
            .kubectl(&["get", "pods", "-n", HOME, "-l", selector, "-o", restarts]);
        assert!(
            counts.split(' ').all(|count| count == "0"),
            "restarts: {counts}"
        );
    }

    /// All pods and the newest events, for whoever looks for what is wrong.
    fn pods(&self) -> String {
        let of = |arguments: &[&str]| {
            self.cluster
                .try_kubectl(arguments)
                .unwrap_or_else(|said| said)
        };
        let selector = "-lapp.kubernetes.io/instance=pgexporter";
        of(&["get", "pods", "-A", "-o", "wide"])
            + &of(&["get", "events", "-A", "--sort-by=.lastTimestamp"])
            + &of(&["logs", "-n", HOME, selector, "--tail=20"])
    }

    /// Whether a condition comes to hold in half a minute; asked again twice a second.
    pub(crate) fn soon(condition: impl FnMut() -> bool) -> bool {
        Self::before(Duration::from_secs(30), condition)
    }

    /// The same in another time.
    pub(crate) fn before(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        within(limit, || {
            condition() || {
                std::thread::sleep(Duration::from_millis(500));
                false
            }
        })
    }
}

/// What is set beside the chart's own values: the image, and half of the memory.
fn values() -> Vec<String> {
    let (repository, tag) = images::EXPORTER.rsplit_once(':').unwrap();
    [
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        "image.pullPolicy=Never".to_owned(),
        "resources.limits.memory=64Mi".to_owned(),
        "management.enabled=true".to_owned(),
        format!("management.adminsSecretName={}", SECRETS[0]),
        format!("management.tls.secretName={}", SECRETS[1]),
        "serviceMonitor.enabled=true".to_owned(),
        format!("serviceMonitor.interval={}s", INTERVAL.as_secs()),
        "serviceMonitor.scrapeTimeout=4s".to_owned(),
        "prometheusRule.enabled=true".to_owned(),
    ]
    .map(|value| format!("--set={value}"))
    .into()
}

/// The administrator, the certificate of the port, and its authority for who asks.
fn management() -> String {
    let authority = Authority::new("management");
    let identity = authority.server(&[&format!("pgexporter.{HOME}.svc")]);
    let object = |kind: &str, name: &str, field: &str, data: Value| {
        json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": HOME},
            field: data,
        })
        .to_string()
    };
    let certificate = json!({"tls.crt": identity.certificate, "tls.key": identity.key});
    let root = json!({"root.crt": authority.pem()});
    [
        object("Secret", SECRETS[0], "stringData", json!({ADMIN: PASSWORD})),
        object("Secret", SECRETS[1], "stringData", certificate),
        object("ConfigMap", "pgexporter-management-ca", "data", root),
    ]
    .join("\n---\n")
}

fn namespace_of(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted, {MADE}: made}}
"
    )
}

/// A PostgreSQL with its Service and Secret, and the target; with TLS of an authority, which the
/// target knows.
fn server(namespace: &str, name: &str, major: u32, tls: Option<&Authority>) -> (String, String) {
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/server.yaml"
    ))
    .unwrap();
    let mut text = text
        .replace("NAMESPACE", namespace)
        .replace("NAME", name)
        .replace("IMAGE", &images::postgres(major));
    let (mut certificate, mut key, mut authority) = Default::default();
    if let Some(tls) = tls {
        let identity = tls.server(&[&format!("{name}-rw.{namespace}.svc")]);
        (certificate, key) = (identity.certificate, identity.key);
        authority = tls.pem().to_owned();
        text += &format!("  tls:\n    caRef: {{kind: ConfigMap, name: {name}-ca, key: ca.crt}}\n");
    }
    let indented = |pem: &str| pem.trim_end().replace('\n', "\n    ");
    let files = if tls.is_some() {
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: {name}-tls, namespace: {namespace}}}
stringData:
  tls.crt: |
    {}
  tls.key: |
    {}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}-ca, namespace: {namespace}}}
data:
  ca.crt: |
    {}
---
",
            indented(&certificate),
            indented(&key),
            indented(&authority)
        )
    } else {
        String::new()
    };
    let (servers, target) = text.rsplit_once("---\n").unwrap();
    (files + servers, target.to_owned())
}
