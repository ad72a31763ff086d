//! Whoever may apply a target of his own can hurt no other, nor the exporter.

use super::bed::*;
use super::support::*;

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

/// A metric with one gauge, and labels of the text columns that come before it.
fn metric(tag: &str, sql: &str, labels: &[&str], kind: &str) -> String {
    let labels: String = labels
        .iter()
        .map(|label| format!("{{name: {label}, type: label}}, "))
        .collect();
    format!(
        "version: 13\nmetrics:\n  - tag: {tag}\n    queries:\n      - query: {sql}\n        \
         columns: [{labels}{{name: n, type: {kind}}}]\n"
    )
}

#[test]
fn too_many_samples_leave_out_whole_families_of_that_target_alone() {
    let (server, namespace) = (server(), api().namespace("samples"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "free", &at(&server, "s", "")));
    // The settings alone are some 370.
    let spec = at(&server, "s", ", sampleLimit: 600");
    api().apply(&target(&namespace, "tight", &spec));
    let spec = at(&server, "s", ", sampleLimit: 7");
    api().apply(&target(&namespace, "tiny", &spec));
    let exporter = exporter(api(), &namespace).start();
    let [free, tight, tiny] = ["free", "tight", "tiny"].map(|name| format!("{namespace}/{name}"));
    for name in [&free, &tight, &tiny] {
        eventually_active(&exporter, name);
    }
    // The second scrape sends early what the first one has left.
    for _ in 0..3 {
        let samples = exporter.metrics();
        let own = |family: &str| family.starts_with("pgexporter_postgresql_");
        let (mut all, mut kept, mut left) = (0, 0, 0);
        for family in samples.families() {
            let counts = [&free, &tight, &tiny].map(|name| of_server(&samples, family, name));
            if own(family) || counts[0] == 0 {
                continue;
            }
            all += counts[0];
            kept += counts[1];
            left += usize::from(counts[1] == 0);
            // Who waits for what is another thing at each look.
            let moves = family == "pgexporter_pg_wait_event_count";
            assert!(
                counts[1] == 0 || counts[1] == counts[0] || moves,
                "{family} has {} of {} samples",
                counts[1],
                counts[0]
            );
        }
        assert!(all > 600 && kept <= 600 && kept > 370, "{kept} of {all}");
        assert!(left > 0);
        let counted = samples.with("pgexporter_postgresql_left_out", &[("server", &tight)]);
        let counted: f64 = counted.iter().map(|sample| sample.value).sum();
        assert!(counted >= 1.0, "{counted}");
        assert!(
            samples
                .with("pgexporter_postgresql_left_out", &[("server", &free)])
                .is_empty()
        );
        // Nothing of the catalogue fits, and it is served all the same.
        assert_eq!(active(&exporter, &tiny), Some(1.0));
        assert_eq!(
            of_server(&samples, "pgexporter_pg_settings_work_mem", &tiny),
            0
        );
    }
    eventually("the status says so", || {
        message(api(), &namespace, "tight", "Ready").contains("sampleLimit 600 leaves out")
    });
    assert_eq!(
        condition(api(), &namespace, "tight", "Ready"),
        "True Scraped"
    );
    let status = status(api(), &namespace, "free");
    assert!(status["samples"].as_u64().unwrap() > 600, "{status}");
    assert!(status["families"].as_u64().unwrap() > 50, "{status}");
    assert!(status["lastScrapeTime"].is_string(), "{status}");
}

#[test]
fn metrics_of_its_own_come_out_of_config_maps_and_stay_its_own() {
    let (server, namespace) = (server(), api().namespace("metrics"));
    api().apply(&secret(&namespace, "s", SECRET));
    let text = metric("orders", "SELECT 'a', 7", &["kind"], "gauge");
    api().apply(&config_map(&namespace, "m", "queries.yaml", &text));
    let json = r#"{"version": 13, "metrics": [{"tag": "carts", "queries": [{"query":
        "SELECT current_setting('statement_timeout'), 3",
        "columns": [{"name": "limit", "type": "label"}, {"type": "gauge"}]}]}]}"#;
    api().apply(&config_map(&namespace, "j", "q.json", json));
    let spec = at(
        &server,
        "s",
        ", timeouts: {query: 9m}, metrics: [{configMapRef: {name: m}}, \
         {configMapRef: {name: j, key: q.json}}]",
    );
    api().apply(&target(&namespace, "own", &spec));
    api().apply(&target(&namespace, "plain", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace)
        .set("metrics_query_timeout = 3s")
        .start();
    let [own, plain] = ["own", "plain"].map(|name| format!("{namespace}/{name}"));
    eventually_active(&exporter, &own);
    eventually_active(&exporter, &plain);
    for _ in 0..3 {
        let samples = exporter.metrics();
        let labels = [("server", own.as_str()), ("kind", "a")];
        assert_eq!(samples.value("pgexporter_orders_n", &labels), Some(7.0));
        assert_eq!(of_server(&samples, "pgexporter_orders_n", &plain), 0);
        // What the target asks for is cut to what the exporter grants.
        let labels = [("server", own.as_str()), ("limit", "3s")];
        assert_eq!(samples.value("pgexporter_carts", &labels), Some(3.0));
        let family = "pgexporter_pg_database_size";
        assert_eq!(
            of_server(&samples, family, &own),
            of_server(&samples, family, &plain)
        );
    }
    let kept = session(&server);
    let text = metric("orders", "SELECT 'b', 8", &["kind"], "gauge");
    api().apply(&config_map(&namespace, "m", "queries.yaml", &text));
    eventually("the changed metric is scraped", || {
        let labels = [("server", own.as_str()), ("kind", "b")];
        exporter.metrics().value("pgexporter_orders_n", &labels) == Some(8.0)
    });
    assert_eq!(session(&server), kept, "for that no session is needed anew");

    // Whatever would spoil the scrape of others is refused, and costs what the target adds.
    let cases = [
        (
            metric("orders", "SELECT 'x', 1", &["server"], "gauge"),
            "exporter's own",
        ),
        (
            metric("pg_database", "SELECT 1", &[], "counter").replace("name: n", "name: size"),
            "types differ",
        ),
        (
            metric("kubernetes", "SELECT 1", &[], "gauge"),
            "exporter's own",
        ),
        ("metrics: [{tag: a}]".to_owned(), "query is missing"),
    ];
    for (text, words) in cases {
        api().apply(&config_map(&namespace, "m", "queries.yaml", &text));
        eventually(&format!("{text} is refused"), || {
            condition(api(), &namespace, "own", "Accepted") == "False InvalidMetrics"
                && message(api(), &namespace, "own", "Accepted").contains(words)
        });
        let labels = [("server", own.as_str()), ("kind", "b")];
        let samples = exporter.metrics();
        assert_eq!(samples.value("pgexporter_orders_n", &labels), None);
        assert_eq!(active(&exporter, &own), Some(1.0));
        // The other source is right.
        let labels = [("server", own.as_str()), ("limit", "3s")];
        assert_eq!(samples.value("pgexporter_carts", &labels), Some(3.0));
        let text = metric("orders", "SELECT 'b', 8", &["kind"], "gauge");
        api().apply(&config_map(&namespace, "m", "queries.yaml", &text));
        eventually_is(api(), &namespace, "own", "Accepted", "True Accepted");
    }
    let text = metric("orders", "SELECT 'a', 7", &["kind"], "counter");
    api().apply(&config_map(&namespace, "other", "queries.yaml", &text));
    let spec = at(&server, "s", ", metrics: [{configMapRef: {name: other}}]");
    api().apply(&target(&namespace, "clash", &spec));
    eventually_is(
        api(),
        &namespace,
        "clash",
        "Accepted",
        "False InvalidMetrics",
    );
    let told = message(api(), &namespace, "clash", "Accepted");
    assert!(
        told.contains("gauge pgexporter_orders_n of another target"),
        "{told}"
    );
    let spec = at(
        &server,
        "s",
        ", labels: {kind: x}, metrics: [{configMapRef: {name: m}}]",
    );
    api().apply(&target(&namespace, "label", &spec));
    eventually_is(
        api(),
        &namespace,
        "label",
        "Accepted",
        "False InvalidMetrics",
    );
}

#[test]
fn a_namespace_has_no_more_targets_than_it_may_and_the_oldest_stay() {
    let (server, namespace) = (server(), api().namespace("places"));
    api().apply(&secret(&namespace, "s", SECRET));
    // Creation times have whole seconds, and names decide among equals.
    for name in ["a", "b", "c"] {
        api().apply(&target(&namespace, name, &at(&server, "s", "")));
    }
    let exporter = exporter(api(), &namespace)
        .set("kubernetes_max_targets_per_namespace = 2")
        .start();
    eventually_is(api(), &namespace, "c", "Accepted", "False TooManyTargets");
    eventually_active(&exporter, &format!("{namespace}/a"));
    eventually_active(&exporter, &format!("{namespace}/b"));
    let c = format!("{namespace}/c");
    assert_eq!(active(&exporter, &c), Some(0.0));
    let told = message(api(), &namespace, "c", "Accepted");
    assert!(
        told.contains("kubernetes_max_targets_per_namespace"),
        "{told}"
    );
    api().kubectl(&["delete", "pgt", "a", "-n", &namespace]);
    eventually_is(api(), &namespace, "c", "Ready", "True Scraped");
    eventually_active(&exporter, &c);
    // A reload counts as well.
    let text = exporter
        .config_text()
        .replace("namespace = 2", "namespace = 1");
    exporter.write_config(&text);
    exporter.signal(rustix::process::Signal::HUP);
    eventually_is(api(), &namespace, "c", "Accepted", "False TooManyTargets");
    eventually("it is no longer scraped", || {
        active(&exporter, &c) == Some(0.0)
    });
}

#[test]
fn allowed_hosts_narrow_what_a_target_may_name() {
    let (server, namespace) = (server(), api().namespace("hosts"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let spec = at(&server, "s", "").replace(server.host(), "DB.Elsewhere.example.");
    api().apply(&target(&namespace, "far", &spec));
    let exporter = exporter(api(), &namespace)
        .set("kubernetes_allowed_hosts = 127.0.0.*, *.svc")
        .start();
    eventually_is(api(), &namespace, "far", "Accepted", "False InvalidHost");
    let told = message(api(), &namespace, "far", "Accepted");
    assert!(told.contains("127.0.0.*, *.svc"), "{told}");
    eventually_active(&exporter, &format!("{namespace}/db"));
    let text = exporter
        .config_text()
        .replace("*.svc", "*.elsewhere.example");
    exporter.write_config(&text);
    exporter.signal(rustix::process::Signal::HUP);
    eventually_is(api(), &namespace, "far", "Accepted", "True Accepted");
}
