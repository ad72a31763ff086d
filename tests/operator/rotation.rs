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
    let _exporter = exporter(api(), &namespace).start();
    eventually_is(api(), &namespace, "db", "Ready", "False TlsFailed");
    api().apply(&map(authority.pem()));
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    api().apply(&map("no certificate"));
    eventually_is(api(), &namespace, "db", "Accepted", "False InvalidTls");
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
}
