//! What the service account may and may not do.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::bed::*;
use super::support::*;

#[test]
fn a_role_that_may_not_watch_secrets_is_enough_and_one_line_says_so() {
    let (server, namespace) = (server(), api().namespace("narrow"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    api().apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: narrow, namespace: {namespace}}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: narrow, namespace: {namespace}}}\nrules:\n\
         - {{apiGroups: [pgexporter.io], resources: [postgrestargets], verbs: [list, watch]}}\n\
         - {{apiGroups: [pgexporter.io], resources: [postgrestargets/status], verbs: [patch]}}\n\
         - {{apiGroups: [''], resources: [secrets], verbs: [get]}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: narrow, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: narrow}}\n\
         subjects: [{{kind: ServiceAccount, name: narrow, namespace: {namespace}}}]\n"
    ));
    let exporter = exporter(api(), &namespace)
        .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "narrow"))
        .start();
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    let told = || {
        let log = exporter.log();
        let line = format!("no permission to watch Secrets in the namespace {namespace}");
        log.matches(&line).count()
    };
    eventually("a line says so", || told() > 0);
    assert_eq!(told(), 1, "{}", exporter.log());
}

/// A right: group, resource, verb.
type Right = (String, String, String);

/// What the roles of some manifests grant.
fn rights_of(manifests: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(manifests) {
        let object = Value::deserialize(document).unwrap();
        // Those with other names are for people.
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if !matches!(name, "pgexporter" | "pgexporter-lease") {
            continue;
        }
        let list = |value: &Value| -> Vec<String> {
            let items = value.as_array().cloned().unwrap_or_default();
            items
                .iter()
                .map(|one| one.as_str().unwrap().to_owned())
                .collect()
        };
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(rule["resourceNames"].is_null() && rule["nonResourceURLs"].is_null());
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for verb in list(&rule["verbs"]) {
                        rights.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    rights
}

/// A service account of a namespace that has these rights there.
fn account(namespace: &str, rights: &BTreeSet<Right>) -> String {
    let rules: Vec<Value> = rights
        .iter()
        .map(|(group, resource, verb)| {
            serde_json::json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        })
        .collect();
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: few, namespace: {namespace}}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: few, namespace: {namespace}}}\nrules: {}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: few, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: few}}\n\
         subjects: [{{kind: ServiceAccount, name: few, namespace: {namespace}}}]\n",
        Value::from(rules)
    )
}

/// Resource and verb of each right that the exporter says it misses.
fn missing(exporter: &Exporter) -> BTreeSet<(String, String)> {
    let samples = exporter.metrics();
    let all = samples.all("pgexporter_kubernetes_right_missing");
    assert!(!all.is_empty());
    all.iter()
        .filter(|sample| sample.value == 1.0)
        .map(|sample| {
            let label = |name: &str| sample.labels[name].clone();
            (label("resource"), label("verb"))
        })
        .collect()
}

#[test]
fn each_right_that_is_shipped_is_needed_and_no_other() {
    let server = server();
    let shipped = rights_of(&api().kustomized("rights", "base", &["discover", "lease"]));
    let narrow =
        rights_of(&api().kustomized("rights", "overlays/namespaced", &["discover", "lease"]));
    assert_eq!(shipped, narrow, "one namespace needs what all of them need");
    let services = |right: &&Right| right.1 == "services";
    let usual = rights_of(&api().kustomized("rights", "base", &["lease"]));
    let rest = shipped.iter().filter(|right| !services(right)).cloned();
    assert_eq!(usual, rest.collect(), "only discovery needs Services");

    // One exporter that has them all, and one for each that lacks that one.
    let mut cases: Vec<Option<Right>> = shipped.iter().cloned().map(Some).collect();
    cases.push(None);
    let exporters: Vec<(Option<Right>, String, Exporter)> = cases
        .into_iter()
        .map(|lacks| {
            let namespace = api().namespace("right");
            let mut rights = shipped.clone();
            if let Some(right) = &lacks {
                rights.remove(right);
            }
            let text = "version: 13\nmetrics:\n  - tag: own\n    query: SELECT 1\n    columns: \
                        [{type: gauge}]\n";
            let more =
                ", collectors: {include: [connections]}, metrics: [{configMapRef: {name: m}}]";
            api().apply(
                &[
                    account(&namespace, &rights),
                    secret(&namespace, "s", SECRET),
                    config_map(&namespace, "m", "queries.yaml", text),
                    target(&namespace, "db", &at(&server, "s", more)),
                ]
                .join("---\n"),
            );
            let exporter = exporter(api(), &namespace)
                .set("kubernetes_shards = lease")
                .set("kubernetes_discover = services")
                .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "few"))
                .start();
            (lacks, namespace, exporter)
        })
        .collect();
    // Ready, lost, ready again: an event is counted instead of repeated.
    let (_, whole, _) = exporters.last().unwrap();
    let told = |namespace: &str, wanted: &str| condition(api(), namespace, "db", "Ready") == wanted;
    for wanted in ["True Scraped", "False ConnectionRefused", "True Scraped"] {
        match wanted {
            "False ConnectionRefused" => server.stop_fast(),
            _ if server.pid().is_none() => server.start_again(),
            _ => {}
        }
        eventually(wanted, || told(whole, wanted));
        for (lacks, namespace, _) in &exporters {
            let event = |right: &Right| right.1 == "events" && right.2 == "patch";
            if lacks.as_ref().is_some_and(event) {
                eventually(wanted, || told(namespace, wanted));
            }
        }
    }
    for (lacks, namespace, exporter) in exporters {
        let Some(right) = lacks else {
            assert_eq!(missing(&exporter), BTreeSet::new());
            assert_eq!(readyz(&exporter), (200, "ok".to_owned()));
            continue;
        };
        let (_, resource, verb) = &right;
        let line = || {
            let log = exporter.log();
            let mut lines = log
                .lines()
                .filter(|line| line.contains("the service account lacks this permission"));
            lines.any(|line| {
                line.contains(&format!("verb={verb}"))
                    && line.contains(&format!("resource={resource}"))
                    && line.contains(&namespace)
            })
        };
        if verb == "delete" {
            // Nothing is deleted before the end.
            assert_eq!(missing(&exporter), BTreeSet::new());
            let mut exporter = exporter;
            exporter.signal(Signal::TERM);
            exporter.wait_exit();
            let log = exporter.log();
            assert!(log.contains("the Lease could not be released"), "{log}");
            continue;
        }
        let only = BTreeSet::from([(resource.clone(), verb.clone())]);
        let came = within(DEADLINE, || missing(&exporter) == only && line());
        assert!(
            came,
            "{right:?}: {:?}: {}",
            missing(&exporter),
            exporter.log()
        );
        let (code, said) = readyz(&exporter);
        let blocks = resource == "postgrestargets";
        // Without a Lease it is to serve nothing; that it hears of others late is no reason.
        let alone = resource == "leases" && verb != "watch";
        assert_eq!(code == 200, !blocks && !alone, "{right:?}: {said}");
        if blocks {
            assert!(
                said.contains(&format!("may not {verb} postgrestargets")),
                "{said}"
            );
        }
    }
}

#[test]
fn rights_that_are_taken_away_are_told_and_cost_no_scrape() {
    let (server, namespace) = (server(), api().namespace("revoked"));
    let rights = rights_of(&api().kustomized(&namespace, "base", &["lease"]));
    api().apply(&account(&namespace, &rights));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace)
        .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "few"))
        .start();
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    let name = format!("{namespace}/db");
    let kept = session(&server);
    api().kubectl(&["delete", "rolebinding", "few", "-n", &namespace]);
    // A watch that is open goes on until it is begun anew, once a minute.
    let told = within(Duration::from_secs(100), || readyz(&exporter).0 == 503);
    let (_, said) = readyz(&exporter);
    assert!(told, "{}", exporter.log());
    let words =
        format!("the service account may not watch postgrestargets in the namespace {namespace}");
    assert!(said.contains(&words), "{said}");
    let right = ("postgrestargets".to_owned(), "watch".to_owned());
    assert!(missing(&exporter).contains(&right));
    assert_eq!(active(&exporter, &name), Some(1.0));
    api().apply(&account(&namespace, &rights));
    let again = within(Duration::from_secs(90), || {
        readyz(&exporter) == (200, "ok".to_owned())
    });
    assert!(again, "{:?} {}", readyz(&exporter), exporter.log());
    assert_eq!(session(&server), kept);
    assert_eq!(missing(&exporter), BTreeSet::new());
}

#[test]
fn a_namespace_that_may_not_be_looked_into_holds_up_no_other() {
    let (server, namespace) = (server(), api().namespace("seen"));
    let rights = rights_of(&api().kustomized(&namespace, "base", &[]));
    api().apply(&account(&namespace, &rights));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    // It is on the list, was deleted, and the Role that let us in went with it.
    let exporter = exporter(api(), &format!("deleted-{namespace}, {namespace}"))
        .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "few"))
        .start();
    eventually("it is ready", || readyz(&exporter).0 == 200);
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    eventually("the right is told", || {
        missing(&exporter).contains(&("postgrestargets".to_owned(), "list".to_owned()))
    });
    assert_eq!(readyz(&exporter).0, 200, "{:?}", readyz(&exporter));
    let failing = || {
        let labels = [("resource", "postgrestargets")];
        let samples = exporter.metrics();
        samples.value("pgexporter_kubernetes_watch_failing", &labels)
    };
    eventually("the watch is told", || failing() == Some(1.0));
    assert!(exporter.log().contains(&format!("deleted-{namespace}")));
}
