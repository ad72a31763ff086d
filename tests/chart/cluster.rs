//! Against a real API server: what it takes, and what install, upgrade and uninstall leave.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{ROOT, SETS, folder, helm, run, set, template};
use crate::support::definitions::definitions;
use crate::support::{ApiServer, eventually, files, helm as tools, schemas};

/// One for all tests here, with the definitions of Prometheus' operator and of cert-manager.
fn api() -> &'static ApiServer {
    static API: OnceLock<ApiServer> = OnceLock::new();
    API.get_or_init(|| {
        let api = ApiServer::start();
        let folder = definitions().unwrap_or_else(|error| panic!("{error:#}"));
        for file in [
            "monitoring.coreos.com_servicemonitors.yaml",
            "monitoring.coreos.com_podmonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "cert-manager.io_certificates.yaml",
        ] {
            api.apply(&fs::read_to_string(folder.join(file)).unwrap());
        }
        for namespace in ["monitoring", "shop", "shop-staging"] {
            api.kubectl(&["create", "namespace", namespace]);
        }
        api
    })
}

/// The same, for a test that installs the definition of PostgresTarget: there is one in a cluster.
pub(crate) fn alone() -> (MutexGuard<'static, ()>, &'static ApiServer) {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (guard, api())
}

#[test]
fn kubeconform_and_the_api_server_take_every_set_of_values() {
    let (_alone, api) = alone();
    api.apply(&fs::read_to_string(format!("{ROOT}/crds/postgrestargets.yaml")).unwrap());
    let openapi = || api.get("/openapi/v2").unwrap().1;
    eventually("all definitions are published", || {
        let text = openapi();
        [
            "PostgresTarget",
            "ServiceMonitor",
            "PodMonitor",
            "PrometheusRule",
            "Certificate",
        ]
        .iter()
        .all(|kind| text.contains(&format!("\"kind\":\"{kind}\"")))
    });
    let folder = tempfile::tempdir().unwrap();
    assert!(schemas::write(&openapi(), folder.path()).unwrap() > 100);
    let location = format!("{}/{}", folder.path().display(), schemas::LOCATION);
    let conform = |text: &str| {
        // It passes over what is not called so.
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        fs::write(&file, text).unwrap();
        run(Command::new(tools::kubeconform().unwrap())
            .args(["-strict", "-summary", "-schema-location", &location])
            .arg(file.path()))
    };
    for name in SETS {
        let text = template(&["-f", &set(name)]).unwrap();
        let said = conform(&text).unwrap_or_else(|said| panic!("{name}: {said}"));
        assert!(!said.contains(" 0 resource"), "{said}");
        assert!(said.contains("Skipped: 0"), "{said}");
        // The definition is there already, and not this release's.
        let parts: Vec<&str> = text
            .split("---\n")
            .filter(|part| !part.contains("kind: CustomResourceDefinition"))
            .collect();
        let whole = parts.join("---\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &whole).unwrap();
        let path = file.path().to_str().unwrap();
        let taken = api.kubectl_as(
            &api.kubeconfig_admin(),
            &["apply", "--dry-run=server", "--validate=strict", "-f", path],
        );
        if let Err(said) = taken {
            panic!("{name}: {said}");
        }
    }
    conform(TARGET).unwrap();
    // That it can fail.
    conform(&TARGET.replace("host:", "hots:")).unwrap_err();
    let wrong = template(&[]).unwrap().replace("replicas: 1", "replica: 1");
    let said = conform(&wrong).unwrap_err();
    assert!(said.contains("replica"), "{said}");
    remove_definition(api);
}

pub(crate) fn remove_definition(api: &ApiServer) {
    let name = "postgrestargets.pgexporter.io";
    api.kubectl(&["delete", "crd", name, "--wait=true"]);
}

#[test]
fn kubectl_applies_the_manifests() {
    let (_alone, api) = alone();
    for (folder, namespace) in [
        ("deploy/base", "default"),
        ("deploy/overlays/namespaced", "shop"),
        ("deploy/overlays/ha", "monitoring"),
    ] {
        let path = format!("{ROOT}/{folder}");
        api.kubectl(&["apply", "--server-side", "-k", &path]);
        let found = api.get_json("deployment", namespace, "pgexporter");
        assert!(found.is_some(), "{folder}");
        api.kubectl(&["delete", "-k", &path]);
    }
}

const TARGET: &str = "apiVersion: pgexporter.io/v1alpha1
kind: PostgresTarget
metadata: {name: orders, namespace: default}
spec: {host: orders.default.svc, credentials: {username: monitor}}
";

/// Helm on the API server.
pub(crate) fn on(api: &ApiServer, arguments: &[&str]) -> Result<String, String> {
    run(helm()
        .args(arguments)
        .arg("--kubeconfig")
        .arg(api.kubeconfig_admin())
        .env("HELM_CACHE_HOME", api.folder().join("helm"))
        .env("HELM_CONFIG_HOME", api.folder().join("helm")))
}

#[test]
fn an_upgrade_brings_the_schema_up_to_date_and_targets_outlive_the_release() {
    let (_alone, api) = alone();
    let chart = folder();
    let chart = chart.to_str().unwrap();
    // A version before this one: its schema lacks a field, and it has another Service.
    let older = tempfile::tempdir().unwrap();
    files::link(&folder(), &older.path().join("pgexporter")).unwrap();
    let older = older.path().join("pgexporter");
    let rewrite = |name: &str, change: &dyn Fn(String) -> String| {
        let path = older.join(name);
        let text = change(fs::read_to_string(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, text).unwrap();
    };
    rewrite("Chart.yaml", &|text| {
        text.replace("ersion: 0.1.0", "ersion: 0.0.9")
    });
    rewrite("files/crds/postgrestargets.yaml", &|text| {
        let at = text.find("              paused:\n").unwrap();
        let rest = &text[at + 1..];
        let end = rest.find("\n              port:").unwrap();
        format!("{}{}", &text[..at], &rest[end + 1..])
    });
    let older = older.to_str().unwrap();
    let namespace = ["--namespace=monitoring", "--create-namespace"];
    let install = |chart: &str| {
        let arguments = ["install", "pgexporter", chart, namespace[0], namespace[1]];
        on(api, &arguments)
    };
    install(older).unwrap();
    let fields = || api.kubectl(&["explain", "pgt.spec"]);
    eventually("the definition is there", || {
        api.kubectl_as(&api.kubeconfig_admin(), &["explain", "pgt.spec"])
            .is_ok()
    });
    assert!(!fields().contains("paused"));
    api.apply(TARGET);

    on(api, &["upgrade", "pgexporter", chart, namespace[0]]).unwrap();
    eventually("the schema is this version's", || {
        fields().contains("paused")
    });
    let kept = || api.get_json("pgt", "default", "orders");
    let uid = kept().unwrap()["metadata"]["uid"].clone();

    on(api, &["uninstall", "pgexporter", namespace[0]]).unwrap();
    assert_eq!(kept().unwrap()["metadata"]["uid"], uid);
    let left = api.kubectl(&[
        "get",
        "all,configmap,secret,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,pdb,crd",
        "-A",
        "-l",
        "app.kubernetes.io/instance=pgexporter",
        "-o",
        "name",
    ]);
    assert_eq!(
        left.trim(),
        "customresourcedefinition.apiextensions.k8s.io/postgrestargets.pgexporter.io"
    );

    // Again under another name, which takes up what was kept.
    let renamed = ["install", "renamed", chart, namespace[0]];
    on(api, &renamed).unwrap_err();
    let mut renamed = renamed.to_vec();
    renamed.push("--take-ownership");
    on(api, &renamed).unwrap();
    on(api, &["uninstall", "renamed", namespace[0]]).unwrap();
    assert_eq!(kept().unwrap()["metadata"]["uid"], uid);

    // Again, and beside it one for a single namespace that leaves the definition alone.
    let mut again = vec!["install", "pgexporter", chart, namespace[0]];
    again.push("--take-ownership");
    on(api, &again).unwrap();
    let second = [
        "install",
        "second",
        chart,
        "--namespace=shop",
        "--create-namespace",
    ];
    let refused = on(api, &second).unwrap_err();
    assert!(
        refused.contains("postgrestargets.pgexporter.io"),
        "{refused}"
    );
    let mut narrow = second.to_vec();
    narrow.extend(["--set", "crds.install=false,kubernetes.namespaces={shop}"]);
    let said = on(api, &narrow).unwrap();
    assert!(!said.contains("WARNING"), "{said}");
    assert!(said.contains("is not part of this release"), "{said}");
    on(api, &["uninstall", "second", "--namespace=shop"]).unwrap();

    // An old schema that nobody brings up to date is not passed over in silence.
    on(api, &["upgrade", "pgexporter", older, namespace[0]]).unwrap();
    eventually("the schema is the older one", || {
        !fields().contains("paused")
    });
    let mut wide = second.to_vec();
    wide.extend(["--set", "crds.install=false"]);
    let said = on(api, &wide).unwrap();
    assert!(said.contains("has another schema than this"), "{said}");
    for (release, namespace) in [("second", "shop"), ("pgexporter", "monitoring")] {
        on(api, &["uninstall", release, "--namespace", namespace]).unwrap();
    }
    assert_eq!(kept().unwrap()["metadata"]["uid"], uid);
    remove_definition(api);
}

#[test]
fn the_notes_say_what_to_do_next_with_the_names_of_the_release() {
    let notes = |arguments: &[&str]| {
        let chart = folder();
        let mut all = vec!["install", "metrics", chart.to_str().unwrap()];
        all.extend(["--namespace=shop", "--dry-run=server"]);
        all.extend(["--set", "crds.install=false"]);
        all.extend(arguments);
        let text = on(api(), &all).unwrap();
        text.split_once("NOTES:").unwrap().1.to_owned()
    };
    let said = notes(&["--set", "kubernetes.namespaces={shop}"]);
    for part in [
        "kubectl -n shop rollout status deployment/metrics-pgexporter",
        "one of shop",
        "helm test -n shop metrics",
        "port-forward service/metrics-pgexporter 5002",
        "metrics-pgexporter.shop.svc:5002",
        "--set serviceMonitor.enabled=true",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = notes(&["-f", &set("servers")]);
    assert!(said.contains("scrapes 3 server(s)"), "{said}");
    assert!(said.contains("legacy, plain, warehouse"), "{said}");
    let said = notes(&["-f", &set("locked-down")]);
    assert!(said.contains("https://localhost:5002/"), "{said}");
    assert!(said.contains("the ServiceMonitor"), "{said}");
}
