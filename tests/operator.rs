//! `PostgresTarget` resources as their users have them: applied to a real API server, scraped by
//! the real program under the rights that `deploy/base` gives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::Value;
use support::exporter::ExporterBuilder;
use support::{ApiServer, Authority, Exporter, Postgres, eventually};

const SECRET: &str = "pa55:w\\rd-Xyzzy";
/// Where the service account of the exporter is.
const HOME: &str = "monitoring";

fn api() -> &'static ApiServer {
    static API: OnceLock<ApiServer> = OnceLock::new();
    API.get_or_init(prepared)
}

/// An API server with what `deploy/base` holds, deployed as the documentation says.
fn prepared() -> ApiServer {
    let api = ApiServer::start();
    api.kubectl(&["create", "namespace", HOME]);
    let folder = api.folder().join("overlay");
    fs::create_dir(&folder).unwrap();
    // Kustomize wants a path relative to where it stands.
    let up = "../".repeat(folder.canonicalize().unwrap().components().count() - 1);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base");
    let base = base.strip_prefix("/").unwrap().display().to_string();
    let text = format!("namespace: {HOME}\nresources:\n  - {up}{base}\n");
    fs::write(folder.join("kustomization.yaml"), text).unwrap();
    let text = api.kubectl(&["kustomize", folder.to_str().unwrap()]);
    api.apply(&text);
    let crd = "crd/postgrestargets.pgexporter.io";
    api.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=30s"]);
    api
}

/// An exporter that reads one namespace, as the shipped service account. The servers of the tests
/// are on loopback.
fn exporter(api: &ApiServer, namespace: &str) -> ExporterBuilder {
    careful(api, namespace).set("kubernetes_allow_local_hosts = on")
}

/// The same, which lets no target be on loopback.
fn careful(api: &ApiServer, namespace: &str) -> ExporterBuilder {
    Exporter::builder()
        .set("kubernetes = on")
        .set(&format!("kubernetes_namespaces = {namespace}"))
        .variable("KUBECONFIG", api.kubeconfig_for(HOME, "pgexporter"))
        .variable("POD_NAME", "pgexporter-0")
}

fn server() -> Postgres {
    Postgres::builder(17)
        .password(SECRET, "scram-sha-256")
        .start()
}

fn secret(namespace: &str, name: &str, password: &str) -> String {
    let password = Value::from(password);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         stringData: {{username: postgres, password: {password}}}\n"
    )
}

/// A target whose spec is a line of YAML in braces.
fn target(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: pgexporter.io/v1alpha1\nkind: PostgresTarget\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{of: {namespace}}}}}\n\
         spec: {spec}\n"
    )
}

fn at(server: &Postgres, secret: &str, more: &str) -> String {
    format!(
        "{{host: {}, port: {}, credentials: {{secretRef: {{name: {secret}}}}}{more}}}",
        server.host(),
        server.port()
    )
}

fn status(api: &ApiServer, namespace: &str, name: &str) -> Value {
    let found = api.get_json("pgt", namespace, name);
    found.map_or(Value::Null, |target| target["status"].clone())
}

/// `True`, `False` or `Unknown`, with the reason; nothing when there is no such condition.
fn condition(api: &ApiServer, namespace: &str, name: &str, kind: &str) -> String {
    let status = status(api, namespace, name);
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        format!(
            "{} {}",
            one["status"].as_str().unwrap(),
            one["reason"].as_str().unwrap()
        )
    })
}

#[track_caller]
fn eventually_is(api: &ApiServer, namespace: &str, name: &str, kind: &str, wanted: &str) {
    let mut last = Value::Null;
    let came = support::within(support::DEADLINE, || {
        last = status(api, namespace, name);
        condition(api, namespace, name, kind) == wanted
    });
    assert!(
        came,
        "{namespace}/{name} does not become {kind}={wanted}: {last:#}"
    );
}

fn active(exporter: &Exporter, server: &str) -> Option<f64> {
    exporter
        .metrics()
        .value("pgexporter_postgresql_active", &[("server", server)])
}

#[track_caller]
fn eventually_active(exporter: &Exporter, server: &str) {
    eventually(&format!("{server} is scraped"), || {
        active(exporter, server) == Some(1.0)
    });
}

#[test]
fn each_rule_of_the_schema_takes_a_good_resource_and_refuses_a_bad_one_in_words() {
    let namespace = api().namespace("rules");
    let with = |spec: &str| {
        let credentials = "credentials: {username: monitor}";
        format!("{{host: db, {credentials}, {spec}}}")
    };
    let host = |host: &str| format!("{{host: \"{host}\", credentials: {{username: monitor}}}}");
    let credentials = |text: &str| format!("{{host: db, credentials: {text}}}");
    let cases = [
        (host("orders-rw.shop.svc"), host("/run/postgresql"), "host takes a DNS name or an address alone"),
        (host("fd00::17"), host("me@db"), "host takes a DNS name or an address alone"),
        (host("10.0.0.7"), host("db:5432"), "host takes a DNS name or an address alone"),
        (with("port: 65535"), with("port: 65536"), "port takes 1 to 65535"),
        (with("port: 1"), with("port: 0"), "port takes 1 to 65535"),
        (with("labels: {team: shop}"), with("labels: {team-a: shop}"), "letters, digits and _ only"),
        (with("labels: {_x9: ''}"), with("labels: {server: other}"), "not yours to set"),
        (with("labels: {x__: z}"), with("labels: {__name__: z}"), "not yours to set"),
        (with("timeouts: {connect: 500ms}"), with("timeouts: {connect: 5}"), "connect"),
        (with("timeouts: {query: 10s}"), with("timeouts: {query: soon}"), "number above 0 with ms, s or m"),
        (with("timeouts: {lock: 1m}"), with("timeouts: {lock: 0s}"), "number above 0 with ms, s or m"),
        (
            credentials("{secretRef: {name: a}}"),
            credentials("{secretRef: {name: a}, username: b}"),
            "credentials come from one source",
        ),
        (credentials("{username: b}"), credentials("{}"), "credentials come from one source"),
        (
            credentials("{secretRef: {name: a.b-c}}"),
            credentials("{secretRef: {name: ../b}}"),
            "the name of an object in this namespace",
        ),
        (
            credentials("{secretRef: {name: a, passwordKey: pg.pass}}"),
            credentials("{secretRef: {name: a, passwordKey: a/b}}"),
            "a key of a Secret",
        ),
        (
            with("tls: {mode: require, caRef: {name: ca}}"),
            with("tls: {mode: disable, caRef: {name: ca}}"),
            "mode disable speaks no TLS",
        ),
        (
            with("tls: {caRef: {name: ca}, serverName: orders-rw}"),
            with("tls: {mode: verify-ca, serverName: orders-rw}"),
            "serverName is checked with mode verify-full alone",
        ),
        (
            "{host: 10.0.0.7, credentials: {username: m}, tls: {mode: verify-full, serverName: db}}".into(),
            "{host: 10.0.0.7, credentials: {username: m}, tls: {mode: verify-full}}".into(),
            "no name to verify",
        ),
        (with("tls: {mode: prefer}"), with("tls: {mode: sometimes}"), "Unsupported value"),
        (with("databases: {include: ['shop*']}"), with("databases: {include: ['']}"), "databases"),
        (with("collectors: {exclude: [bloat]}"), with("collectors: {exclude: ['']}"), "collectors"),
        (with("paused: true"), with("socket: /tmp"), "socket"),
    ];
    for (good, bad, words) in cases {
        if let Err(said) = api().try_apply(&target(&namespace, "t", &good)) {
            panic!("{good} is refused: {said}");
        }
        let said = api().try_apply(&target(&namespace, "bad", &bad)).err();
        let said = said.unwrap_or_else(|| panic!("{bad} is taken"));
        assert!(said.contains(words), "{bad}: {said}");
    }
    let kept = api().get_json("pgt", &namespace, "t").unwrap();
    assert_eq!(kept["spec"]["port"], 5432);
    assert_eq!(kept["spec"]["database"], "postgres");
    assert_eq!(kept["spec"]["databases"]["exclude"][0], "template*");
}

#[test]
fn a_target_with_a_secret_becomes_ready_and_a_deleted_one_is_gone() {
    let (server, namespace) = (server(), api().namespace("ready"));
    api().apply(&secret(&namespace, "orders-monitor", SECRET));
    let spec = at(&server, "orders-monitor", ", labels: {team: shop}");
    api().apply(&target(&namespace, "orders", &spec));
    let exporter = exporter(api(), &namespace).start();
    let name = format!("{namespace}/orders");
    eventually_active(&exporter, &name);
    let samples = exporter.metrics();
    let labels = [("server", name.as_str()), ("team", "shop")];
    for family in [
        "pgexporter_pg_database_size",
        "pgexporter_postgresql_active",
    ] {
        assert!(!samples.with(family, &labels).is_empty(), "{family}");
    }
    eventually_is(api(), &namespace, "orders", "Ready", "True Scraped");
    let status = status(api(), &namespace, "orders");
    assert_eq!(
        condition(api(), &namespace, "orders", "Accepted"),
        "True Accepted"
    );
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["server"], name);
    assert_eq!(status["role"], "primary");
    assert_eq!(status["owner"], "pgexporter-0");
    assert!(
        status["version"].as_str().unwrap().starts_with("17."),
        "{status}"
    );
    let table = api().kubectl(&["get", "pgt", "-n", &namespace]);
    for word in [
        "HOST", "READY", "ROLE", "VERSION", "OWNER", "AGE", "True", "primary",
    ] {
        assert!(table.contains(word), "{table}");
    }
    let explained = api().kubectl(&["explain", "pgt.spec.tls.mode"]);
    assert!(explained.contains("sslmode"), "{explained}");

    api().kubectl(&["delete", "pgt", "orders", "-n", &namespace]);
    eventually("its samples are gone", || {
        active(&exporter, &name).is_none()
    });
    eventually("its session is closed", || {
        server.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgexporter'")
            == "0"
    });
    assert!(!exporter.log().contains(SECRET));
}

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
fn what_is_missing_is_told_and_holds_up_no_other() {
    let (server, namespace) = (server(), api().namespace("missing"));
    api().apply(&target(&namespace, "lost", &at(&server, "nowhere", "")));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "good", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    eventually_is(
        api(),
        &namespace,
        "lost",
        "Accepted",
        "False SecretNotFound",
    );
    eventually_is(api(), &namespace, "lost", "Ready", "False NotAccepted");
    eventually_is(api(), &namespace, "good", "Ready", "True Scraped");

    // What is wrong keeps the last good configuration, unless its credentials are gone.
    let broken = at(
        &server,
        "s",
        ", tls: {mode: require, caRef: {name: nowhere}}",
    );
    api().apply(&target(&namespace, "good", &broken));
    eventually_is(
        api(),
        &namespace,
        "good",
        "Accepted",
        "False ConfigMapNotFound",
    );
    let good = format!("{namespace}/good");
    assert_eq!(active(&exporter, &good), Some(1.0));
    let keyless = "stringData: {username: postgres}\n";
    let text = secret(&namespace, "empty", "x");
    let text = text.split("stringData").next().unwrap().to_owned() + keyless;
    api().apply(&text);
    api().apply(&target(&namespace, "good", &at(&server, "empty", "")));
    eventually_is(
        api(),
        &namespace,
        "good",
        "Accepted",
        "False SecretKeyMissing",
    );
    eventually("it is no longer scraped", || {
        active(&exporter, &good).is_none()
    });

    api().apply(&secret(&namespace, "nowhere", SECRET));
    eventually_is(api(), &namespace, "lost", "Ready", "True Scraped");
}

#[test]
fn a_paused_target_is_not_scraped_until_it_is_resumed() {
    let (server, namespace) = (server(), api().namespace("paused"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(
        &namespace,
        "db",
        &at(&server, "s", ", paused: true"),
    ));
    let exporter = exporter(api(), &namespace).start();
    eventually_is(api(), &namespace, "db", "Ready", "False Paused");
    let name = format!("{namespace}/db");
    assert_eq!(active(&exporter, &name), None);
    api().apply(&target(
        &namespace,
        "db",
        &at(&server, "s", ", paused: false"),
    ));
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    assert_eq!(active(&exporter, &name), Some(1.0));
}

#[test]
fn servers_of_the_file_and_of_all_namespaces_are_one_list_and_a_reload_keeps_both() {
    let (own, theirs) = (Postgres::start(18), server());
    let namespace = api().namespace("list");
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&theirs, "s", "")));
    let exporter = exporter(api(), "")
        .set(&format!("kubernetes_selector = of={namespace}"))
        .server("own", &own)
        .start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    eventually_active(&exporter, "own");
    let pid =
        || theirs.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter'");
    let kept = pid();
    let text = exporter.config_text();
    exporter.write_config(&text.replace("[own]", "[renamed]"));
    exporter.signal(Signal::HUP);
    eventually_active(&exporter, "renamed");
    let servers = exporter.metrics();
    let servers: Vec<_> = servers
        .all("pgexporter_postgresql_active")
        .iter()
        .map(|sample| sample.labels["server"].clone())
        .collect();
    assert_eq!(servers.len(), 2, "{servers:?}");
    assert_eq!(active(&exporter, &name), Some(1.0));
    assert_eq!(pid(), kept, "the session of the other server was touched");
}

#[test]
fn a_target_may_not_be_at_an_address_of_the_exporter_itself() {
    let (server, namespace) = (server(), api().namespace("local"));
    api().apply(&secret(&namespace, "s", SECRET));
    let hosts = [
        ("literal", "127.0.0.1"),
        ("word", "localhost"),
        ("mapped", "\"::ffff:127.0.0.1\""),
        ("link", "169.254.169.254"),
        ("zero", "0.0.0.0"),
        // A name that the resolver takes for an address.
        ("short", "\"127.1\""),
    ];
    for (name, host) in hosts {
        let spec = format!(
            "{{host: {host}, port: {}, credentials: {{secretRef: {{name: s}}}}}}",
            server.port()
        );
        api().apply(&target(&namespace, name, &spec));
    }
    let _exporter = careful(api(), &namespace).start();
    for (name, _) in &hosts[..5] {
        eventually_is(api(), &namespace, name, "Accepted", "False InvalidHost");
    }
    eventually_is(
        api(),
        &namespace,
        "short",
        "Ready",
        "False ConnectionRefused",
    );
    let told = status(api(), &namespace, "short").to_string();
    assert!(
        told.contains("an address of the exporter's own machine"),
        "{told}"
    );
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgexporter'";
    assert_eq!(server.value(sessions), "0");
    assert!(!server.log().contains("FATAL"), "{}", server.log());
}

#[test]
fn an_idle_cluster_costs_no_write_and_readyz_waits_for_the_first_list() {
    let (server, namespace) = (server(), api().namespace("idle"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    let url = format!("http://127.0.0.1:{}/readyz", exporter.port("health"));
    eventually("it is ready", || {
        support::exporter::get(&url, &[]).is_ok_and(|answer| answer.status == 200)
    });
    // Ready means resolved: the very next scrape has the target.
    assert!(active(&exporter, &format!("{namespace}/db")).is_some());
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    let version = || {
        let target = api().get_json("pgt", &namespace, "db").unwrap();
        target["metadata"]["resourceVersion"].clone()
    };
    let before = version();
    let written = support::within(std::time::Duration::from_secs(8), || {
        exporter.metrics();
        version() != before
    });
    assert!(!written, "{}", status(api(), &namespace, "db"));
}

#[test]
fn scraping_goes_on_without_the_api_server_and_changes_count_when_it_is_back() {
    let api = prepared();
    let (server, namespace) = (server(), api.namespace("away"));
    api.apply(&secret(&namespace, "s", SECRET));
    api.apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(&api, &namespace).start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    let pid =
        || server.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter'");
    let kept = pid();
    api.stop();
    eventually("it is noticed", || {
        exporter.log().contains("cannot be watched")
    });
    assert_eq!(active(&exporter, &name), Some(1.0));
    api.start_again();
    api.apply(&target(&namespace, "more", &at(&server, "s", "")));
    let more = format!("{namespace}/more");
    eventually("the new one is scraped", || {
        active(&exporter, &more) == Some(1.0)
    });
    assert_eq!(active(&exporter, &name), Some(1.0));
    assert!(
        server
            .text("SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgexporter'")
            .iter()
            .any(|row| row[0].as_deref() == Some(&kept)),
        "its session was not kept"
    );
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
