//! What the service account may and may not do.

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
        let line = format!("Secrets in the namespace {namespace} may not be watched");
        log.matches(&line).count()
    };
    eventually("a line says so", || told() > 0);
    assert_eq!(told(), 1, "{}", exporter.log());
}
