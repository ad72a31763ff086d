//! A Prometheus in the cluster, by its operator, and what it has seen.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::scene::Scene;
use crate::support::cluster::Cluster;
use crate::support::definitions::definitions;
use crate::support::images;
use crate::support::monitoring::programs;
use crate::support::prometheus::{Series, series};

/// How often the release's pods are scraped here.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Installs what the chart makes objects of; a cluster of somebody else has it, and the operator.
pub(crate) fn define(cluster: &Cluster) {
    if cluster.node().is_none() {
        return;
    }
    let folder = definitions().unwrap_or_else(|error| panic!("{error:#}"));
    for file in fs::read_dir(folder).unwrap().flatten() {
        if file
            .file_name()
            .to_string_lossy()
            .starts_with("monitoring.coreos.com")
        {
            cluster.apply(&fs::read_to_string(file.path()).unwrap());
        }
    }
}

/// Loads the images; a cluster of somebody else has them.
pub(crate) fn load(cluster: &Cluster) {
    let Some(node) = cluster.node() else { return };
    let archives = images::monitoring().unwrap_or_else(|error| panic!("{error:#}"));
    node.import(&archives)
        .unwrap_or_else(|error| panic!("{error:#}"));
}

/// Starts the operator, and has it run a Prometheus.
fn install(cluster: &Cluster) {
    if let Some(node) = cluster.node() {
        let program = programs::operator().unwrap_or_else(|error| panic!("{error:#}"));
        let reloader = format!("--prometheus-config-reloader={}", images::CONFIG_RELOADER);
        let arguments = [
            "--apiserver=https://127.0.0.1:6443",
            "--ca-file=ca.crt",
            "--cert-file=admin.crt",
            "--key-file=admin.key",
            "--log-level=info",
            "--web.listen-address=127.0.0.1:8081",
            &reloader,
        ];
        node.beside(&program.join("operator"), &arguments)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/prometheus.yaml"
    ))
    .unwrap();
    cluster.apply(&text.replace("IMAGE", images::PROMETHEUS));
}

impl Scene {
    /// Has a Prometheus in the cluster, without waiting for it.
    pub(crate) fn install_prometheus(&self) {
        eprintln!("e2e: starting Prometheus and its operator");
        install(&self.cluster);
    }

    /// Waits until Prometheus has both targets, from pods that are there now: what it no longer
    /// scrapes it goes on to show for two intervals.
    pub(crate) fn observe(&self) {
        let active = || {
            let pods = self.own_pods().join("|").replace("pod/", "");
            self.query(&format!(
                "count_over_time((pgexporter_postgresql_active{{pod=~\"{pods}\"}} == 1)[12s:1s]) > 6"
            ))
        };
        let mut hurried = Instant::now();
        self.hurry_prometheus();
        assert!(
            Self::before(Duration::from_secs(120), || {
                if hurried.elapsed() > Duration::from_secs(5) {
                    hurried = Instant::now();
                    self.hurry_prometheus();
                }
                active().is_ok_and(|series| series.len() == 2)
            }),
            "{:?} {:?}",
            active(),
            self.query("up")
        );
    }

    /// Has Prometheus take the configuration of now: its kubelet looks for another Secret once a
    /// minute only, but also whenever the pod is changed.
    fn hurry_prometheus(&self) {
        let mark = format!("pgexporter.io/hurried={}", now());
        let pod = ["pod", "prometheus-e2e-0", &mark, "--overwrite"];
        // It may not be there yet.
        let _ = self
            .cluster
            .try_kubectl(&[&["annotate", "-n", "observe"], &pod[..]].concat());
    }

    /// What Prometheus' API answers.
    pub(crate) fn prometheus(&self, path: &str) -> Result<String, String> {
        let service = "/api/v1/namespaces/observe/services/prometheus-operated:9090/proxy";
        self.cluster
            .try_kubectl(&["get", "--raw", &format!("{service}{path}")])
    }

    /// The series that a query has now.
    pub(crate) fn query(&self, expr: &str) -> Result<Vec<Series>, String> {
        series(&self.prometheus(&format!("/api/v1/query?query={}", encoded(expr)))?)
    }

    /// The raw samples of a selector in a time that ends now: for each series its labels and the
    /// values in turn.
    pub(crate) fn samples(&self, selector: &str, seconds: u64) -> Vec<(Value, Vec<(f64, f64)>)> {
        let path = format!(
            "/api/v1/query?query={}",
            encoded(&format!("{selector}[{seconds}s]"))
        );
        let answer = self.prometheus(&path).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let all = answer["data"]["result"].as_array().unwrap().clone();
        all.into_iter()
            .map(|one| {
                let values = one["values"].as_array().unwrap();
                let pairs = values
                    .iter()
                    .map(|pair| {
                        let value = pair[1].as_str().unwrap().parse().unwrap();
                        (pair[0].as_f64().unwrap(), value)
                    })
                    .collect();
                (one["metric"].clone(), pairs)
            })
            .collect()
    }

    /// The alerts that are pending or firing, as Prometheus lists them.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let answer = self.prometheus("/api/v1/alerts").unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// As a value in a URL.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => (byte as char).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
