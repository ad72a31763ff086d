//! `values.schema.json`: written by hand but for the keys of `pgexporter.conf`, which come out of
//! the program's table.

use anyhow::{Context, Result};
use pgexporter::config::ValueKind;
use pgexporter::config::keys::{Key, main_keys, server_keys};
use serde_json::{Map, Value, json};

/// Keys that have a value of their own in the chart, and are no keys of `config`.
const OF_THE_CHART: [&str; 20] = [
    "health",
    "host",
    "kubernetes",
    "kubernetes_allowed_hosts",
    "kubernetes_namespaces",
    "kubernetes_selector",
    "kubernetes_shards",
    "management",
    "metrics",
    "metrics_ca_file",
    "metrics_cert_file",
    "metrics_key_file",
    "metrics_path",
    "pidfile",
    "reload_on_change",
    "tls",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "unix_socket_dir",
];

/// Keys of a server that the chart writes itself, or that make no sense in a pod.
const NOT_OF_A_SERVER: [&str; 7] = [
    "data_dir",
    "password_file",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "type",
    "wal_dir",
];

/// The schema with the properties of `config` and `servers` as the program has its keys.
pub(super) fn complete(text: &str) -> Result<String> {
    let mut schema: Value = serde_json::from_str(text).context("values.schema.json")?;
    let config = properties(main_keys(), &OF_THE_CHART);
    let mut server = properties(server_keys(), &NOT_OF_A_SERVER);
    let object = |required: &[&str], properties: Value| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": properties,
        })
    };
    let name = json!({ "type": "string", "minLength": 1 });
    server.insert(
        "passwordSecret".into(),
        object(&["name"], json!({ "name": name, "key": name })),
    );
    let kind = json!({ "enum": ["ConfigMap", "Secret"] });
    server.insert(
        "ca".into(),
        object(
            &["name"],
            json!({ "kind": kind, "name": name, "key": name }),
        ),
    );
    server.insert(
        "clientCertificateSecret".into(),
        object(&["name"], json!({ "name": name })),
    );
    let all = schema["properties"].as_object_mut().context("properties")?;
    all.insert("config".into(), object(&[], config.into()));
    all.insert(
        "servers".into(),
        json!({
            "type": "object",
            "propertyNames": {
                "pattern": "^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$",
                "maxLength": 63,
                "not": { "const": "pgexporter" },
            },
            "additionalProperties": object(&["host", "user"], server.into()),
        }),
    );
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn properties<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>>,
    without: &[&str],
) -> Map<String, Value> {
    keys.filter(|key| !without.contains(&key.name))
        .map(|key| {
            let mut property = of(&key.kind);
            property["description"] = key.about.into();
            (key.name.to_owned(), property)
        })
        .collect()
}

/// What the chart takes for a kind of value; the program itself looks more closely.
fn of(kind: &ValueKind) -> Value {
    match kind {
        ValueKind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        ValueKind::PortOrOff => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
        ValueKind::Number(low, high) => {
            json!({ "type": "integer", "minimum": low, "maximum": high })
        }
        ValueKind::Bool => json!({ "type": "boolean" }),
        ValueKind::Word(words, others) => {
            let mut all: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            all.extend(others.iter().map(|(other, _)| json!(other)));
            // YAML takes some words for truth.
            if ["on", "off"].iter().any(|word| words.contains(word)) {
                all.extend([json!(true), json!(false)]);
            }
            json!({ "enum": all })
        }
        ValueKind::List => json!({ "type": "array", "items": { "type": "string" } }),
        ValueKind::Duration(..)
        | ValueKind::AutoOrDuration
        | ValueKind::Size
        | ValueKind::SizeWithin(..) => {
            json!({ "type": ["string", "integer"] })
        }
        ValueKind::Text
        | ValueKind::Listen
        | ValueKind::Host
        | ValueKind::Path
        | ValueKind::TimeFormat => {
            json!({ "type": "string", "pattern": "^[^\\n\\r]*$" })
        }
    }
}
