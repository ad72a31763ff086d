//! The real API server that other tests stand on: it answers, admits and refuses as any cluster,
//! comes back with its objects, and leaves nothing behind.

use test_support as support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use support::{ApiServer, eventually};

fn api() -> &'static ApiServer {
    static API: OnceLock<ApiServer> = OnceLock::new();
    API.get_or_init(ApiServer::start)
}

fn config_map(namespace: &str, name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         data:\n  key: {value}\n"
    )
}

#[test]
fn it_is_ready_and_knows_its_version() {
    assert_eq!(api().get("/readyz"), Ok((200, "ok".into())));
    let version = api().kubectl(&["version"]);
    let server = format!("Server Version: {}", support::kubernetes::KUBERNETES);
    assert!(
        std::env::var_os(support::kubernetes::ASSETS_VARIABLE).is_some()
            || version.contains(&server),
        "{version}"
    );
    assert!(api().get_json("namespace", "", "default").is_some());
}

#[test]
fn what_is_applied_can_be_read_changed_and_deleted() {
    let namespace = api().namespace("objects");
    let value = || {
        let map = api().get_json("configmap", &namespace, "a");
        map.map(|map| map["data"]["key"].clone())
    };
    assert_eq!(value(), None);
    for text in ["one", "two"] {
        api().apply(&config_map(&namespace, "a", text));
        assert_eq!(value(), Some(text.into()));
    }
    api().kubectl(&["delete", "configmap", "a", "-n", &namespace]);
    assert_eq!(value(), None);
}

#[test]
fn a_manifest_that_no_cluster_would_take_is_refused_with_the_reason() {
    let namespace = api().namespace("refusals");
    let refused = api().try_apply(&config_map(&namespace, "Not_A_Name", "a"));
    let said = refused.expect_err("it is refused");
    assert!(said.contains("RFC 1123"), "{said}");
    let unknown = "apiVersion: nobody.example/v1\nkind: Nothing\nmetadata:\n  name: a\n";
    let said = api().try_apply(unknown).expect_err("it is refused");
    assert!(said.contains("no matches for kind \"Nothing\""), "{said}");
}

#[test]
fn a_custom_resource_is_held_to_its_schema_from_its_first_moment() {
    api().apply(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {name: things.test.example}\n\
         spec:\n  group: test.example\n  scope: Namespaced\n  names: {kind: Thing, plural: things}\n\
         \x20 versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n\
         \x20     openAPIV3Schema:\n        type: object\n        properties:\n          spec:\n\
         \x20           type: object\n            properties: {size: {type: integer, maximum: 3}}\n\
         \x20           x-kubernetes-validations:\n\
         \x20           - {rule: \"self.size != 2\", message: \"two is unlucky\"}\n",
    );
    let established = "--for=condition=Established";
    let (crd, limit) = ("crd/things.test.example", "--timeout=30s");
    api().kubectl(&["wait", established, crd, limit]);
    let thing = |size: u32| {
        api().try_apply(&format!(
            "apiVersion: test.example/v1\nkind: Thing\nmetadata: {{name: a, namespace: default}}\n\
             spec: {{size: {size}}}\n"
        ))
    };
    thing(1).expect("it is taken");
    assert!(
        thing(2)
            .expect_err("it is refused")
            .contains("two is unlucky")
    );
    assert!(
        thing(4)
            .expect_err("it is refused")
            .contains("less than or equal to 3")
    );
}

#[test]
fn a_service_account_may_do_what_its_role_says_and_nothing_else() {
    let (one, other) = (api().namespace("rights"), api().namespace("rights"));
    api().kubectl(&["create", "serviceaccount", "reader", "-n", &one]);
    let reader = api().kubeconfig_for(&one, "reader");
    let list = |namespace: &str| api().kubectl_as(&reader, &["get", "configmaps", "-n", namespace]);
    let who = format!("User \"system:serviceaccount:{one}:reader\"");
    let said = list(&one).expect_err("it has no right");
    assert!(
        said.contains("Forbidden") && said.contains(&who) && said.contains("cannot list"),
        "{said}"
    );

    api().apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: reader, namespace: {one}}}\n\
         rules: [{{apiGroups: [\"\"], resources: [configmaps], verbs: [get, list]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: reader, namespace: {one}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}\n\
         subjects: [{{kind: ServiceAccount, name: reader, namespace: {one}}}]\n"
    ));
    eventually("the role counts", || list(&one).is_ok());
    assert!(list(&other).is_err(), "a role reaches another namespace");
    let written = api().try_apply_as(&reader, &config_map(&one, "a", "b"));
    assert!(written.is_err(), "a reader wrote: {written:?}");
}

#[test]
fn its_own_metrics_count_what_a_client_costs_it() {
    let api = ApiServer::start();
    let labels = [("resource", "endpoints"), ("verb", "GET"), ("code", "404")];
    assert_eq!(api.metric("apiserver_request_total", &labels), 0.0);
    for _ in 0..3 {
        let path = "/api/v1/namespaces/default/endpoints/none-such";
        assert_eq!(api.get(path).expect("it answers").0, 404);
    }
    assert_eq!(api.metric("apiserver_request_total", &labels), 3.0);
}

#[test]
fn a_stopped_server_is_away_and_comes_back_on_its_port_with_its_objects() {
    let api = ApiServer::start();
    api.apply(&config_map("default", "kept", "whole"));
    api.kubectl(&["create", "serviceaccount", "a", "-n", "default"]);
    let account = api.kubeconfig_for("default", "a");
    let url = api.url();
    api.stop();
    assert!(api.get("/readyz").is_err(), "a stopped server answers");
    assert!(
        api.try_apply(&config_map("default", "lost", "a")).is_err(),
        "a stopped server takes objects"
    );
    let begin = Instant::now();
    api.start_again();
    println!("back after {:?}", begin.elapsed());
    assert_eq!(api.url(), url);
    let kept = api
        .get_json("configmap", "default", "kept")
        .expect("it is kept");
    assert_eq!(kept["data"]["key"], "whole");
    // Tokens outlive it as well: a client needs no new one.
    let said = api.kubectl_as(&account, &["get", "pods"]);
    assert!(
        said.clone().is_err_and(|said| said.contains("Forbidden")),
        "{said:?}"
    );
}

#[test]
fn a_dropped_server_leaves_neither_process_nor_folder() {
    let begin = Instant::now();
    let api = ApiServer::start();
    println!("ready after {:?}", begin.elapsed());
    let folder = api.folder().to_owned();
    assert_eq!(support::keeper::processes_in(&folder).len(), 2);
    drop(api);
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert!(support::keeper::processes_in(&folder).is_empty());
}

/// Run by the next test in a process of its own, which that test kills.
#[test]
#[ignore = "waits to be killed"]
fn waits_to_be_killed() {
    println!("folder={}", api().folder().display());
    loop {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

#[test]
fn a_killed_test_leaves_neither_server_nor_folder() {
    use std::io::{BufRead, BufReader};
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let folder = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("folder=")?.1.to_owned()))
        .expect("the child says where its server lies");
    let folder = std::path::PathBuf::from(folder);
    assert_eq!(support::keeper::processes_in(&folder).len(), 2);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    eventually("the servers and their folder go away", || {
        !folder.exists() && support::keeper::processes_in(&folder).is_empty()
    });
}
