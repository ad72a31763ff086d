//! What each command does and prints.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Exporter, Postgres, eventually};
use crate::{assert_alive, cli, command, eventually_logged, json, lonely, said};

#[test]
fn ping_is_answered_in_every_format_and_by_who_finds_the_configuration_himself() {
    let exporter = lonely().start();
    let (status, out, err) = said(&cli(&exporter, &["ping"]));
    assert_eq!((status, err.as_str()), (0, ""));
    for part in [
        "Header:\n  ClientVersion: ",
        "\n  Command: ping\n  Compression: none\n  Encryption: none\n  Output: text\n",
        "\nOutcome:\n  Status: true\n  Time: 00:00:0.",
        "\nRequest: {}\nResponse:\n  ServerVersion: ",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (status, document) = json(&exporter, &["ping"]);
    assert_eq!(
        (status, &document["Header"]["Command"]),
        (0, &json!("ping"))
    );
    assert_eq!(document["Header"]["Output"], "json");
    let (status, out, _) = said(&cli(&exporter, &["-F", "raw", "-v", "ping"]));
    assert_eq!(status, 0);
    let (raw, more) = out.split_once('\n').unwrap();
    assert!(serde_json::from_str::<Value>(raw).is_ok(), "{raw}");
    assert_eq!(more, "Success (0)\n");

    let output = command(&exporter)
        .arg("ping")
        .env("PGEXPORTER_CONFIG_DIR", exporter.folder())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // A file that is wrong by now does not hide the exporter that runs.
    exporter.write_config("[pgexporter]\nunix_socket_dir = {dir}\nnonsense = 1\n");
    assert_eq!(said(&cli(&exporter, &["ping"])).0, 0);
}

#[test]
fn shutdown_is_answered_before_the_end() {
    let mut exporter = lonely().start();
    let (status, out, err) = said(&cli(&exporter, &["shutdown"]));
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("Status: true"), "{out}");
    assert!(exporter.wait_exit().success());
    eventually_logged(&exporter, &["INFO", "shutting down"]);
}

#[test]
fn status_tells_the_servers_and_details_all_that_is_known_of_them() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("good", &server)
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
        .start();
    eventually("both were asked", || {
        exporter.metrics();
        let (_, document) = json(&exporter, &["status", "details"]);
        let servers = &document["Response"]["Servers"];
        servers[0]["Active"] == true && servers[1]["LastError"]["Count"].as_u64() >= Some(1)
    });
    let (status, out, _) = said(&cli(&exporter, &["status"]));
    assert_eq!(status, 0);
    let list = "  Servers:\n    - Active: true\n      Server: good\n    - Active: false\n      \
                Server: nobody\n";
    assert!(out.contains("  NumberOfServers: 2\n"), "{out}");
    assert!(out.contains(list), "{out}");

    let (status, document) = json(&exporter, &["status", "details"]);
    assert_eq!(
        (status, &document["Header"]["Command"]),
        (0, &json!("status details"))
    );
    let servers = &document["Response"]["Servers"];
    let (good, nobody) = (&servers[0], &servers[1]);
    assert_eq!(good["Version"], server.value("SHOW server_version"));
    assert_eq!(
        (&good["MajorVersion"], &good["Role"]),
        (&json!(17), &json!("primary"))
    );
    assert_eq!(
        (&good["Origin"], &good["Address"]),
        (
            &json!("file"),
            &json!(format!("127.0.0.1:{}", server.port()))
        )
    );
    assert!(good["Samples"].as_u64() > Some(100), "{good}");
    assert!(good["Duration"].as_f64() > Some(0.0), "{good}");
    assert!(good["Connections"].as_u64() >= Some(1), "{good}");
    assert!(
        good["LastScrape"].as_str().unwrap().ends_with('Z'),
        "{good}"
    );
    assert!(!good["Owner"].as_str().unwrap().is_empty());
    assert_eq!(
        (&good["Trouble"], &good["LastError"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(nobody["Trouble"]["Reason"], "connection_refused");
    assert_eq!(nobody["LastError"]["Reason"], "connection_refused");
    assert!(
        nobody["LastError"]["Message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:1")
    );
    assert!(nobody["LastError"]["Time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn one_value_is_shown_bare_and_all_as_a_tree() {
    let exporter = lonely().set("log_level = debug").start();
    for (key, value) in [
        ("log_level", "debug\n"),
        ("pgexporter.log_level", "debug\n"),
        ("server.nobody.port", "1\n"),
        ("pidfile", "\n"),
    ] {
        let (status, out, err) = said(&cli(&exporter, &["conf", "get", key]));
        assert_eq!(
            (status, out.as_str(), err.as_str()),
            (0, value, ""),
            "{key}"
        );
    }
    let (_, document) = json(&exporter, &["conf", "get", "log_level"]);
    let both = json!({ "string_value": "debug", "value": 2 });
    assert_eq!(document["Response"]["log_level"], both);
    assert_eq!(document["Request"]["ConfigKey"], "log_level");

    let (status, out, _) = said(&cli(&exporter, &["conf", "get"]));
    assert_eq!(status, 0);
    assert!(out.contains("lock_timeout: 1s\n"), "{out}");
    let (_, document) = json(&exporter, &["conf", "get"]);
    assert_eq!(
        document["Response"]["server"]["nobody"]["host"],
        "127.0.0.1"
    );

    let (status, out, err) = said(&cli(&exporter, &["conf", "get", "colour"]));
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("Unknown configuration key 'colour'"), "{err}");
    let (status, document) = json(&exporter, &["conf", "get", "colour"]);
    assert_eq!(status, 1);
    assert_eq!(
        document["Outcome"],
        json!({ "Status": false, "Error": 1002 })
    );

    let (status, document) = json(&exporter, &["conf", "ls"]);
    assert_eq!(status, 0);
    let path = exporter.folder().join("pgexporter.conf");
    assert_eq!(
        document["Response"]["MainConfiguration"],
        path.display().to_string()
    );
    assert!(document["Response"].get("AdminsConfiguration").is_none());
    let admins = exporter.folder().join("pgexporter_admins.conf");
    fs::write(&admins, "").unwrap();
    // What is listed is what the last reload found.
    let (status, _) = json(&exporter, &["conf", "reload"]);
    assert_eq!(status, 0);
    let (_, document) = json(&exporter, &["conf", "ls"]);
    assert_eq!(
        document["Response"]["AdminsConfiguration"],
        admins.display().to_string()
    );
}

#[test]
fn a_change_has_one_of_five_outcomes() {
    let exporter = lonely().start();
    for (key, value, status, out, error) in [
        (
            "log_level",
            "debug",
            0,
            "Configuration change applied\n   New value: debug\n",
            None,
        ),
        (
            "log_level",
            "debug",
            0,
            "No change: log_level is already debug\n",
            None,
        ),
        (
            "metrics",
            "5999",
            1,
            "Configuration change requires restart. Current values preserved.\n",
            Some(1108),
        ),
        (
            "log_level",
            "loud",
            1,
            "Configuration change failed\n   Invalid value for configuration key 'log_level'\n",
            Some(1109),
        ),
        (
            "colour",
            "red",
            1,
            "Configuration change failed\n   Unknown configuration key 'colour'\n",
            Some(1104),
        ),
        (
            "server.none.port",
            "1",
            1,
            "Configuration change failed\n   Unknown server 'none'\n",
            Some(1105),
        ),
    ] {
        let (found, text, err) = said(&cli(&exporter, &["conf", "set", key, value]));
        assert_eq!((found, text.as_str()), (status, out), "{key}: {err}");
        if let Some(error) = error {
            let (_, document) = json(&exporter, &["conf", "set", key, value]);
            assert_eq!(document["Outcome"]["Error"], error, "{key}");
            assert_eq!(document["Response"]["requested_value"], value, "{key}");
        }
    }
    let (_, _, err) = said(&cli(&exporter, &["conf", "set", "log_level", "loud"]));
    assert!(err.contains("allowed: debug5"), "{err}");
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "metrics"])).1,
        format!("{}\n", exporter.port("metrics"))
    );
    eventually_logged(&exporter, &["DEBUG", "conf get"]);
}

#[test]
fn a_change_is_used_at_once_and_what_the_file_says_is_shown_beside_it() {
    let server = Postgres::start(16);
    let exporter = Exporter::on(&[("one", &server)]);
    eventually("it is scraped", || {
        exporter
            .metrics()
            .value("pgexporter_postgresql_active", &[])
            == Some(1.0)
    });
    // A broken file beside is no hindrance: only what changes is read.
    fs::write(exporter.folder().join("pgpass"), "nonsense").unwrap();
    let (status, _, err) = said(&cli(&exporter, &["conf", "set", "collectors", "db, dbx"]));
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("there is no collector dbx"), "{err}");
    eventually("only these run", || {
        let text = exporter.get("/metrics").body;
        text.contains("pgexporter_pg_database_size")
            && !text.contains("pgexporter_pg_stat_bgwriter")
    });
    let (_, out, err) = said(&cli(&exporter, &["conf", "get", "collectors"]));
    assert_eq!(out, "db, dbx\n");
    assert!(err.contains("the file has nothing"), "{err}");
    let (_, document) = json(&exporter, &["conf", "get"]);
    assert_eq!(
        document["Response"]["Differences"],
        json!({ "collectors": { "Running": "db, dbx", "File": "" } })
    );

    // A value that is good and cannot be used changes nothing.
    let (status, _, err) = said(&cli(
        &exporter,
        &["conf", "set", "metrics_path", "/nowhere/x.yaml"],
    ));
    assert_eq!(status, 1);
    assert!(err.contains("/nowhere/x.yaml"), "{err}");
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "metrics_path"])).1,
        "\n"
    );
    assert_alive(&exporter);
}

#[test]
fn a_reload_takes_all_or_nothing_and_names_what_waits_for_a_restart() {
    let exporter = lonely().start();
    let text = exporter.config_text();
    let more = |lines: &str| text.replace("[pgexporter]", &format!("[pgexporter]\n{lines}"));

    exporter.write_config(&more("lock_timeout = 3s"));
    let (_, out, err) = said(&cli(&exporter, &["conf", "get", "lock_timeout"]));
    assert_eq!(out, "1s\n");
    assert!(err.contains("the file has 3s"), "{err}");
    let (status, out, err) = said(&cli(&exporter, &["conf", "reload"]));
    assert_eq!(
        (status, out.as_str()),
        (0, "Configuration reloaded successfully.\n"),
        "{err}"
    );
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "lock_timeout"])).1,
        "3s\n"
    );

    exporter.write_config(&more("lock_timeout = soon\ncolour = red"));
    let (status, out, err) = said(&cli(&exporter, &["conf", "reload"]));
    assert_eq!((status, out.as_str()), (1, ""));
    for part in [
        "pgexporter.conf:2: lock_timeout",
        "pgexporter.conf:3: unknown key",
        "nothing was changed",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "lock_timeout"])).1,
        "3s\n"
    );

    exporter.write_config(&more("lock_timeout = 4s\nhugepage = off"));
    let (status, out, _) = said(&cli(&exporter, &["conf", "reload"]));
    assert_eq!(status, 0);
    assert_eq!(
        out,
        "Configuration reload deferred: restart required for structural parameter changes.\n   \
         hugepage\n"
    );
    let (_, document) = json(&exporter, &["conf", "reload"]);
    assert_eq!(document["Response"]["Restart"], true);
    assert_eq!(document["Response"]["RestartKeys"], json!(["hugepage"]));
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "lock_timeout"])).1,
        "4s\n"
    );
}

#[test]
fn clear_forgets_the_collection_that_is_served_again_and_counts_from_0() {
    let server = Postgres::start(18);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("metrics_cache_max_age = 1h")
        .set("metrics_cache_max_size = 100M")
        .start();
    eventually("a collection is kept", || {
        exporter
            .metrics()
            .value("pgexporter_postgresql_active", &[])
            == Some(1.0)
            && {
                server.execute("SELECT 1");
                let text = exporter.get("/metrics").body;
                text == exporter.get("/metrics").body
            }
    });
    let before = exporter.get("/metrics").body;
    let (status, _, err) = said(&cli(&exporter, &["clear", "prometheus"]));
    assert_eq!(status, 0, "{err}");
    let after = exporter.metrics();
    assert_ne!(exporter.get("/metrics").body, before);
    assert!(after.value("pgexporter_logging_info", &[]) < Some(10.0));
}

#[test]
fn wrong_usage_is_status_2_and_no_exporter_is_status_3() {
    let exporter = lonely().start();
    for (arguments, status, part) in [
        (&["conf"][..], 2, "get"),
        (&["conf", "set", "log_level"], 2, "VALUE"),
        (&["stutus"], 2, "status"),
        (&["-F", "xml", "ping"], 2, "json"),
        (&["-h", "localhost", "ping"], 2, "--host"),
        (&["ping", "-?"], 0, "Exit status"),
    ] {
        let (found, out, err) = said(&cli(&exporter, arguments));
        assert_eq!(found, status, "{arguments:?}: {out}{err}");
        if status == 2 {
            assert!(err.contains(part), "{arguments:?}: {err}");
        }
    }
    let log = exporter.folder().join("cli.log");
    let output = command(&exporter)
        .args(["-c", "none.conf", "-L", "cli.log", "-v", "ping"])
        .output()
        .unwrap();
    let (status, out, err) = said(&output);
    assert_eq!((status, out.as_str()), (3, "Error (3)\n"));
    assert!(err.contains("none.conf: there is no such file"), "{err}");
    assert!(fs::read_to_string(log).unwrap().contains("none.conf"));
}

#[test]
fn targets_are_a_table_and_log_level_is_changed() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("good", &server)
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
        .start();
    eventually("both were asked", || {
        exporter.metrics();
        let (status, out, _) = said(&cli(&exporter, &["targets"]));
        let line = |start: &str| out.lines().find(|line| line.starts_with(start));
        status == 0
            && line("SERVER  ACTIVE  VERSION").is_some()
            && line("good").is_some_and(|line| line.contains("  yes  ") && line.contains("primary"))
            && line("nobody")
                .is_some_and(|line| line.contains("  no  ") && line.contains("refused"))
    });
    let (status, document) = json(&exporter, &["targets"]);
    assert_eq!(
        (status, &document["Header"]["Command"]),
        (0, &json!("targets"))
    );

    let (status, out, _) = said(&cli(&exporter, &["log", "level", "debug"]));
    assert_eq!(status, 0);
    assert_eq!(out, "Configuration change applied\n   New value: debug\n");
    let (status, out, _) = said(&cli(&exporter, &["log", "level", "loud"]));
    assert_eq!(status, 1);
    assert!(out.contains("Invalid value"), "{out}");
    assert_eq!(
        said(&cli(&exporter, &["conf", "get", "log_level"])).1,
        "debug\n"
    );
}

#[test]
fn a_check_tells_what_a_reload_would_bring_and_changes_nothing() {
    let server = Postgres::start(17);
    server.execute("CREATE ROLE plain LOGIN");
    let exporter = Exporter::builder()
        .server_as("good", &server, "plain", None)
        .start();
    eventually("the server was asked", || {
        exporter.metrics();
        let (status, out, _) = said(&cli(&exporter, &["check"]));
        status == 0 && out.contains("server good: good; the role may not see: ")
    });
    let text = exporter.config_text();
    exporter.write_config(&format!(
        "{text}\n[more]\nhost = 127.0.0.1\nport = 1\nuser = u\n"
    ));
    let (status, out, err) = said(&cli(&exporter, &["check"]));
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("a reload: ") && out.contains("more"), "{out}");
    let (_, document) = json(&exporter, &["status"]);
    assert_eq!(document["Response"]["NumberOfServers"], 1);

    exporter.write_config(&format!("{text}\nnonsense = 1\n"));
    let (status, _, err) = said(&cli(&exporter, &["check"]));
    assert_eq!(status, 1);
    assert!(err.contains("unknown key"), "{err}");
    assert_alive(&exporter);
}

#[test]
fn files_are_encrypted_with_the_master_key_and_come_back() {
    let exporter = lonely().start();
    let admin = std::process::Command::new(env!("CARGO_BIN_EXE_pgexporter-admin"))
        .env("HOME", exporter.folder())
        .args(["-P", "Sup3r-s3cret master!", "master-key"])
        .output()
        .unwrap();
    assert!(admin.status.success(), "{admin:?}");
    let plain = exporter.folder().join("plain");
    fs::write(&plain, b"a secret\0of bytes").unwrap();
    for size in ["none", "aes256", "aes192", "aes128"] {
        let packed = format!("{size}.aes");
        let (status, _, err) = said(&cli(&exporter, &["-E", size, "encrypt", "plain", &packed]));
        assert_eq!(status, 0, "{err}");
        let bytes = fs::read(exporter.folder().join(&packed)).unwrap();
        assert_eq!(bytes.len(), 16 + 12 + 17 + 16);
        let (status, _, err) = said(&cli(&exporter, &["-E", size, "decrypt", &packed]));
        assert_eq!(status, 0, "{err}");
        assert_eq!(
            fs::read(exporter.folder().join(size)).unwrap(),
            b"a secret\0of bytes"
        );
    }
    // Nothing is overwritten, and what was touched is refused.
    let (status, _, err) = said(&cli(&exporter, &["encrypt", "plain", "none"]));
    assert!(status == 1 && err.contains("none"), "{err}");
    let mut bytes = fs::read(exporter.folder().join("none.aes")).unwrap();
    bytes[30] ^= 1;
    fs::write(exporter.folder().join("bent.aes"), bytes).unwrap();
    let (status, _, err) = said(&cli(&exporter, &["decrypt", "bent.aes"]));
    assert!(status == 1 && err.contains("bent.aes"), "{err}");
    assert!(!exporter.folder().join("bent").exists());
    let (status, _, err) = said(&cli(&exporter, &["decrypt", "plain"]));
    assert!(status == 2 && err.contains("name the file"), "{err}");
}
