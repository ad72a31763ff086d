//! Values that are wrong are refused before anything is installed, with what to do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{folder, template};

#[track_caller]
fn refused(settings: &[&str], part: &str) {
    let mut arguments = Vec::new();
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    match template(&arguments) {
        Ok(_) => panic!("{settings:?} is taken"),
        Err(said) => assert!(said.contains(part), "{settings:?}: {said}"),
    }
}

#[test]
fn a_typing_error_is_refused_wherever_it_stands() {
    for (setting, part) in [
        ("replica=2", "replica"),
        ("image.tga=1", "tga"),
        ("config.log_levle=debug", "log_levle"),
        ("config.log_level=loud", "log_level"),
        ("config.metrics=5002", "metrics"),
        ("servers.a.hots=b", "hots"),
        ("servers.a.host=b", "user"),
        (
            "servers.pgexporter.host=b,servers.pgexporter.user=u",
            "pgexporter",
        ),
        (
            "servers.a.host=b,servers.a.user=u,servers.a.passwordSecret.nmae=c",
            "nmae",
        ),
        ("serviceMonitor.enbaled=true", "enbaled"),
        ("serviceMonitor.interval=soon", "interval"),
        ("metrics.port=70000", "port"),
        ("metrics.tls.secret=a", "secret"),
        ("kubernetes.namespaces={Shop}", "namespaces"),
        ("replicas=many", "replicas"),
        ("crds.instal=true", "instal"),
        ("customMetrics.files.orders=text", "orders"),
        ("image.digest=sha256:1", "digest"),
        ("networkPolicy.databasePorts={postgres}", "databasePorts"),
        ("networkPolicy.dnsPorts={dns}", "dnsPorts"),
        ("serviceMonitor.endpointExtra.port=other", "port"),
        ("podMonitor.specExtra.selector=other", "selector"),
        ("rbac.aggregate=maybe", "aggregate"),
    ] {
        refused(&[setting], part);
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_to_do() {
    for (settings, part) in [
        (
            &["replicas=2", "sharding.enabled=false"][..],
            "each would scrape every target",
        ),
        (
            &["replicas=2", "kubernetes.enabled=false"],
            "have one replica",
        ),
        (
            &["serviceMonitor.enabled=true", "podMonitor.enabled=true"],
            "scraped twice",
        ),
        (&["metrics.tls.certManager=true"], "metrics.tls.secretName"),
        (
            &["metrics.tls.certManager=true", "metrics.tls.secretName=a"],
            "certManager.issuerRef.name",
        ),
        (&["management.enabled=true"], "management.adminsSecretName"),
        (&["health.port=5002"], "must differ"),
        (
            &[
                "podMonitor.enabled=true",
                "podMonitor.tlsConfig.serverName=a",
            ],
            "speaks plain HTTP",
        ),
        (
            &[
                "serviceMonitor.enabled=true",
                "metrics.tls.secretName=a",
                "metrics.tls.clientCASecretName=b",
            ],
            "set its cert and keySecret",
        ),
        (
            &[
                "serviceMonitor.enabled=true",
                "metrics.tls.secretName=a",
                "serviceMonitor.namespace=other",
            ],
            "where the Secret a is not",
        ),
        (
            &[
                "podMonitor.enabled=true",
                "metrics.tls.secretName=a",
                "podMonitor.tlsConfig.serverName=b",
            ],
            "names no authority",
        ),
        (
            &[r#"config.log_line_prefix='"#, r#"config.log_path="'"#],
            "both kinds of quotes",
        ),
    ] {
        refused(settings, part);
    }
}

/// Every value is described, has a default, and is known to the schema.
#[test]
fn the_schema_knows_the_values_and_no_others() {
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    compare("", &schema, &values);
}

fn compare(path: &str, schema: &Value, values: &Value) {
    let (Some(properties), Some(values)) = (schema["properties"].as_object(), values.as_object())
    else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    // An empty map is one that users fill.
    if values.is_empty() || path == ".config" {
        return;
    }
    let names = |map: &serde_json::Map<String, Value>| -> BTreeSet<String> {
        map.keys()
            .filter(|name| *name != "global")
            .cloned()
            .collect()
    };
    let optional = ["livenessProbe", "readinessProbe", "resources", "strategy"];
    if !optional.iter().any(|name| path.ends_with(name)) {
        assert_eq!(names(properties), names(values), "{path}");
    }
    for (name, value) in values {
        compare(&format!("{path}.{name}"), &properties[name], value);
    }
}
