//! The chart and the manifests: what they render to, whether a real API server takes it, and what
//! install, upgrade and uninstall leave behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "chart/cluster.rs"]
mod cluster;
#[path = "chart/manifests.rs"]
mod manifests;
#[path = "chart/rendering.rs"]
mod rendering;
use test_support as support;
#[path = "chart/tenants.rs"]
mod tenants;
#[path = "chart/values.rs"]
mod values;

use std::path::Path;
use std::process::Command;

use serde_yaml::Value;
use support::chart::folder;
use support::helm;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The value sets of `ci/`, by name.
const SETS: [&str; 7] = [
    "defaults",
    "ha",
    "locked-down",
    "monitoring",
    "namespaced",
    "openshift",
    "servers",
];

fn set(name: &str) -> String {
    format!("{}/ci/{name}-values.yaml", folder().display())
}

/// Runs a program: what it printed, or what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

fn helm() -> Command {
    helm::command().unwrap_or_else(|error| panic!("{error:#}"))
}

/// What `helm template` makes of the chart in the namespace `monitoring`.
fn template(arguments: &[&str]) -> Result<String, String> {
    run(helm()
        .args(["template", "pgexporter"])
        .arg(folder())
        .args(["--namespace=monitoring", "--kube-version=1.34.0"])
        .args(arguments))
}

/// The documents of a YAML text.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde::Deserialize::deserialize(document).expect("it is YAML"))
        .filter(|document: &Value| !document.is_null())
        .collect()
}

fn kind(document: &Value) -> &str {
    document["kind"].as_str().expect("a kind")
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().expect("a name")
}

/// The document of a kind and name.
#[track_caller]
fn find<'a>(documents: &'a [Value], wanted: &str, called: &str) -> &'a Value {
    documents
        .iter()
        .find(|one| kind(one) == wanted && name(one) == called)
        .unwrap_or_else(|| panic!("no {wanted} {called}"))
}

/// Compares with a file of the repository; `make docs` writes it.
#[track_caller]
fn is_golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    if golden == text {
        return;
    }
    let line = golden
        .lines()
        .zip(text.lines())
        .position(|(one, other)| one != other)
        .unwrap_or_else(|| golden.lines().count().min(text.lines().count()));
    panic!(
        "{} is another from line {}: `{}`, now `{}`; if it is meant so, run `make docs`",
        path.display(),
        line + 1,
        golden.lines().nth(line).unwrap_or_default(),
        text.lines().nth(line).unwrap_or_default()
    );
}
