//! `deploy/` says what the chart says.

use std::collections::BTreeMap;
use std::process::Command;

use serde_yaml::Value;

use super::{ROOT, documents, kind, name, run, template};
use crate::support::kubernetes;

fn kustomize(folder: &str) -> Vec<Value> {
    let assets = kubernetes::assets().unwrap_or_else(|error| panic!("{error:#}"));
    let built = run(Command::new(assets.kubectl)
        .args(["kustomize", folder])
        .current_dir(ROOT));
    documents(&built.unwrap_or_else(|said| panic!("{folder}: {said}")))
}

/// What a document says beside how it came about, by kind and name.
fn substance(documents: Vec<Value>, namespace: &str) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for mut document in documents {
        let called = own(name(&document), namespace).to_owned();
        let of = (kind(&document).to_owned(), called);
        strip(&mut document, namespace);
        assert!(found.insert(of.clone(), document).is_none(), "{of:?} twice");
    }
    found
}

/// A name without the namespace that the chart puts at its end.
fn own<'a>(name: &'a str, namespace: &str) -> &'a str {
    let end = name.strip_suffix(namespace);
    end.and_then(|name| name.strip_suffix(':')).unwrap_or(name)
}

fn strip(value: &mut Value, namespace: &str) {
    match value {
        Value::Mapping(map) => {
            for key in [
                "helm.sh/chart",
                "helm.sh/resource-policy",
                "checksum/restart",
                "app.kubernetes.io/managed-by",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/version",
                // Of the definition, which one has and the other has not.
                "creationTimestamp",
            ] {
                map.remove(key);
            }
            let old = std::mem::take(map);
            for (key, mut value) in old {
                strip(&mut value, namespace);
                if key == "namespace" && value == namespace {
                    value = "NAMESPACE".into();
                }
                // Kustomize labels the definition too, and drops what is empty.
                let empty = value.as_mapping().is_some_and(|map| map.is_empty());
                if !(empty && (key == "labels" || key == "annotations")) {
                    map.insert(key, value);
                }
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(|one| strip(one, namespace)),
        Value::String(text) => {
            *text = own(text.trim_end(), namespace).to_owned();
        }
        _ => {}
    }
}

#[track_caller]
fn same(folder: &str, namespace: &str, arguments: &[&str]) {
    let ours = substance(kustomize(folder), namespace);
    let mut chart = documents(&template(arguments).unwrap());
    // `helm test` is helm's alone.
    chart.retain(|document| document["metadata"]["annotations"]["helm.sh/hook"].is_null());
    for document in &mut chart {
        // Without a namespace of its own, a manifest goes where it is applied.
        if folder == "deploy/base"
            && let Some(metadata) = document["metadata"].as_mapping_mut()
        {
            metadata.remove("namespace");
        }
    }
    let told = arguments.iter().any(|one| one.starts_with("--namespace"));
    let charts = substance(chart, if told { namespace } else { "monitoring" });
    let keys = |of: &BTreeMap<(String, String), Value>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours), keys(&charts), "{folder}");
    for (of, document) in &ours {
        // In the order of the keys, which a value of JSON has.
        let text = |value: &Value| {
            let value = serde_json::to_value(value).unwrap();
            serde_json::to_string_pretty(&value).unwrap()
        };
        let (one, other) = (text(document), text(&charts[of]));
        for (one, other) in one.lines().zip(other.lines()) {
            assert_eq!(one, other, "{folder}: {of:?}, the chart's on the right");
        }
        assert_eq!(one, other, "{folder}: {of:?}");
    }
}

#[test]
fn the_base_is_the_chart_with_its_defaults() {
    same("deploy/base", "default", &[]);
}

#[test]
fn the_overlays_are_the_chart_with_their_values() {
    same("deploy/overlays/ha", "monitoring", &["--set", "replicas=3"]);
    same(
        "deploy/overlays/namespaced",
        "shop",
        &["--set", "kubernetes.namespaces={shop}", "--namespace=shop"],
    );
}
