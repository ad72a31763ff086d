//! No condition, event, page or log line quotes a ConfigMap or a Secret; and the ways of
//! authentication that a target takes.

use super::bed::*;
use super::support::*;

/// Stands in every object.
const MARKER: &str = "MARKERx7x7";

/// Texts that are no metrics, with the names of their keys.
fn metrics() -> Vec<(&'static str, String)> {
    vec![
        ("a.yaml", format!("metrics: {MARKER}\n")),
        (
            "b.yaml",
            format!("metrics:\n- tag: t\n  {MARKER}: {MARKER}\n"),
        ),
        (
            "c.yaml",
            format!("- tag: '{MARKER}!'\n  query: {MARKER}\n  columns: [{{type: gauge}}]\n"),
        ),
        ("d.yaml", format!("-----BEGIN {MARKER}-----\n{MARKER}==\n")),
        ("e.json", format!("{{\"{MARKER}\": \"{MARKER}\"}}")),
        ("f.json", format!("[{{\"tag\": {MARKER}")),
    ]
}

/// Texts that are no certificates.
fn certificates() -> Vec<String> {
    vec![
        MARKER.to_owned(),
        format!("-----BEGIN {MARKER}\n{MARKER}\n"),
        format!("-----BEGIN {MARKER}-----\n{MARKER}\n-----END {MARKER}-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{MARKER}!\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{MARKER}==\n"),
    ]
}

#[test]
fn nothing_of_an_object_that_is_wrong_is_shown_anywhere() {
    let (server, namespace) = (server(), api().namespace("marked"));
    api().apply(&secret(&namespace, "s", SECRET));
    let mut names = Vec::new();
    let mut add = |name: String, object: String, more: String| {
        api().apply(&object);
        api().apply(&target(&namespace, &name, &at(&server, "s", &more)));
        names.push(name);
    };
    for (at, (key, text)) in metrics().into_iter().enumerate() {
        let name = format!("metrics-{at}");
        add(
            name.clone(),
            config_map(&namespace, &name, key, &text),
            format!(", metrics: [{{configMapRef: {{name: {name}, key: {key}}}}}]"),
        );
    }
    for (at, text) in certificates().into_iter().enumerate() {
        let name = format!("ca-{at}");
        add(
            name.clone(),
            config_map(&namespace, &name, "ca.crt", &text),
            format!(", tls: {{mode: verify-ca, caRef: {{name: {name}}}}}"),
        );
        let name = format!("client-{at}");
        let text = serde_json::Value::from(text);
        add(
            name.clone(),
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 stringData: {{tls.crt: {text}, tls.key: {text}}}\n"
            ),
            format!(", tls: {{mode: require, clientCertificateSecretRef: {{name: {name}}}}}"),
        );
    }
    let exporter = exporter(api(), &namespace)
        .set("log_level = debug5")
        .start();
    let mut shown = String::new();
    for name in &names {
        eventually(&format!("{name} is refused"), || {
            condition(api(), &namespace, name, "Accepted").starts_with("False Invalid")
        });
        eventually(&format!("{name} has an event"), || {
            !events(api(), &namespace, name).is_empty()
        });
        shown.push_str(&status(api(), &namespace, name).to_string());
        shown.push_str(&format!("{:?}", events(api(), &namespace, name)));
    }
    shown.push_str(&exporter.get("/").body);
    shown.push_str(&exporter.get("/metrics").body);
    shown.push_str(&exporter.log());
    if let Some(at) = shown.find(MARKER) {
        let around = shown.get(at.saturating_sub(200)..at + 50);
        panic!("{around:?}");
    }
}

#[test]
fn a_target_says_which_ways_of_authentication_it_takes() {
    let (server, namespace) = (server(), api().namespace("methods"));
    api().apply(&secret(&namespace, "s", SECRET));
    for (name, list) in [("strict", "scram-sha-256"), ("odd", "\"!scram-sha-256\"")] {
        let spec = at(&server, "s", &format!(", requireAuth: {list}"));
        api().apply(&target(&namespace, name, &spec));
    }
    let _exporter = exporter(api(), &namespace).start();
    eventually_is(api(), &namespace, "strict", "Ready", "True Scraped");
    eventually_is(
        api(),
        &namespace,
        "odd",
        "Ready",
        "False AuthenticationFailed",
    );
    let message = message(api(), &namespace, "odd", "Ready");
    assert!(
        message.contains("require_auth takes !scram-sha-256"),
        "{message}"
    );
}
