//! The real servers that the other tests stand on: they start, behave, and leave nothing behind.

use test_support as support;

use support::{Authority, MAJORS, PgBouncer, Postgres, Samples, eventually, promtool_check};

#[test]
fn every_major_version_starts_with_its_own_version() {
    for major in MAJORS {
        let server = Postgres::start(major);
        let version = server.value("SHOW server_version");
        assert!(version.starts_with(&format!("{major}.")), "{version}");
        assert_eq!(server.value("SHOW server_encoding"), "UTF8");
    }
}

#[test]
fn a_replica_of_every_major_version_streams_and_can_be_promoted() {
    for major in MAJORS {
        let primary = Postgres::start(major);
        let replica = primary.replica();
        primary.execute("CREATE TABLE t AS SELECT 42 AS a");
        primary.wait_for_replay(&replica);
        assert_eq!(replica.value("SELECT a FROM t"), "42");
        assert!(replica.is_in_recovery());
        replica.promote();
        replica.execute("INSERT INTO t VALUES (43)");
    }
}

#[test]
fn a_stopped_server_comes_back_on_its_port_with_its_data() {
    let server = Postgres::start(17);
    server.execute("CREATE TABLE t AS SELECT 1 AS a");
    let port = server.port();
    server.stop_immediate();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    server.start_again();
    assert_eq!(
        (server.port(), server.value("SELECT a FROM t")),
        (port, "1".into())
    );
    server.stop_fast();
    server.start_again();
    assert_eq!(server.value("SELECT a FROM t"), "1");
}

#[test]
fn a_frozen_server_accepts_connections_and_answers_once_thawed() {
    let server = Postgres::start(18);
    let session = server.session("postgres");
    server.freeze();
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_ok());
    let waiting = session.begin_blocking("SELECT 1");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!waiting.is_finished(), "a frozen server answered");
    server.thaw();
    waiting.join().expect("no panic").expect("it answers");
}

#[test]
fn passwords_are_asked_for_with_scram_and_with_md5() {
    for method in ["scram-sha-256", "md5", "password"] {
        let server = Postgres::builder(17)
            .password("it's secret", method)
            .start();
        assert_eq!(server.value("SELECT 1"), "1");
        let mut wrong = server.config("postgres");
        wrong.password("wrong");
        let refused = support::client::text(&wrong, "SELECT 1").expect_err("a wrong password");
        assert_eq!(
            refused.code().map(|code| code.code()),
            Some("28P01"),
            "{method}"
        );
    }
}

#[test]
fn a_server_takes_settings_libraries_and_an_encoding() {
    let server = Postgres::builder(16)
        .preload("pg_stat_statements")
        .max_connections(7)
        .encoding("SQL_ASCII")
        .start();
    server.execute("CREATE EXTENSION pg_stat_statements");
    assert_eq!(server.value("SHOW max_connections"), "7");
    assert_eq!(server.value("SHOW server_encoding"), "SQL_ASCII");
    assert!(
        server
            .value("SELECT count(*) FROM pg_stat_statements")
            .parse::<u32>()
            .is_ok()
    );
}

#[test]
fn a_dropped_server_leaves_neither_process_nor_folder() {
    let server = Postgres::start(17);
    let replica = server.replica();
    let folders = [
        server.socket_dir().to_owned(),
        replica.socket_dir().to_owned(),
    ];
    assert!(!server.processes().is_empty());
    server.freeze();
    drop((server, replica));
    for folder in folders {
        assert!(!folder.exists(), "{} is still there", folder.display());
        assert!(support::keeper::processes_in(&folder).is_empty());
    }
}

/// Run by the next test in a process of its own, which that test kills.
#[test]
#[ignore = "waits to be killed"]
fn waits_to_be_killed() {
    let server = Postgres::start(18);
    let _frozen = server.session("postgres");
    server.freeze();
    println!("folder={}", server.socket_dir().display());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_leaves_neither_server_nor_folder() {
    use std::io::{BufRead, BufReader};
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let folder = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("folder=")?.1.to_owned()))
        .expect("the child says where its server lies");
    let folder = std::path::PathBuf::from(folder);
    assert!(!support::keeper::processes_in(&folder).is_empty());
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    eventually("the server and its folder go away", || {
        !folder.exists() && support::keeper::processes_in(&folder).is_empty()
    });
}

#[test]
fn a_server_with_a_certificate_speaks_tls_and_asks_for_the_clients() {
    let authority = Authority::new("testbed");
    let identity = authority.server(&["localhost", "127.0.0.1"]);
    let server = Postgres::builder(17)
        .tls(&identity.certificate, &identity.key)
        .client_ca(authority.pem())
        .hba("hostssl all alice 127.0.0.1/32 cert")
        .start();
    server.execute("CREATE ROLE alice LOGIN");
    let client = authority.client("alice");
    let ask = |authority: &Authority, user: &str| {
        let tls = authority.connector(Some(&client));
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(server.port())
            .user(user)
            .dbname("postgres");
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        support::client::blocking(|runtime| {
            runtime.block_on(async {
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(connection);
                let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                Ok::<bool, tokio_postgres::Error>(client.query_one(sql, &[]).await?.get(0))
            })
        })
    };
    assert!(ask(&authority, "alice").expect("it lets alice in"));
    assert!(ask(&authority, "postgres").expect("it lets the superuser in"));
    assert!(
        ask(&Authority::new("another"), "alice").is_err(),
        "an unknown authority was taken"
    );
}

#[test]
fn pgbouncer_answers_in_each_mode_with_and_without_a_password() {
    for mode in ["session", "transaction", "statement"] {
        let server = Postgres::start(17);
        let bouncer = PgBouncer::start(&server, mode);
        assert_eq!(
            bouncer.text("postgres", "SELECT 1"),
            [[Some("1".to_owned())]]
        );
        let databases = bouncer.text("pgbouncer", "SHOW DATABASES");
        assert!(
            databases
                .iter()
                .any(|row| row[0].as_deref() == Some("postgres"))
        );
    }
    let server = Postgres::builder(17)
        .password("it's \"secret\"", "scram-sha-256")
        .start();
    let bouncer = PgBouncer::start(&server, "transaction");
    assert_eq!(
        bouncer.text("postgres", "SELECT 1"),
        [[Some("1".to_owned())]]
    );
}

#[test]
fn promtool_tells_good_text_from_lint_and_from_what_does_not_parse() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"\\\\\\n\"} 1\n";
    assert_eq!(promtool_check(good), Ok(Vec::new()));
    let lint = promtool_check("# TYPE a counter\na 1\n").expect("it parses");
    assert!(lint.iter().any(|line| line.starts_with("a ")), "{lint:?}");
    assert!(promtool_check("a{b=\"c} 1\n").is_err());
}

#[test]
fn samples_are_parsed_with_their_labels_types_and_escapes() {
    let text = "# HELP a The a.\n# TYPE a gauge\na{x=\"1\",y=\"q\\\"b\\\\n\\n\"} 1.5\na{x=\"2\",y=\"\"} +Inf\n";
    let samples = Samples::parse(text);
    assert_eq!(samples.value("a", &[("x", "1")]), Some(1.5));
    assert_eq!(samples.all("a")[0].labels["y"], "q\"b\\n\n");
    assert_eq!(samples.value("a", &[("x", "2")]), Some(f64::INFINITY));
    assert_eq!(samples.value("a", &[("x", "3")]), None);
    assert_eq!(samples.label_names("a"), [["x", "y"]]);
    assert_eq!(
        (samples.types["a"].as_str(), samples.helps["a"].as_str()),
        ("gauge", "The a.")
    );
    for wrong in [
        "a{x=\"1} 2\n",
        "a\n",
        "a one\n",
        "a 1",
        "# TYPE a gauge\n# TYPE a gauge\n",
    ] {
        assert!(Samples::try_parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_broken_download_does_not_stay_and_the_next_one_works() {
    use support::downloads::entry;
    let key = format!("test-{}", std::process::id());
    let failed = entry(&key, |folder| {
        std::fs::write(folder.join("half"), "half")?;
        anyhow::bail!("the network is gone")
    });
    assert!(failed.is_err());
    // Two at once: one makes it, the other one waits and finds it.
    let made = std::sync::atomic::AtomicUsize::new(0);
    let places: Vec<_> = std::thread::scope(|scope| {
        let make = || {
            entry(&key, |folder| {
                made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(50));
                Ok(std::fs::write(folder.join("whole"), "whole")?)
            })
            .expect("it is made")
        };
        let threads = [scope.spawn(make), scope.spawn(make)];
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(places[0], places[1]);
    let left: Vec<_> = std::fs::read_dir(&places[0])
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(
        left.len(),
        1,
        "the broken download left something: {left:?}"
    );
    std::fs::remove_dir_all(&places[0]).expect("it is removed");
    let _ = std::fs::remove_file(places[0].with_extension("lock"));
}
