//! What the tests of the operator share: an API server with what `deploy/base` holds, exporters
//! under the shipped rights, manifests, and waiting for conditions.

use std::sync::OnceLock;

use super::support::exporter::ExporterBuilder;
use super::support::{self, ApiServer, Exporter, Postgres, Samples, eventually};
use serde_json::Value;

pub(crate) const SECRET: &str = "pa55:w\\rd-Xyzzy";
/// Where the service account of the exporter is.
pub(crate) const HOME: &str = "monitoring";

pub(crate) fn api() -> &'static ApiServer {
    static API: OnceLock<ApiServer> = OnceLock::new();
    API.get_or_init(prepared)
}

/// An API server of one's own.
pub(crate) fn prepared() -> ApiServer {
    ApiServer::with_operator(HOME)
}

/// An exporter that reads one namespace, as the shipped service account. The servers of the tests
/// are on loopback.
pub(crate) fn exporter(api: &ApiServer, namespace: &str) -> ExporterBuilder {
    careful(api, namespace).set("kubernetes_allow_local_hosts = on")
}

/// The same, which lets no target be on loopback.
pub(crate) fn careful(api: &ApiServer, namespace: &str) -> ExporterBuilder {
    Exporter::builder()
        .set("kubernetes = on")
        .set(&format!("kubernetes_namespaces = {namespace}"))
        .variable("KUBECONFIG", api.kubeconfig_for(HOME, "pgexporter"))
        .variable("POD_NAME", "pgexporter-0")
}

pub(crate) fn server() -> Postgres {
    Postgres::builder(17)
        .password(SECRET, "scram-sha-256")
        .start()
}

pub(crate) fn secret(namespace: &str, name: &str, password: &str) -> String {
    secret_of(namespace, name, "postgres", password)
}

pub(crate) fn secret_of(namespace: &str, name: &str, user: &str, password: &str) -> String {
    let password = Value::from(password);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         stringData: {{username: {user}, password: {password}}}\n"
    )
}

/// A role `monitor` whose password is [`SECRET`].
pub(crate) fn with_monitor(server: &Postgres) {
    server.execute("CREATE ROLE monitor LOGIN IN ROLE pg_monitor");
    set_password(server, SECRET);
}

/// Another password for `monitor`, and an end to the sessions that it has.
pub(crate) fn set_password(server: &Postgres, password: &str) {
    server.execute(&format!("ALTER ROLE monitor PASSWORD '{password}'"));
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'",
    );
}

pub(crate) fn config_map(namespace: &str, name: &str, key: &str, text: &str) -> String {
    let text = Value::from(text);
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         data: {{{key}: {text}}}\n"
    )
}

/// A target whose spec is a line of YAML in braces.
pub(crate) fn target(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: pgexporter.io/v1alpha1\nkind: PostgresTarget\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{of: {namespace}}}}}\n\
         spec: {spec}\n"
    )
}

pub(crate) fn at(server: &Postgres, secret: &str, more: &str) -> String {
    format!(
        "{{host: {}, port: {}, credentials: {{secretRef: {{name: {secret}}}}}{more}}}",
        server.host(),
        server.port()
    )
}

/// Any object or list, by its path past kubectl; nothing when there is none such.
pub(crate) fn object(api: &ApiServer, path: &str) -> Value {
    match api.get(path) {
        Ok((200, text)) => serde_json::from_str(&text).expect("the API server speaks JSON"),
        _ => Value::Null,
    }
}

pub(crate) fn resource(api: &ApiServer, namespace: &str, name: &str) -> Value {
    let all = format!("/apis/pgexporter.io/v1alpha1/namespaces/{namespace}/postgrestargets");
    object(api, &format!("{all}/{name}"))
}

pub(crate) fn status(api: &ApiServer, namespace: &str, name: &str) -> Value {
    resource(api, namespace, name)["status"].clone()
}

/// The events of an object.
pub(crate) fn events(api: &ApiServer, namespace: &str, name: &str) -> Vec<Value> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let all = object(api, &path)["items"].as_array().cloned();
    let mut all = all.unwrap_or_default();
    all.retain(|event| event["regarding"]["name"] == name);
    all
}

/// Status and body of `/readyz`.
pub(crate) fn readyz(exporter: &Exporter) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}/readyz", exporter.port("health"));
    match support::exporter::get(&url, &[]) {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, error),
    }
}

/// The process of the session that the exporter keeps on a server.
pub(crate) fn session(server: &Postgres) -> String {
    let pids = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgexporter'";
    let rows = server.text(pids);
    let rows = rows.iter().filter_map(|row| row[0].clone());
    rows.collect::<Vec<_>>().join(" ")
}

/// The lines of a family, by server.
pub(crate) fn of_server(samples: &Samples, family: &str, server: &str) -> usize {
    samples.with(family, &[("server", server)]).len()
}

/// The message of a condition.
pub(crate) fn message(api: &ApiServer, namespace: &str, name: &str, kind: &str) -> String {
    let status = status(api, namespace, name);
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        one["message"].as_str().unwrap().to_owned()
    })
}

/// `True`, `False` or `Unknown`, with the reason; nothing when there is no such condition.
pub(crate) fn condition(api: &ApiServer, namespace: &str, name: &str, kind: &str) -> String {
    let status = status(api, namespace, name);
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        format!(
            "{} {}",
            one["status"].as_str().unwrap(),
            one["reason"].as_str().unwrap()
        )
    })
}

#[track_caller]
pub(crate) fn eventually_is(
    api: &ApiServer,
    namespace: &str,
    name: &str,
    kind: &str,
    wanted: &str,
) {
    let mut last = Value::Null;
    let came = support::within(support::DEADLINE, || {
        last = status(api, namespace, name);
        condition(api, namespace, name, kind) == wanted
    });
    assert!(
        came,
        "{namespace}/{name} does not become {kind}={wanted}: {last:#}"
    );
}

pub(crate) fn active(exporter: &Exporter, server: &str) -> Option<f64> {
    exporter
        .metrics()
        .value("pgexporter_postgresql_active", &[("server", server)])
}

#[track_caller]
pub(crate) fn eventually_active(exporter: &Exporter, server: &str) {
    eventually(&format!("{server} is scraped"), || {
        active(exporter, server) == Some(1.0)
    });
}
