//! What a person may do in the cluster decides, and what is lacking is named.

use super::support::eventually;
use super::*;

/// The page's role.
fn role(namespace: &str) -> String {
    let page = include_str!("../../docs/management.md");
    let block = page
        .split("```yaml\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains("pods/exec"))
        .expect("the page has the role");
    block.replace("namespace: monitoring", &format!("namespace: {namespace}"))
}

fn bind(namespace: &str, role: &str) {
    api().apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: {role}, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {role}}}\n\
         subjects: [{{kind: ServiceAccount, name: anna, namespace: {namespace}}}]\n"
    ));
}

#[test]
fn the_role_of_the_page_is_enough_and_less_is_told() {
    let namespace = api().namespace("rights");
    let exporter = lonely().start();
    pod_of(&namespace, "only", &exporter);
    api().kubectl(&["create", "serviceaccount", "anna", "-n", &namespace]);
    let anna = api().kubeconfig_for(&namespace, "anna");
    // The namespace comes from the context.
    let (status, out, err) = run_as(&anna, &["status"]);
    assert_eq!((status, out.as_str()), (3, ""), "{err}");
    let user =
        format!("User \"system:serviceaccount:{namespace}:anna\" cannot list resource \"pods\"");
    for part in [
        &user,
        "get and list of pods, get and create of pods/exec",
        &namespace,
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    api().apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: looks, namespace: {namespace}}}\n\
         rules: [{{apiGroups: [''], resources: [pods], verbs: [get, list]}}]\n"
    ));
    bind(&namespace, "looks");
    let mut last = String::new();
    eventually("pods may be listed", || {
        last = run_as(&anna, &["status"]).2;
        last.contains("pods/exec\" in API group")
    });
    assert!(
        last.contains("pod only: the cluster does not allow you"),
        "{last}"
    );
    assert!(last.contains("cannot get resource \"pods/exec\""), "{last}");
    let (status, ..) = run_as(&anna, &["status"]);
    assert_eq!(status, 3);

    api().apply(&role(&namespace));
    bind(&namespace, "pgexporter-ask");
    eventually("the page's role is enough", || {
        run_as(&anna, &["status"]).0 == 0
    });
    assert_eq!(run_as(&anna, &["conf", "set", "log_level", "debug"]).0, 0);
}

#[test]
fn a_token_that_is_not_known_is_told() {
    let admin = std::fs::read_to_string(api().kubeconfig_admin()).unwrap();
    let mut config: Value = serde_json::from_str(&admin).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": "Xyzzy"});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(&path, config.to_string()).unwrap();
    let (status, _, err) = run_as(&path, &["status"]);
    assert_eq!(status, 3);
    assert!(
        err.contains("rejected your credentials") && err.contains("--context"),
        "{err}"
    );
    assert!(!err.contains("Xyzzy"), "{err}");
}
