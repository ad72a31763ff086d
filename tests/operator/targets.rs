//! What becomes of a target: accepted, scraped, told, changed, gone.

use super::bed::*;
use super::support::*;

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
        "HOST", "ACCEPTED", "READY", "ROLE", "VERSION", "OWNER", "AGE", "True", "primary",
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
        active(&exporter, &good) == Some(0.0)
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
    exporter.signal(rustix::process::Signal::HUP);
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
fn an_idle_cluster_costs_no_write_and_readyz_waits_for_the_first_list() {
    let (server, namespace) = (server(), api().namespace("idle"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    eventually("it is ready", || {
        readyz(&exporter) == (200, "ok".to_owned())
    });
    // Ready means resolved: the very next scrape has the target.
    assert!(active(&exporter, &format!("{namespace}/db")).is_some());
    eventually_is(api(), &namespace, "db", "Ready", "True Scraped");
    let version = || {
        let target = api().get_json("pgt", &namespace, "db").unwrap();
        target["metadata"]["resourceVersion"].clone()
    };
    let before = version();
    let written = within(std::time::Duration::from_secs(8), || {
        exporter.metrics();
        version() != before
    });
    assert!(!written, "{}", status(api(), &namespace, "db"));
}

#[test]
fn a_change_counts_with_the_next_scrape_and_keeps_every_session_it_can() {
    let (server, other, namespace) = (server(), server(), api().namespace("changes"));
    server.execute("CREATE DATABASE shop");
    server.execute_in("shop", "CREATE TABLE carts (id int)");
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    api().apply(&target(&namespace, "other", &at(&other, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    let [name, more] = ["db", "other"].map(|name| format!("{namespace}/{name}"));
    eventually_active(&exporter, &name);
    eventually_active(&exporter, &more);
    let (kept, others) = (session(&server), session(&other));
    let spec = at(
        &server,
        "s",
        ", labels: {team: shop}, collectors: {exclude: [locks, pg_settings]}",
    );
    api().apply(&target(&namespace, "db", &spec));
    let labels = [("server", name.as_str()), ("team", "shop")];
    let seen = within(std::time::Duration::from_secs(10), || {
        let samples = exporter.metrics();
        let all = samples.with("pgexporter_postgresql_active", &labels);
        if all.is_empty() {
            return false;
        }
        // From that scrape on all of it is as it is to be.
        for family in samples.families() {
            let of_it = of_server(&samples, family, &name);
            let told = samples.with(family, &labels).len();
            assert_eq!(of_it, told, "{family} has samples without the label");
        }
        assert_eq!(of_server(&samples, "pgexporter_pg_locks_count", &name), 0);
        assert_eq!(
            of_server(&samples, "pgexporter_pg_settings_work_mem", &name),
            0
        );
        assert!(of_server(&samples, "pgexporter_pg_locks_count", &more) > 0);
        assert!(of_server(&samples, "pgexporter_pg_settings_work_mem", &more) > 0);
        true
    });
    assert!(seen, "{}", exporter.log());
    assert_eq!(session(&server), kept, "a label needs no other session");
    // A database that is left out is gone at once, also from what is asked once a minute.
    let of_shop = || {
        let labels = [
            ("server", name.as_str()),
            ("database", "shop"),
            ("relname", "carts"),
        ];
        let samples = exporter.metrics();
        let family = "pgexporter_pg_stat_user_tables_vacuum_n_live_tup";
        samples.with(family, &labels).len()
    };
    eventually("its tables are shown", || of_shop() == 1);
    for (choice, shown) in [("exclude: [shop]", 0), ("include: [shop]", 1)] {
        let spec = at(
            &server,
            "s",
            &format!(", labels: {{team: shop}}, databases: {{{choice}}}"),
        );
        api().apply(&target(&namespace, "db", &spec));
        let seen = within(std::time::Duration::from_secs(10), || of_shop() == shown);
        assert!(seen, "{choice}");
        assert_eq!(session(&server), kept);
    }
    // Another port is another server.
    let spec = at(&other, "s", ", labels: {team: shop}");
    api().apply(&target(&namespace, "db", &spec));
    eventually("its old session is closed", || session(&server).is_empty());
    eventually_active(&exporter, &name);
    assert!(
        session(&other).contains(&others),
        "the other one was touched"
    );
}
