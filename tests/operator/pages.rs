//! Every example of `docs/kubernetes.md` is taken as it stands, by the API server and the exporter.

use serde::Deserialize as _;
use serde_json::Value;

use super::bed::*;
use super::support::*;

const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// Lets the account of one namespace work in the other.
const BOTH: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: also-shop, namespace: billing}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pgexporter}
subjects: [{kind: ServiceAccount, name: pgexporter, namespace: shop}]
";

/// The objects of the page's examples, in order.
fn examples() -> Vec<Value> {
    let blocks = PAGE.split("```yaml\n").skip(1);
    blocks
        .filter_map(|rest| rest.split("```").next())
        .flat_map(|block| serde_yaml::Deserializer::from_str(block).collect::<Vec<_>>())
        .map(|document| Value::deserialize(document).unwrap())
        // What is for Flux and Argo CD is a part of their objects.
        .filter(|object| object["kind"].is_string())
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
    // The rights for one namespace in each of the two, for the account of the first.
    for namespace in ["shop", "billing"] {
        api().apply(&api().kustomized(namespace, "overlays/namespaced", &["discover"]));
    }
    api().apply(BOTH);
    let exporter = Exporter::builder()
        .set("kubernetes = on")
        .set("kubernetes_namespaces = shop, billing")
        .set("kubernetes_discover = services")
        .variable("KUBECONFIG", api().kubeconfig_for("shop", "pgexporter"))
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
        eventually_is(api(), namespace, name, "Accepted", "True Accepted");
    }
}
