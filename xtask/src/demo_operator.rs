//! `make demo-operator`: a real Kubernetes API server, two real PostgreSQL, and the exporter, which
//! reads them out of `PostgresTarget` resources, until Ctrl-C. With `ONCE=1` in the environment it
//! does all of it once and ends.
//!
//! Needs the binary `pgexporter` built beside it. Whatever way it ends, nothing stays behind
//! (see `keeper`).

use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::stage;
use test_support::{ApiServer, Exporter, Postgres, kubernetes, within};

/// Where the exporter's service account is.
const HOME: &str = "monitoring";
/// The namespaces of two teams, with the major version of the server of each.
const TEAMS: [(&str, &str, u32); 2] = [("shop", "orders", 17), ("billing", "ledger", 18)];
/// Shown of the scrape, for each server.
const SHOWN: [&str; 3] = [
    "pgexporter_postgresql_active",
    "pgexporter_postgresql_uptime",
    "pgexporter_pg_database_size",
];
/// Their password.
const PASSWORD: &str = "a secret of the demo";

pub fn main() -> ExitCode {
    let downloads = TEAMS.map(|(.., major)| test_support::downloads::postgres(major).map(drop));
    let assets = kubernetes::assets().map(drop);
    if let Err(error) = downloads
        .into_iter()
        .chain([assets])
        .collect::<Result<(), _>>()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    stage::run(demonstrate)
}

/// The demo; whatever way it ends, what it started is gone.
fn demonstrate(once: bool, stop: &Receiver<()>) -> Result<(), String> {
    let begin = Instant::now();
    let took = || format!("({:.1} s)", begin.elapsed().as_secs_f32());
    println!(
        "Kubernetes {}: starting an API server",
        kubernetes::KUBERNETES
    );
    let api = ApiServer::with_operator(HOME);
    println!("kubectl apply -k deploy/base: done {}", took());

    let mut servers = Vec::new();
    for (_, name, major) in TEAMS {
        println!("PostgreSQL {major}, `{name}`: starting");
        let server = Postgres::builder(major).password(PASSWORD, "scram-sha-256");
        servers.push(server.try_start().map_err(|error| format!("{error:#}"))?);
    }
    println!(
        "pgexporter: starting, with the rights of its service account {}",
        took()
    );
    let exporter = Exporter::builder()
        .set("kubernetes = on")
        // The servers of the demo are on this machine, where no target may be otherwise.
        .set("kubernetes_allow_local_hosts = on")
        .variable("KUBECONFIG", api.kubeconfig_for(HOME, "pgexporter"))
        .variable("POD_NAME", "pgexporter-0")
        .try_start()
        .map_err(|error| {
            format!(
                "pgexporter did not start ({:?}): {}",
                error.status, error.log
            )
        })?;

    for ((namespace, name, _), server) in TEAMS.iter().zip(&servers) {
        let manifest = manifest(namespace, name, server.port());
        if *namespace == TEAMS[0].0 {
            println!("\n$ kubectl apply -f -\n{manifest}");
        }
        api.kubectl(&["create", "namespace", namespace]);
        print!("{}", api.try_apply(&manifest)?);
    }
    if stop.try_recv().is_ok() {
        return Ok(());
    }
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pgt",
        "--all",
        "-A",
        "--timeout=60s",
    ];
    println!("\n$ kubectl {}", wait.join(" "));
    print!("{}", api.kubectl(&wait));
    println!("\n$ kubectl get pgt -A");
    print!("{}", api.kubectl(&["get", "pgt", "-A"]));

    let url = exporter.url("/metrics");
    println!("\n$ curl {url}");
    let names = TEAMS.map(|(namespace, name, _)| format!("{namespace}/{name}"));
    let mut samples = exporter.metrics();
    within(Duration::from_secs(30), || {
        samples = exporter.metrics();
        names.iter().all(|name| {
            !samples
                .with("pgexporter_pg_database_size", &[("server", name)])
                .is_empty()
        })
    });
    for family in SHOWN {
        for name in &names {
            let found = samples.with(family, &[("server", name)]);
            let found = found
                .first()
                .ok_or_else(|| format!("{family} of {name} is missing: {}", exporter.log()))?;
            println!("{family}{{server={name:?}, ...}} {}", found.value);
        }
    }
    println!(
        "... {} samples of {} families {}",
        samples.samples.len(),
        samples.types.len(),
        took()
    );
    let tools = kubernetes::assets().map_err(|error| format!("{error:#}"))?;
    println!("\n  overview  {}", exporter.url("/"));
    println!("  metrics   {url}");
    println!(
        "  kubectl   {} --kubeconfig {} get pgt -A\n",
        tools.kubectl.display(),
        api.kubeconfig_admin().display()
    );
    if !once {
        println!("Ctrl-C ends it and removes everything.");
        // An error would mean that nobody is left to tell us: the same.
        let _ = stop.recv();
    }
    Ok(())
}

/// What a team applies.
fn manifest(namespace: &str, name: &str, port: u16) -> String {
    format!(
        "\
apiVersion: v1
kind: Secret
metadata: {{name: {name}-monitor, namespace: {namespace}}}
stringData: {{username: {user}, password: {PASSWORD}}}
---
apiVersion: pgexporter.io/v1alpha1
kind: PostgresTarget
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: 127.0.0.1
  port: {port}
  credentials:
    secretRef: {{name: {name}-monitor}}
  labels: {{team: {namespace}}}
",
        user = test_support::postgres::SUPERUSER
    )
}
