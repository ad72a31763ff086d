//! One release among others: of a namespace's administrator, of a chart that contains this one, of
//! the same name in another namespace.

use std::fs;

use super::cluster::{alone, on, remove_definition};
use super::{ROOT, documents, find, folder, helm, kind, name, run, set, template};
use crate::support::{DEADLINE, files, within};

const CLUSTER_WIDE: [&str; 3] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
];

const NARROW: &str = "crds.install=false,kubernetes.namespaces={shop}";

#[test]
fn a_release_of_one_namespace_has_no_object_outside_of_it() {
    let rendered = documents(&template(&["--namespace=shop", "--set", NARROW]).unwrap());
    for one in &rendered {
        assert!(!CLUSTER_WIDE.contains(&kind(one)), "{}", kind(one));
        assert_eq!(one["metadata"]["namespace"], "shop", "{}", kind(one));
    }
    // The cluster's own roles are a choice of their own.
    let chosen = |more: &str| {
        let values = format!("{NARROW},{more}");
        let rendered = documents(&template(&["--set", &values]).unwrap());
        rendered
            .iter()
            .filter(|one| kind(one) == "ClusterRole")
            .count()
    };
    assert_eq!(chosen("rbac.aggregate=true"), 3);
    assert_eq!(chosen("rbac.aggregate=true,rbac.create=false"), 3);
    let without = documents(&template(&["--set", "rbac.aggregate=false"]).unwrap());
    let roles = without.iter().filter(|one| kind(one) == "ClusterRole");
    assert_eq!(roles.count(), 1);
}

#[test]
fn releases_of_one_name_in_two_namespaces_share_no_object() {
    let named = |namespace: &str| -> Vec<String> {
        let values = [
            "crds.install=false,rbac.aggregate=true,replicas=2,kubernetes.namespaces=null",
            "crds.install=false,kubernetes.namespaces={shop,stock}",
        ];
        let monitors = "serviceMonitor.enabled=true,serviceMonitor.namespace=watch,\
            prometheusRule.enabled=true,prometheusRule.namespace=watch,\
            dashboards.enabled=true,dashboards.namespace=watch";
        let mut all = Vec::new();
        for values in values {
            let values = format!("{values},{monitors}");
            let namespace = format!("--namespace={namespace}");
            let text = template(&[&namespace, "--set", &values]).unwrap();
            all.extend(documents(&text).iter().map(|one| {
                let namespace = one["metadata"]["namespace"].as_str().unwrap_or_default();
                format!("{} {namespace}/{}", kind(one), name(one))
            }));
        }
        all
    };
    let (first, second) = (named("shop"), named("other"));
    assert!(first.len() > 20);
    for one in &first {
        assert!(!second.contains(one), "{one}");
    }
}

#[test]
fn a_chart_that_contains_this_one_can_leave_it_out() {
    let parent = tempfile::tempdir().unwrap();
    let chart = parent.path().join("platform");
    fs::create_dir_all(chart.join("charts")).unwrap();
    files::link(&folder(), &chart.join("charts/pgexporter")).unwrap();
    let text = "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n\
        \x20 - {name: pgexporter, version: \"*\", condition: pgexporter.enabled}\n";
    fs::write(chart.join("Chart.yaml"), text).unwrap();
    let rendered = |value: &str| {
        let text = run(helm()
            .args(["template", "all"])
            .arg(&chart)
            .args(["--set", value]));
        documents(&text.unwrap()).len()
    };
    assert!(rendered("pgexporter.enabled=true") > 5);
    assert_eq!(rendered("pgexporter.enabled=false"), 0);
    // Alone as well.
    assert_eq!(
        documents(&template(&["--set", "enabled=false"]).unwrap()).len(),
        0
    );
}

#[test]
fn free_fields_reach_the_monitors_and_the_pods() {
    let rendered = documents(&template(&["-f", &set("openshift")]).unwrap());
    let spec = &find(&rendered, "ServiceMonitor", "pgexporter")["spec"];
    assert_eq!(spec["labelLimit"], 60);
    assert_eq!(spec["endpoints"][0]["followRedirects"], false);
    let deployment = find(&rendered, "Deployment", "pgexporter");
    let metadata = &deployment["metadata"];
    assert_eq!(metadata["labels"]["app.openshift.io/runtime"], "postgresql");
    assert_eq!(metadata["annotations"]["example.com/owner"], "shop");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["dnsConfig"]["options"][0]["name"], "ndots");
    assert_eq!(pod["hostAliases"][0]["ip"], "192.0.2.10");
    assert_eq!(pod["initContainers"][0]["name"], "wait");
    // The cluster chooses them.
    for chosen in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(pod["securityContext"].get(chosen).is_none(), "{chosen}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let role = find(&rendered, "Role", "pgexporter");
    let rules = role["rules"].as_sequence().unwrap();
    let contents = rules.iter().find(|rule| rule["resources"][0] == "secrets");
    assert_eq!(contents.unwrap()["verbs"].as_sequence().unwrap().len(), 1);
}

#[test]
fn kubectl_applies_the_folder_of_definitions() {
    let (_alone, api) = alone();
    let path = format!("{ROOT}/crds/");
    api.kubectl(&["apply", "-f", &path]);
    api.kubectl(&["apply", "-k", &path]);
    remove_definition(api);
}

#[test]
fn the_administrator_of_a_namespace_installs_where_the_definition_is() {
    let (_alone, api) = alone();
    let chart = folder();
    let chart = chart.to_str().unwrap();
    // Whoever has the cluster installs once, and lets administrators of namespaces do the same.
    on(
        api,
        &["install", "pgexporter", chart, "--namespace=monitoring"],
    )
    .unwrap();
    api.kubectl(&["create", "serviceaccount", "admin", "--namespace=shop"]);
    // What the cluster's role `admin` is made of, by a controller that is not here.
    let parts = ["view", "edit", "admin"].map(|of| {
        let own = format!("pgexporter-{of}:monitoring");
        [format!("system:aggregate-to-{of}"), own]
    });
    for (number, role) in parts.iter().flatten().enumerate() {
        api.kubectl(&[
            "create",
            "rolebinding",
            &format!("admin-{number}"),
            "--namespace=shop",
            &format!("--clusterrole={role}"),
            "--serviceaccount=shop:admin",
        ]);
    }
    let account = api.kubeconfig_for("shop", "admin");
    let install = || {
        run(helm()
            .args(["upgrade", "--install", "pgexporter", chart])
            .args(["--namespace=shop", "--set", NARROW, "--kubeconfig"])
            .arg(&account)
            .env("HELM_CACHE_HOME", api.folder().join("helm"))
            .env("HELM_CONFIG_HOME", api.folder().join("helm")))
    };
    let mut said = String::new();
    // The API server takes note of rights in a moment.
    let installed = within(DEADLINE, || match install() {
        Ok(text) => {
            said = text;
            true
        }
        Err(error) => {
            said = error;
            false
        }
    });
    assert!(installed, "{said}");
    assert!(!said.contains("WARNING"), "{said}");
    assert!(api.get_json("deployment", "shop", "pgexporter").is_some());
    for namespace in ["shop", "monitoring"] {
        let namespace = format!("--namespace={namespace}");
        on(api, &["uninstall", "pgexporter", &namespace]).unwrap();
    }
    let bindings = (0..6).map(|number| format!("rolebinding/admin-{number}"));
    for one in bindings.chain(["serviceaccount/admin".to_owned()]) {
        api.kubectl(&["delete", &one, "--namespace=shop"]);
    }
    remove_definition(api);
}

#[test]
fn two_releases_of_one_name_live_side_by_side() {
    let (_alone, api) = alone();
    let chart = folder();
    let chart = chart.to_str().unwrap();
    on(api, &["install", "twin", chart, "--namespace=monitoring"]).unwrap();
    let second = ["install", "twin", chart, "--namespace=shop"];
    let mut second = second.to_vec();
    second.extend(["--set", "crds.install=false,rbac.aggregate=true"]);
    on(api, &second).unwrap();
    for namespace in ["--namespace=shop", "--namespace=monitoring"] {
        on(api, &["uninstall", "twin", namespace]).unwrap();
    }
    remove_definition(api);
}
