//! Every example of `docs/kubernetes.md` is taken as it stands, by the API server and the exporter.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;

use super::bed::*;
use super::support::*;

const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// The objects of the page's examples, in order.
fn examples() -> Vec<Value> {
    let blocks = PAGE.split("```yaml\n").skip(1);
    blocks
        .filter_map(|rest| rest.split("```").next())
        .flat_map(|block| serde_yaml::Deserializer::from_str(block).collect::<Vec<_>>())
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// What an example leaves out with dots.
fn complete(object: &mut Value) {
    let authority = Authority::new("example");
    let identity = authority.client("monitor");
    for place in ["data", "stringData"] {
        let fields = object.get_mut(place).and_then(Value::as_object_mut);
        for (key, value) in fields.into_iter().flatten() {
            let whole = match key.as_str() {
                "ca.crt" => authority.pem(),
                "tls.crt" => &identity.certificate,
                "tls.key" => &identity.key,
                _ => continue,
            };
            assert!(value.as_str().unwrap().contains("..."));
            *value = whole.into();
        }
    }
}

#[test]
fn every_example_of_the_page_is_accepted() {
    for namespace in ["shop", "billing"] {
        api().kubectl(&["create", "namespace", namespace]);
    }
    let exporter = Exporter::builder()
        .set("kubernetes = on")
        .set("kubernetes_namespaces = shop, billing")
        .set("kubernetes_discover = services")
        .variable("KUBECONFIG", api().kubeconfig_admin())
        .variable("POD_NAME", "pgexporter-0")
        .start();
    let mut targets = Vec::new();
    for mut object in examples() {
        complete(&mut object);
        api().apply(&object.to_string());
        let text = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
        match object["kind"].as_str().unwrap() {
            "PostgresTarget" => targets.push((text("namespace"), text("name"))),
            "Service" => {
                let server = format!("{}/{}", text("namespace"), text("name"));
                // Nobody is there, but it is asked.
                eventually(&format!("{server} is a target"), || {
                    active(&exporter, &server) == Some(0.0)
                });
            }
            _ => {}
        }
    }
    assert!(targets.len() >= 7, "{targets:?}");
    for (namespace, name) in &targets {
        // A resolver may take its time to know no such name.
        let accepted = within(Duration::from_secs(120), || {
            condition(api(), namespace, name, "Accepted") == "True"
        });
        let status = status(api(), namespace, name);
        assert!(accepted, "{namespace}/{name}: {status:#}");
    }
}
