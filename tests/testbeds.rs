//! The real servers that the other tests stand on: they start, behave, and leave nothing behind.

mod support;

use support::{MAJORS, Postgres, eventually};

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
