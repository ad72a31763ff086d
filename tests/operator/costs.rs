//! What one tenant's resource, server or namespace does costs no other.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::bed::*;
use super::support::*;

/// A file of metrics with one family, `pgexporter_<tag>_n`.
fn metric(tag: &str, kind: &str) -> String {
    format!(
        "version: 13\nmetrics:\n  - tag: {tag}\n    queries:\n      - query: SELECT 7\n        \
         columns: [{{name: n, type: {kind}}}]\n"
    )
}

const OWN: &str = ", metrics: [{configMapRef: {name: m}}]";

fn not_accepted(exporter: &Exporter, server: &str, reason: &str) -> bool {
    let labels = [("server", server), ("reason", reason)];
    let family = "pgexporter_postgresql_not_accepted";
    exporter.metrics().value(family, &labels) == Some(1.0)
}

#[test]
fn what_is_wrong_in_what_a_target_adds_costs_what_it_adds_and_nobody_else() {
    let (server, namespace) = (server(), api().namespace("adds"));
    let other = api().namespace("adds-other");
    for namespace in [&namespace, &other] {
        api().apply(&secret(namespace, "s", SECRET));
    }
    // Read in no time by who counts brackets, and within a minute by who does not.
    let nested = format!("metrics: {}", "[".repeat(100_000));
    api().apply(&config_map(&namespace, "m", "queries.yaml", &nested));
    for at in 0..8 {
        let name = format!("bad-{at}");
        api().apply(&target(&namespace, &name, &at_own(&server)));
    }
    api().apply(&target(&other, "good", &at(&server, "s", "")));
    let begin = || {
        exporter(api(), &format!("{namespace}, {other}"))
            .set("max_connections = 100")
            .start()
    };
    let first = begin();
    eventually_is(
        api(),
        &namespace,
        "bad-7",
        "Accepted",
        "False InvalidMetrics",
    );
    let said = message(api(), &namespace, "bad-7", "Accepted");
    assert!(said.contains("levels deep"), "{said}");
    drop(first);
    // The same after a restart: nothing of it was kept in memory.
    let exporter = begin();
    let began = std::time::Instant::now();
    eventually_active(&exporter, &format!("{other}/good"));
    let bad = format!("{namespace}/bad-7");
    eventually_active(&exporter, &bad);
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    assert!(not_accepted(&exporter, &bad, "InvalidMetrics"));
    eventually_is(api(), &namespace, "bad-7", "Ready", "False NotAccepted");

    // A column with a name that is Prometheus' to set, and a source that is right beside it.
    let text = "version: 13\nmetrics:\n  - tag: sly\n    query: SELECT 'prod', 1\n    columns: \
                [{name: job, type: label}, {type: gauge}]\n";
    api().apply(&config_map(&namespace, "sly", "queries.yaml", text));
    api().apply(&config_map(
        &namespace,
        "m",
        "queries.yaml",
        &metric("fine", "gauge"),
    ));
    let more = ", metrics: [{configMapRef: {name: sly}}, {configMapRef: {name: m}}, \
                {configMapRef: {name: nowhere}}]";
    api().apply(&target(&namespace, "sly", &at(&server, "s", more)));
    let sly = format!("{namespace}/sly");
    eventually_active(&exporter, &sly);
    eventually_is(
        api(),
        &namespace,
        "sly",
        "Accepted",
        "False ConfigMapNotFound",
    );
    let said = message(api(), &namespace, "sly", "Accepted");
    assert!(
        said.contains("the label job is set by Prometheus"),
        "{said}"
    );
    eventually("what is right of it is there", || {
        let samples = exporter.metrics();
        assert!(samples.all("pgexporter_sly").is_empty());
        samples.value("pgexporter_fine_n", &[("server", &sly)]) == Some(7.0)
    });
    // What is mended counts again.
    eventually_is(api(), &namespace, "bad-7", "Accepted", "True Accepted");
    eventually_is(api(), &namespace, "bad-7", "Ready", "True Scraped");

    // Each sample says whose it is, in a real Prometheus that honours labels, too.
    let refused = api()
        .try_apply(&target(
            &namespace,
            "bad-0",
            &at(&server, "s", ", labels: {namespace: x}"),
        ))
        .unwrap_err();
    assert!(refused.contains("Prometheus sets"), "{refused}");
    let address = format!("127.0.0.1:{}", exporter.port("metrics"));
    let prometheus = Prometheus::start(&[address], "groups: []");
    let mut rows = Vec::new();
    let came = within(DEADLINE, || {
        let expr = r#"{__name__=~"pgexporter_.+", server!=""}"#;
        rows = prometheus.query(expr).unwrap_or_default();
        rows.iter().any(|row| row.labels["server"] == sly)
    });
    assert!(came, "{}", prometheus.log());
    for row in &rows {
        let (namespace, _) = row.labels["server"].split_once('/').unwrap();
        assert_eq!(row.labels["namespace"], namespace, "{:?}", row.labels);
        assert_eq!(row.labels["job"], "pgexporter", "{:?}", row.labels);
    }
}

fn at_own(server: &Postgres) -> String {
    at(server, "s", OWN)
}

#[test]
fn the_older_of_two_targets_keeps_a_family_after_each_restart_and_refusals_are_shown() {
    let (server, namespace) = (server(), api().namespace("older"));
    api().apply(&secret(&namespace, "s", SECRET));
    for (name, kind) in [("m", "gauge"), ("other", "counter")] {
        api().apply(&config_map(
            &namespace,
            name,
            "queries.yaml",
            &metric("fam", kind),
        ));
    }
    // The older one is read last.
    api().apply(&target(&namespace, "z-old", &at_own(&server)));
    std::thread::sleep(Duration::from_millis(1_100));
    let spec = at(&server, "s", ", metrics: [{configMapRef: {name: other}}]");
    api().apply(&target(&namespace, "a-young", &spec));
    api().apply(&target(&namespace, "lost", &at(&server, "nowhere", "")));
    let [old, young, lost] = ["z-old", "a-young", "lost"].map(|name| format!("{namespace}/{name}"));
    for _ in 0..2 {
        let exporter = exporter(api(), &namespace).start();
        eventually_is(
            api(),
            &namespace,
            "a-young",
            "Accepted",
            "False InvalidMetrics",
        );
        for name in [&old, &young] {
            eventually_active(&exporter, name);
        }
        eventually("the older one has it", || {
            let samples = exporter.metrics();
            assert_eq!(
                samples.value("pgexporter_fam_n", &[("server", &young)]),
                None
            );
            samples.value("pgexporter_fam_n", &[("server", &old)]) == Some(7.0)
        });
        assert_eq!(
            condition(api(), &namespace, "z-old", "Accepted"),
            "True Accepted"
        );
        let labels = [("server", lost.as_str()), ("namespace", namespace.as_str())];
        let samples = exporter.metrics();
        assert_eq!(
            samples.value("pgexporter_postgresql_active", &labels),
            Some(0.0)
        );
        assert!(not_accepted(&exporter, &lost, "SecretNotFound"));
        let complaints = promtool_check(&exporter.get("/metrics").body).unwrap();
        let ours = complaints.iter().find(|line| line.contains("not_accepted"));
        assert_eq!(ours, None);
    }
    let exporter = exporter(api(), &namespace).start();
    eventually_active(&exporter, &young);
    api().kubectl(&["delete", "pgt", "z-old", "-n", &namespace]);
    eventually_is(api(), &namespace, "a-young", "Accepted", "True Accepted");
    eventually("the younger one has it now", || {
        exporter
            .metrics()
            .value("pgexporter_fam_n", &[("server", &young)])
            == Some(7.0)
    });

    // A change that is refused satisfies no gate, though samples flow.
    eventually_is(api(), &namespace, "a-young", "Ready", "True Scraped");
    let broken = at(
        &server,
        "s",
        ", tls: {mode: require, caRef: {name: nowhere}}",
    );
    api().apply(&target(&namespace, "a-young", &broken));
    eventually_is(api(), &namespace, "a-young", "Ready", "False NotAccepted");
    assert_eq!(active(&exporter, &young), Some(1.0));
    let wait = [
        "wait",
        "--for=condition=Ready",
        "--timeout=3s",
        "pgt/a-young",
        "-n",
        &namespace,
    ];
    let waited = api().kubectl_as(&api().kubeconfig_admin(), &wait);
    assert!(waited.is_err(), "{waited:?}");
    let table = api().kubectl(&["get", "pgt", "-n", &namespace]);
    assert!(table.contains("ACCEPTED"), "{table}");
    let all = api().kubectl(&["get", "all", "-n", &namespace]);
    assert!(!all.contains("a-young"), "{all}");
}

#[test]
fn swapped_keys_of_a_secret_show_the_password_nowhere() {
    let (server, namespace) = (server(), api().namespace("swapped"));
    api().apply(&secret_of(&namespace, "s", "postgres", "s3cret-Xyzzy"));
    let spec = format!(
        "{{host: {}, port: {}, credentials: {{secretRef: {{name: s, usernameKey: password, \
         passwordKey: username}}}}}}",
        server.host(),
        server.port()
    );
    api().apply(&target(&namespace, "db", &spec));
    let exporter = exporter(api(), &namespace).start();
    eventually_is(
        api(),
        &namespace,
        "db",
        "Ready",
        "False AuthenticationFailed",
    );
    assert!(
        server.log().contains("s3cret-Xyzzy"),
        "the server knows it as the user"
    );
    eventually("it is told", || !events(api(), &namespace, "db").is_empty());
    let told = [
        resource(api(), &namespace, "db").to_string(),
        format!("{:?}", events(api(), &namespace, "db")),
        exporter.log(),
        exporter.get("/").body,
        exporter.get("/metrics").body,
    ];
    for told in told {
        assert!(!told.contains("Xyzzy"), "{told}");
    }
    let said = message(api(), &namespace, "db", "Ready");
    assert!(said.contains("[redacted]"), "{said}");
    // A name that is too long for a role is no name.
    api().apply(&secret_of(&namespace, "s", "postgres", &"Xyzzy".repeat(20)));
    eventually_is(
        api(),
        &namespace,
        "db",
        "Accepted",
        "False SecretKeyMissing",
    );
    let told = resource(api(), &namespace, "db").to_string() + &exporter.log();
    assert!(!told.contains("Xyzzy"), "{told}");
}

/// A peer that refuses each login in other words, of many bytes.
struct Babbler {
    port: u16,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Babbler {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (Arc::clone(&asked), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                let mut head = [0; 8];
                let _ = stream.read_exact(&mut head);
                // SSLRequest is answered with no.
                if head[4..] == [4, 210, 22, 47] {
                    let _ = stream.write_all(b"N");
                    let _ = stream.read(&mut [0; 512]);
                }
                let times = count.fetch_add(1, Ordering::Relaxed);
                let text = format!("number {times} {}", "\u{1b}[31mwords ".repeat(1_000));
                let fields = format!("SFATAL\0VFATAL\0C58000\0M{text}\0\0");
                let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&[b'E'][..], &length, fields.as_bytes()].concat());
            }
        });
        Self { port, asked, over }
    }
}

impl Drop for Babbler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[test]
fn words_that_change_write_no_status_and_a_status_that_was_written_over_is_put_right() {
    let (server, namespace) = (server(), api().namespace("words"));
    let babbler = Babbler::start();
    api().apply(&secret(&namespace, "s", SECRET));
    let spec = at(&server, "s", "").replace(&server.port().to_string(), &babbler.port.to_string());
    api().apply(&target(&namespace, "babbler", &spec));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    // A namespace that is not there holds up nothing.
    let exporter = exporter(api(), &format!("{namespace}, never-was")).start();
    eventually("it is ready", || {
        readyz(&exporter) == (200, "ok".to_owned())
    });
    eventually_is(api(), &namespace, "babbler", "Ready", "False ServerError");
    let said = message(api(), &namespace, "babbler", "Ready");
    assert!(
        said.len() <= 1_024 && said.contains("words"),
        "{}: {said}",
        said.len()
    );
    assert!(!said.contains('\u{1b}'), "{said}");
    let version =
        |name: &str| resource(api(), &namespace, name)["metadata"]["resourceVersion"].clone();
    let (before, asked) = (version("babbler"), babbler.asked.load(Ordering::Relaxed));
    eventually("it was asked many times more", || {
        exporter.metrics();
        babbler.asked.load(Ordering::Relaxed) > asked + 4
    });
    assert_eq!(
        version("babbler"),
        before,
        "{}",
        status(api(), &namespace, "babbler")
    );

    // Somebody else writes over what we wrote.
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    let patch = r#"{"status":{"server":"theirs","conditions":[]}}"#;
    let path = format!("pgt/{}", "db");
    api().kubectl(&[
        "patch",
        &path,
        "-n",
        &namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    ]);
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    eventually("it is put right", || {
        status(api(), &namespace, "db")["server"] == format!("{namespace}/db")
    });
    // And then there is peace.
    std::thread::sleep(Duration::from_secs(6));
    let before = version("db");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(version("db"), before, "{}", status(api(), &namespace, "db"));
}

#[test]
fn ports_and_sample_limits_have_bounds_that_a_reload_moves() {
    let (server, namespace) = (server(), api().namespace("limits"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(
        &namespace,
        "db",
        &at(&server, "s", ", sampleLimit: 900000"),
    ));
    let low = at(&server, "s", "").replace(&server.port().to_string(), "1023");
    api().apply(&target(&namespace, "low", &low));
    let exporter = exporter(api(), &namespace)
        .set("kubernetes_max_samples_per_target = 100")
        .set("kubernetes_allowed_ports = 1024-65535")
        .start();
    let (db, low) = (format!("{namespace}/db"), format!("{namespace}/low"));
    eventually_active(&exporter, &db);
    eventually_is(api(), &namespace, "low", "Accepted", "False InvalidHost");
    assert_eq!(active(&exporter, &low), Some(0.0));
    let samples = exporter.metrics();
    assert!(
        !samples
            .with("pgexporter_postgresql_left_out", &[("server", &db)])
            .is_empty()
    );
    // What is narrowed ends what was scraped before.
    let text = exporter.config_text();
    exporter.write_config(&text.replace("1024-65535", "22, 1000-1023"));
    exporter.signal(rustix::process::Signal::HUP);
    eventually_is(api(), &namespace, "db", "Accepted", "False InvalidHost");
    eventually("it is scraped no longer", || {
        active(&exporter, &db) == Some(0.0)
    });
    eventually_is(api(), &namespace, "low", "Accepted", "True Accepted");
}
