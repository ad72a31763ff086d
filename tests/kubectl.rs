//! `kubectl pgexporter`, as its users run it: kubectl finds the program, the program finds the
//! pods and runs `pgexporter-cli` in each through the exec of a real API server and of a real
//! kubelet's streaming server, and what runs there asks real exporters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "kubectl/away.rs"]
mod away;
#[path = "operator/bed.rs"]
#[allow(dead_code)]
mod bed;
#[path = "kubectl/commands.rs"]
mod commands;
#[path = "kubectl/rights.rs"]
mod rights;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use support::exporter::ExporterBuilder;
use support::kubernetes::kubelet::Kubelet;
use support::{ApiServer, Exporter};

/// The API server of all tests.
fn api() -> &'static ApiServer {
    bed::api()
}

/// Its one node.
fn node() -> &'static Kubelet<'static> {
    static NODE: OnceLock<Kubelet<'static>> = OnceLock::new();
    NODE.get_or_init(|| Kubelet::start(api()))
}

/// The program under the name that kubectl looks for, installed as the page says.
fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let folder = api().folder().join("plugins");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("kubectl-pgexporter");
        symlink(env!("CARGO_BIN_EXE_pgexporter-cli"), &path).unwrap();
        path
    })
}

/// An exporter of a server that nobody runs.
fn lonely() -> ExporterBuilder {
    Exporter::builder().section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
}

/// A pod in whose container an exporter runs: the program and the configuration are found there
/// as in the shipped image.
fn pod_of(namespace: &str, name: &str, exporter: &Exporter) {
    node().pod(namespace, name, &environment(exporter.folder()));
}

/// What runs in a container sees of its exporter.
fn environment(folder: &Path) -> BTreeMap<&'static str, String> {
    let programs = Path::new(env!("CARGO_BIN_EXE_pgexporter-cli")).parent();
    let text = |path: &Path| path.display().to_string();
    BTreeMap::from([
        ("PATH", text(programs.unwrap())),
        ("HOME", text(folder)),
        ("PGEXPORTER_CONFIG_DIR", text(folder)),
    ])
}

/// Runs the program with a kubeconfig.
fn run_as(kubeconfig: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        Command::new(plugin())
            .args(arguments)
            .env_clear()
            .env("HOME", api().folder())
            .env("KUBECONFIG", kubeconfig)
            .output()
            .expect("it is built"),
    )
}

/// Runs the program as admin in a namespace.
fn run(namespace: &str, arguments: &[&str]) -> (i32, String, String) {
    let arguments = [&["-n", namespace], arguments].concat();
    run_as(&api().kubeconfig_admin(), &arguments)
}

/// Status, output and errors.
fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The same with `-F json`: status and document.
#[track_caller]
fn json(namespace: &str, arguments: &[&str]) -> (i32, Value) {
    let (status, out, err) = run(namespace, &[&["-F", "json"], arguments].concat());
    match serde_json::from_str(&out) {
        Ok(document) => (status, document),
        Err(error) => panic!("{arguments:?}: {error}: {out}{err}"),
    }
}

/// The cells of a table, by line.
fn cells(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines();
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}
