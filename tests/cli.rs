//! `pgexporter-cli` as its users run it: the real program on real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::{Authority, Exporter, Postgres};

const GOOD: &str = "\
[pgexporter]
host = *
unix_socket_dir = /tmp
metrics = 5002

[primary]
host = localhost
port = 5432
user = monitor
";

const METRICS: &str = "\
version: 13
metrics:
  - tag: mine
    query: SELECT 1
    columns:
      - {name: a, type: gauge}
";

fn cli(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .output()
        .expect("it is built")
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn check(home: &Path, text: &str, more: &[&str]) -> (i32, String, String) {
    fs::write(home.join("pgexporter.conf"), text).unwrap();
    let mut arguments = vec!["-c", "pgexporter.conf", "check", "--offline"];
    arguments.extend(more);
    said(&cli(home, &arguments))
}

#[test]
fn good_files_are_told_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("mine.yaml"), METRICS).unwrap();
    let (status, out, err) = check(home.path(), GOOD, &["-Y", "mine.yaml"]);
    assert_eq!(status, 0, "{err}");
    assert_eq!(
        out,
        "pgexporter.conf: good: servers: 1; queries of your own: 1; metrics on port 5002 without TLS\n"
    );
    assert_eq!(err, "");
    // By its folder, without -c.
    let (status, _, err) = said(&cli(home.path(), &["check", "--offline", "-D", "."]));
    assert_eq!(status, 0, "{err}");
}

#[test]
fn what_has_no_effect_is_told_and_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let text = GOOD.replace("metrics = 5002", "metrics = 5002\nconsole = 5005");
    let (status, out, err) = check(home.path(), &text, &[]);
    assert_eq!((status, out.lines().count()), (0, 1), "{err}");
    assert_eq!(
        err,
        "pgexporter-cli: pgexporter.conf:5: console: has no effect yet\n"
    );
}

#[test]
fn all_mistakes_of_the_configuration_are_told_at_once_with_their_lines() {
    let home = tempfile::tempdir().unwrap();
    let text = GOOD.replace("5002", "50022222").replace("user", "usr");
    let (status, out, err) = check(home.path(), &text, &[]);
    assert_eq!((status, out.as_str()), (1, ""));
    for part in [
        "pgexporter.conf:4: metrics: this value is not allowed",
        "pgexporter.conf:9: usr: is not a known key; did you mean `user`?",
    ] {
        assert!(err.contains(part), "{err}");
    }
}

#[test]
fn mistakes_in_the_other_files_are_told_all_of_them_and_without_their_secrets() {
    let home = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let one = Authority::new("one").server(&["localhost"]);
    let other = Authority::new("other").server(&["localhost"]);
    put("metrics.crt", &one.certificate);
    put("metrics.key", &other.key);
    put("ca.crt", "this is no certificate");
    put("users.conf", "monitor:hunter2 in the clear\n");
    put("mine.yaml", &METRICS.replace("gauge", "gage"));
    let text = GOOD.replace(
        "metrics = 5002",
        "metrics = 5002\nmetrics_cert_file = metrics.crt\nmetrics_key_file = metrics.key",
    ) + "tls = verify-full\ntls_ca_file = ca.crt\n";
    let more = ["-u", "users.conf", "-Y", "mine.yaml"];
    let (status, _, err) = check(home.path(), &text, &more);
    assert_eq!(status, 1);
    for part in [
        "mine.yaml",
        "users.conf:1",
        "metrics.key",
        "does not belong",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!err.contains("hunter2"), "{err}");
    put("users.conf", "");
    let (_, _, err) = check(home.path(), &text, &more);
    assert!(
        err.contains("server primary") && err.contains("ca.crt"),
        "{err}"
    );
}

#[test]
fn wrong_usage_is_status_2_and_help_and_version_are_status_0() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, status, part) in [
        (&["-V"][..], 0, "pgexporter-cli "),
        (&["-?"], 0, "check"),
        (&["check", "-?"], 0, "--offline"),
        (&[], 2, "check"),
        (&["-c", "none.conf", "check"], 3, "none.conf"),
        (&["chekc"], 2, "check"),
        (&["--nonsense"], 2, "--nonsense"),
        (
            &["-c", "none.conf", "check", "--offline"],
            1,
            "none.conf: there is no such file",
        ),
    ] {
        let (found, out, err) = said(&cli(home.path(), arguments));
        assert_eq!(found, status, "{arguments:?}: {out}{err}");
        assert!((out + &err).contains(part), "{arguments:?}");
    }
}

#[test]
fn an_address_is_scraped_and_what_is_wrong_there_is_told() {
    let home = tempfile::tempdir().unwrap();
    let server = Postgres::start(18);
    let exporter = Exporter::builder().server("one", &server).start();
    let visit = |url: &str| said(&cli(home.path(), &["check", "--url", url]));
    let url = exporter.url("/metrics");
    let (status, out, err) = visit(&url);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("servers: 1, 1 up\n"), "{out}");
    let samples = exporter.metrics().samples.len();
    let told: usize = (out
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()))
    .and_then(|count| count.parse().ok())
    .expect("a number of samples");
    // The exporter counts its own scrapes, and the server's sessions come and go.
    assert!(
        told > 500 && told.abs_diff(samples) < 50,
        "{told}, {samples}"
    );

    server.stop_fast();
    let (status, out, err) = visit(&url);
    assert_eq!(status, 1, "{out}");
    assert!(out.ends_with("servers: 1, 0 up\n"), "{out}");
    assert!(err.contains("down: one;"), "{err}");

    for (url, status, part) in [
        (exporter.url("/elsewhere"), 1, "are at /metrics"),
        (exporter.url("/"), 1, "is not a sample"),
        ("http://localhost:1/metrics".to_owned(), 3, "refused"),
        (url.replace("http://", "https://"), 3, "TLS"),
        ("localhost:5002".to_owned(), 2, "such as http://"),
        ("ftp://localhost/metrics".to_owned(), 2, "such as http://"),
    ] {
        let (found, out, err) = visit(&url);
        assert_eq!(found, status, "{url}: {out}{err}");
        assert!(err.contains(part), "{url}: {err}");
    }
}

#[test]
fn an_address_with_tls_is_trusted_by_its_authority_alone() {
    let home = tempfile::tempdir().unwrap();
    let server = Postgres::start(18);
    let authority = Authority::new("ours");
    let identity = authority.server(&["localhost"]);
    let exporter = Exporter::builder()
        .server("one", &server)
        .file("tls.crt", &identity.certificate)
        .file("tls.key", &identity.key)
        .set("metrics_cert_file = {dir}/tls.crt")
        .set("metrics_key_file = {dir}/tls.key")
        .start();
    let url = format!("https://localhost:{}/metrics", exporter.port("metrics"));
    for (name, authority, status, part) in [
        ("ours.crt", authority, 0, "servers: 1, 1 up"),
        ("other.crt", Authority::new("other"), 3, "certificate"),
    ] {
        fs::write(home.path().join(name), authority.pem()).unwrap();
        let (found, out, err) = said(&cli(home.path(), &["check", "--url", &url, "--ca", name]));
        assert_eq!(found, status, "{name}: {out}{err}");
        assert!((out + &err).contains(part), "{name}");
    }
}
