//! Credentials and authorities that change while targets are scraped.

use serde_json::Value;

use super::bed::*;
use super::support::*;

#[test]
fn a_wrong_password_is_told_and_mended_by_a_changed_secret_alone() {
    let (server, namespace) = (server(), api().namespace("rotation"));
    api().apply(&secret(&namespace, "s", "wrong-Xyzzy"));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    eventually_is(
        api(),
        &namespace,
        "db",
        "Ready",
        "False AuthenticationFailed",
    );
    assert_eq!(
        condition(api(), &namespace, "db", "Accepted"),
        "True Accepted"
    );
    api().apply(&secret(&namespace, "s", SECRET));
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    eventually_active(&exporter, &format!("{namespace}/db"));
    let told = status(api(), &namespace, "db").to_string() + &exporter.log();
    assert!(!told.contains("Xyzzy"), "{told}");
}

#[test]
fn tls_with_an_authority_and_a_client_certificate_out_of_the_cluster() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("another"));
    let identity = authority.server(&["orders-rw"]);
    let server = Postgres::builder(17)
        .hba("hostssl all alice 127.0.0.1/32 cert")
        .tls(&identity.certificate, &identity.key)
        .client_ca(authority.pem())
        .start();
    server.execute("CREATE ROLE alice LOGIN");
    let namespace = api().namespace("tls");
    let map = |pem: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: {namespace}}}\n\
             data: {{ca.crt: {}}}\n",
            Value::from(pem)
        )
    };
    let client = authority.client("alice");
    api().apply(&map(stranger.pem()));
    api().apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: alice, namespace: {namespace}}}\n\
         type: kubernetes.io/tls\nstringData: {{tls.crt: {}, tls.key: {}}}\n",
        Value::from(client.certificate.as_str()),
        Value::from(client.key.as_str())
    ));
    let spec = format!(
        "{{host: 127.0.0.1, port: {}, credentials: {{username: alice}}, tls: {{serverName: \
         orders-rw, caRef: {{name: ca}}, clientCertificateSecretRef: {{name: alice}}}}}}",
        server.port()
    );
    api().apply(&target(&namespace, "db", &spec));
    let exporter = exporter(api(), &namespace).start();
    eventually_is(api(), &namespace, "db", "Ready", "False TlsFailed");
    api().apply(&map(authority.pem()));
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    api().apply(&map("no certificate"));
    eventually_is(api(), &namespace, "db", "Accepted", "False InvalidTls");
    // It is scraped as before, which is not what it asks for.
    eventually_is(api(), &namespace, "db", "Ready", "False NotAccepted");
    assert_eq!(active(&exporter, &format!("{namespace}/db")), Some(1.0));
}

#[test]
fn where_secrets_may_not_be_watched_a_refused_password_is_read_again_at_once() {
    let (server, namespace) = (server(), api().namespace("refused"));
    let rules = "[{apiGroups: [pgexporter.io], resources: [postgrestargets], verbs: [list, watch]}, \
                 {apiGroups: [pgexporter.io], resources: [postgrestargets/status], verbs: [patch]}, \
                 {apiGroups: [''], resources: [secrets], verbs: [get]}]";
    api().apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: few, namespace: {namespace}}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: few, namespace: {namespace}}}\nrules: {rules}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: few, namespace: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: few}}\n\
         subjects: [{{kind: ServiceAccount, name: few, namespace: {namespace}}}]\n"
    ));
    with_monitor(&server);
    api().apply(&secret_of(&namespace, "s", "monitor", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace)
        .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "few"))
        .start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    api().apply(&secret_of(&namespace, "s", "monitor", "other-Xyzzy"));
    // Nobody is told of it, until the server refuses the old one.
    let changed = std::time::Instant::now();
    set_password(&server, "other-Xyzzy");
    eventually("the old password is refused", || {
        server.log().contains("password authentication failed")
    });
    eventually_active(&exporter, &name);
    let took = changed.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    assert!(!exporter.log().contains("Xyzzy"));
}
