//! SIGHUP: all or nothing, with a report.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use pgexporter::security::{Secret, UsersFile, Vault};

use crate::support::{Exporter, Postgres, eventually};
use crate::{active, eventually_active, eventually_logged, metric, sessions};

fn section(name: &str, server: &Postgres) -> String {
    format!(
        "[{name}]\nhost = 127.0.0.1\nport = {}\nuser = postgres\n",
        server.port()
    )
}

/// How many reloads the log tells of.
fn reloads(exporter: &Exporter) -> usize {
    let told = |line: &&str| line.contains("reloaded: ") || line.contains("reload refused");
    exporter.log().lines().filter(told).count()
}

/// Sends SIGHUP and waits for the report.
#[track_caller]
fn reload(exporter: &Exporter) {
    let before = reloads(exporter);
    exporter.signal(Signal::HUP);
    eventually("the reload is reported", || reloads(exporter) > before);
}

#[test]
fn a_file_with_an_error_changes_nothing_and_a_good_one_everything_at_once() {
    let (first, second) = (Postgres::start(18), Postgres::start(14));
    let exporter = Exporter::on(&[("first", &first), ("gone", &second)]);
    eventually_active(&exporter, "first");
    eventually_active(&exporter, "gone");
    assert_eq!(sessions(&first).len(), 1);
    let old = exporter.config_text();

    let gone = section("gone", &second);
    let changed = old.replace(&gone, &section("new", &second));
    assert_ne!(changed, old);
    exporter.write_config(&changed.replace("[pgexporter]", "[pgexporter]\nlock_timeout = soon"));
    reload(&exporter);
    eventually_logged(
        &exporter,
        &["ERROR", "pgexporter.conf:2: lock_timeout: this value"],
    );
    eventually_logged(&exporter, &["ERROR", "reload refused, nothing was changed"]);
    assert_eq!(active(&exporter, "gone"), Some(1.0));
    assert_eq!(active(&exporter, "new"), None);

    exporter.write_config(&changed.replace("[pgexporter]", "[pgexporter]\nopenmetrics = on"));
    reload(&exporter);
    eventually("the new server is scraped and the old one is not", || {
        active(&exporter, "new") == Some(1.0) && active(&exporter, "gone").is_none()
    });
    for part in [
        "openmetrics: was off, is on",
        "server new: added",
        "server gone: removed",
    ] {
        eventually_logged(&exporter, &["reloaded: ", part]);
    }
    assert_eq!(active(&exporter, "first"), Some(1.0));
    // Its session is renewed some seconds later, and never missing.
    assert!(
        !sessions(&first).is_empty(),
        "an unchanged server lost its session"
    );

    // A changed server gets a session anew, with what changed.
    first.execute("CREATE DATABASE other");
    let text = exporter.config_text();
    let old = section("first", &first);
    exporter.write_config(&text.replace(&old, &format!("{old}database = other\n")));
    reload(&exporter);
    eventually_logged(
        &exporter,
        &["server first: database: was postgres, is other"],
    );
    eventually("its session is in the other database", || {
        eventually_active(&exporter, "first");
        first.value(
            "SELECT string_agg(datname, ',') FROM pg_stat_activity \
             WHERE application_name = 'pgexporter'",
        ) == "other"
    });
}

#[test]
fn keys_that_wait_for_a_restart_are_named_and_left_alone() {
    let server = Postgres::start(17);
    let exporter = Exporter::on(&[("one", &server)]);
    eventually_active(&exporter, "one");
    let health = exporter.port("health").to_string();
    let management = exporter.port("management").to_string();
    let metrics = exporter.port("metrics").to_string();
    let text = exporter
        .config_text()
        .replace("host = 127.0.0.1\nm", "host = *\nm")
        .replace(
            &format!("metrics = {metrics}"),
            &format!("metrics = {management}"),
        )
        .replace(&format!("health = {health}"), "health = 0")
        .replace("log_type = file", "log_type = console")
        .replace("pgexporter.log", "other.log")
        .replace("unix_socket_dir = ", "unix_socket_dir = /tmp/../")
        + "";
    let more = "[pgexporter]\nhugepage = off\nlibev = epoll\nev_backend = epoll\npidfile = x.pid\n\
                max_connections = 7\nmetrics_cache_max_size = 1M\nlog_mode = create";
    exporter.write_config(&text.replace("[pgexporter]", more));
    reload(&exporter);
    for key in [
        "host",
        "metrics",
        "health",
        "log_type",
        "log_path",
        "unix_socket_dir",
        "hugepage",
        "libev",
        "ev_backend",
        "pidfile",
        "max_connections",
        "metrics_cache_max_size",
        "log_mode",
    ] {
        eventually_logged(&exporter, &["WARN", "a restart is needed for", key]);
        eventually_logged(&exporter, &["reloaded: ", &format!("{key}: stays ")]);
    }
    eventually_logged(
        &exporter,
        &["log_type: stays file, waits for a restart to become console"],
    );
    assert_eq!(active(&exporter, "one"), Some(1.0));
    assert!(!exporter.folder().join("x.pid").exists());
    assert!(!exporter.folder().join("other.log").exists());

    // Nothing is told twice as a change when the file goes back.
    exporter.write_config(&exporter.config_text().replace("hugepage = off\n", ""));
    reload(&exporter);
    assert!(!exporter.log().contains("hugepage: was"));
}

#[test]
fn custom_metrics_are_read_again_and_wrong_ones_refused() {
    let server = Postgres::start(16);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("metrics_path = {dir}/mine.yaml")
        .file("mine.yaml", &metric("mine", "SELECT 1"))
        .start();
    eventually_active(&exporter, "one");
    let value = |tag: &str| {
        let name = format!("pgexporter_{tag}_value");
        exporter.metrics().value(&name, &[("server", "one")])
    };
    assert_eq!(value("mine"), Some(1.0));
    let path = exporter.folder().join("mine.yaml");

    fs::write(&path, metric("mine", "SELECT 1").replace("gauge", "gage")).unwrap();
    reload(&exporter);
    eventually_logged(&exporter, &["ERROR", "mine.yaml"]);
    assert_eq!(value("mine"), Some(1.0));

    fs::write(&path, metric("yours", "SELECT 2")).unwrap();
    reload(&exporter);
    eventually_logged(&exporter, &["reloaded: metrics: changed"]);
    assert_eq!((value("mine"), value("yours")), (None, Some(2.0)));
    assert!(!sessions(&server).is_empty());

    reload(&exporter);
    eventually_logged(&exporter, &["reloaded: no changes"]);
}

#[test]
fn password_files_are_read_again() {
    let server = Postgres::builder(17)
        .hba("host all monitor 127.0.0.1/32 scram-sha-256")
        .start();
    server.execute("CREATE ROLE monitor LOGIN PASSWORD 'first'; GRANT pg_monitor TO monitor");
    let exporter = Exporter::builder()
        .server_as("one", &server, "monitor", Some("wrong"))
        .start();
    eventually("the password is refused", || {
        active(&exporter, "one") == Some(0.0)
            && exporter.metrics().value(
                "pgexporter_postgresql_failures_total",
                &[("server", "one"), ("reason", "authentication_failed")],
            ) > Some(0.0)
    });
    let passwords = exporter.folder().join("pgpass");
    fs::write(&passwords, "*:*:*:monitor:first\n").unwrap();
    reload(&exporter);
    eventually_logged(&exporter, &["reloaded: server one: the password changed"]);
    eventually_active(&exporter, "one");

    // The vault comes before it, once it is there.
    let vault = Vault::new(Some(exporter.folder()));
    let key = Secret::new("Sup3r-s3cret master!".to_owned());
    vault.create_key(&key).unwrap();
    let path = exporter.folder().join("pgexporter_users.conf");
    let mut users = UsersFile::empty(&path);
    let second = Secret::new("second".to_owned());
    users.set("monitor", &second, &vault).unwrap();
    fs::write(&path, users.text()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    server.execute("ALTER ROLE monitor PASSWORD 'second'");
    reload(&exporter);
    eventually("a session with the new password", || {
        sessions(&server).len() == 1 && active(&exporter, "one") == Some(1.0)
    });
    let log = exporter.log();
    for secret in ["first", "second", "Sup3r"] {
        let told = log.lines().any(|line| line.contains(secret));
        assert!(!told, "{secret}: {log}");
    }
}

#[test]
fn with_reload_on_change_files_are_taken_over_without_a_signal() {
    const PASSWORD: &str = "first-Xyzzy";
    let server = Postgres::builder(17)
        .hba("host all alice 127.0.0.1/32 scram-sha-256")
        .start();
    server.execute(&format!("CREATE ROLE alice LOGIN PASSWORD '{PASSWORD}'"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, PASSWORD).unwrap();
    let section = format!(
        "[db]\nhost = 127.0.0.1\nport = {}\nuser = alice\npassword_file = {}\n",
        server.port(),
        file.path().display()
    );
    let exporter = Exporter::builder()
        .set("reload_on_change = on")
        .section(&section)
        .start();
    eventually_active(&exporter, "db");

    // A rotated password, as a mounted Secret brings it.
    server.execute("ALTER ROLE alice PASSWORD 'second-Xyzzy'");
    fs::write(&file, "second-Xyzzy\n").unwrap();
    eventually_logged(
        &exporter,
        &["reloaded: ", "server db: the password changed"],
    );
    eventually_active(&exporter, "db");

    // A wrong file changes nothing, and a mended one counts.
    let good = exporter.config_text();
    exporter.write_config(&good.replace("[db]", "[other]\nport = soon"));
    eventually_logged(&exporter, &["ERROR", "reload refused, nothing was changed"]);
    exporter.write_config(&good.replace("[db]", "[other]"));
    eventually("the renamed server is scraped", || {
        active(&exporter, "other") == Some(1.0) && active(&exporter, "db").is_none()
    });
    assert!(!exporter.log().contains("Xyzzy"), "{}", exporter.log());
}
