//! How the exporter logs in to a server, each way against a real one, and what it says when it is
//! not let in. A secret is in no log and on no page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "logins/binding.rs"]
mod binding;
#[path = "logins/hostile.rs"]
mod hostile;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::exporter::ExporterBuilder;
use support::{Authority, Exporter, Postgres, Samples, eventually};

const SECRET: &str = "pa55:w\\rd-Xyzzy";

/// A server whose role `alice` has the secret, and `pg_hba.conf` asks for it in one way.
fn server(method: &str) -> Postgres {
    let alice = [
        "local all alice",
        "host all alice 127.0.0.1/32",
        "host all alice ::1/128",
    ];
    let mut builder = Postgres::builder(17).set(
        "password_encryption",
        if method == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        },
    );
    for line in alice {
        builder = builder.hba(&format!("{line} {method}"));
    }
    let server = builder.start();
    server.execute(&format!("CREATE ROLE alice LOGIN PASSWORD '{SECRET}'"));
    server
}

/// A section for alice.
fn section(name: &str, host: &str, server: &Postgres, more: &str) -> String {
    format!(
        "[{name}]\nhost = {host}\nport = {}\nuser = alice\n{more}\n",
        server.port()
    )
}

fn is_active(samples: &Samples, name: &str) -> bool {
    samples.value("pgexporter_postgresql_active", &[("server", name)]) == Some(1.0)
}

fn reasons(samples: &Samples, name: &str) -> Vec<String> {
    samples
        .with("pgexporter_postgresql_failures_total", &[("server", name)])
        .iter()
        .filter(|sample| sample.value > 0.0)
        .map(|sample| sample.labels["reason"].clone())
        .collect()
}

#[track_caller]
fn all_log_in(exporter: &Exporter, names: &[&str]) {
    eventually(&format!("{names:?} log in: {}", exporter.log()), || {
        let samples = exporter.metrics();
        names.iter().all(|name| is_active(&samples, name))
    });
    no_secret(exporter, &[SECRET]);
}

/// Waits until each is refused for its reason, and looks for what the page says to do about it.
#[track_caller]
fn all_are_refused(exporter: &Exporter, cases: &[(&str, &str, &str)]) {
    let what = format!("each has its reason: {:?}", std::thread::current().name());
    let all = support::within(std::time::Duration::from_secs(15), || {
        let samples = exporter.metrics();
        cases.iter().all(|(name, reason, _)| {
            !is_active(&samples, name) && reasons(&samples, name).contains(&(*reason).to_owned())
        })
    });
    assert!(all, "{what}: {}", exporter.log());
    let samples = exporter.metrics();
    let page = exporter.get("/").body;
    for (name, reason, advice) in cases {
        assert_eq!(
            reasons(&samples, name),
            [*reason],
            "{name}: {}",
            exporter.log()
        );
        let after = page
            .split(&format!(">{name}<"))
            .nth(1)
            .unwrap_or_else(|| panic!("{name}: {page}"));
        let row = after.split("</tbody>").next().unwrap();
        assert!(row.contains(advice), "{name}: {advice} is not in {row}");
    }
    no_secret(exporter, &[SECRET, "wrong-Plugh"]);
}

#[track_caller]
fn no_secret(exporter: &Exporter, secrets: &[&str]) {
    let shown = exporter.log() + &exporter.get("/").body + &exporter.get("/metrics").body;
    for secret in secrets {
        assert!(!shown.contains(secret), "a secret is shown");
    }
    assert!(!shown.contains("PRIVATE KEY"), "a key is shown");
}

fn pgpass(secret: &str) -> String {
    format!(
        "*:*:*:alice:{}\n",
        secret.replace('\\', "\\\\").replace(':', "\\:")
    )
}

/// An exporter with these sections and a password file.
fn with_password(secret: &str, sections: &[String], folder: &Path) -> ExporterBuilder {
    let file = folder.join("passwords");
    private(&file, &pgpass(secret));
    sections
        .iter()
        .fold(Exporter::builder(), |builder, text| builder.section(text))
        .set("log_level = debug5")
        .variable("PGPASSFILE", file)
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("it is written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is made private");
}

#[test]
fn scram_md5_and_trust_let_in_over_ipv4_ipv6_and_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let servers: Vec<_> = ["scram-sha-256", "md5", "trust"]
        .map(|method| (method, server(method)))
        .into();
    let mut sections = Vec::new();
    let mut names = Vec::new();
    for (method, server) in &servers {
        let directory = server.socket_dir().display().to_string();
        let mut hosts = vec![
            ("tcp4", "127.0.0.1"),
            ("name", "localhost"),
            ("unix", directory.as_str()),
        ];
        if support::ports::has_ipv6() {
            hosts.push(("tcp6", "::1"));
        }
        for (kind, host) in hosts {
            let name = format!("{kind}_{method}").replace('-', "_");
            sections.push(section(&name, host, server, ""));
            names.push(name);
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for format in ["text", "json"] {
        let exporter = with_password(SECRET, &sections, folder.path())
            .set(&format!("log_format = {format}"))
            .set(if format == "json" {
                "log_type = console"
            } else {
                "log_type = file"
            })
            .start();
        all_log_in(&exporter, &names);
        assert!(exporter.log().len() > 200, "{}", exporter.log());
    }
}

#[test]
fn a_wrong_or_a_missing_password_is_told_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (scram, md5) = (server("scram-sha-256"), server("md5"));
    let sections = [
        section("scram", "127.0.0.1", &scram, ""),
        section("md5", "127.0.0.1", &md5, ""),
    ];
    let refused = |advice| {
        [
            ("scram", "authentication_failed", advice),
            ("md5", "authentication_failed", advice),
        ]
    };
    for format in ["text", "json"] {
        let exporter = with_password("wrong-Plugh", &sections, folder.path())
            .set(&format!("log_format = {format}"))
            .start();
        all_are_refused(&exporter, &refused("check user alice, its password"));
    }
    let none = sections
        .iter()
        .fold(Exporter::builder(), |builder, text| builder.section(text))
        .start();
    all_are_refused(&none, &refused("check user alice, its password"));
}

#[test]
fn the_password_comes_from_the_variable_or_from_the_vault() {
    let server = server("scram-sha-256");
    let folder = tempfile::tempdir().unwrap();
    let own = section("own", "127.0.0.1", &server, "");
    let by_variable = Exporter::builder()
        .section(&own)
        .variable("PGPASSWORD", SECRET)
        .start();
    all_log_in(&by_variable, &["own"]);

    let users = folder.path().join("pgexporter_users.conf");
    let admin = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pgexporter-admin"))
            .env("HOME", folder.path())
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    let file = users.to_str().unwrap();
    admin(&["-P", "Sup3r-s3cret master!", "master-key"]);
    admin(&["-f", file, "-U", "alice", "-P", SECRET, "user", "add"]);
    let by_vault = Exporter::builder()
        .section(&own)
        .set("log_level = debug5")
        .variable("HOME", folder.path())
        .argument("-u")
        .argument(file)
        .start();
    all_log_in(&by_vault, &["own"]);
    no_secret(&by_vault, &["Sup3r-s3cret master!"]);
}

/// A server with a certificate for `127.0.0.1` and `localhost`, where alice gives her password in
/// the clear, and bob a certificate.
fn tls_server(authority: &Authority, client_authority: &Authority) -> Postgres {
    let identity = authority.server(&["localhost", "127.0.0.1"]);
    let server = Postgres::builder(17)
        .tls(&identity.certificate, &identity.key)
        .client_ca(client_authority.pem())
        .hba("hostssl all bob 127.0.0.1/32 cert")
        .hba("local all alice password")
        .hba("hostssl all alice 127.0.0.1/32 password")
        .hba("hostssl all alice ::1/128 password")
        .hba("hostnossl all alice 127.0.0.1/32 password")
        .hba("hostnossl all alice ::1/128 password")
        .start();
    server.execute(&format!(
        "CREATE ROLE alice LOGIN PASSWORD '{SECRET}'; CREATE ROLE bob LOGIN"
    ));
    server
}

#[test]
fn a_password_goes_in_the_clear_to_a_verified_server_only() {
    let authority = Authority::new("first");
    let server = tls_server(&authority, &authority);
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let with_ca = |mode: &str| format!("tls = {mode}\ntls_ca_file = {}", ca.display());
    let host = "127.0.0.1";
    let socket = server.socket_dir().display().to_string();
    let sections = [
        section("full", host, &server, &with_ca("verify-full")),
        section("ca", host, &server, &with_ca("verify-ca")),
        section("on_with_ca", host, &server, &with_ca("on")),
        section("socket", &socket, &server, ""),
        section(
            "named",
            host,
            &server,
            "tls = off\nrequire_auth = password, scram-sha-256",
        ),
        section("tls_on", host, &server, "tls = on"),
        section("tls_try", host, &server, "tls = try"),
        section("try_with_ca", host, &server, &with_ca("try")),
        section("tls_off", host, &server, "tls = off"),
        section(
            "not_named",
            host,
            &server,
            &format!("{}\nrequire_auth = !password", with_ca("verify-full")),
        ),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    all_log_in(&exporter, &["full", "ca", "on_with_ca", "socket", "named"]);
    let reason = "authentication_failed";
    let advice = "set tls = verify-full";
    all_are_refused(
        &exporter,
        &[
            ("tls_on", reason, advice),
            ("tls_try", reason, advice),
            ("try_with_ca", reason, advice),
            ("tls_off", reason, advice),
            ("not_named", reason, "require_auth takes !password alone"),
        ],
    );
    let ssl = "SELECT count(*) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid) WHERE s.ssl AND a.usename = 'alice'";
    eventually("three speak TLS", || server.value(ssl) == "3");
}

#[test]
fn a_servers_certificate_is_verified_as_far_as_was_asked() {
    let (authority, other) = (Authority::new("first"), Authority::new("another"));
    let server = tls_server(&authority, &authority);
    let plain = server_without_tls();
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (
        folder.path().join("ca.pem"),
        folder.path().join("other.pem"),
    );
    fs::write(&good, authority.pem()).unwrap();
    fs::write(&bad, other.pem()).unwrap();
    let with = |mode: &str, ca: &Path| format!("tls = {mode}\ntls_ca_file = {}", ca.display());
    let misnamed = authority.server(&["elsewhere.test"]);
    let named_else = Postgres::builder(17)
        .tls(&misnamed.certificate, &misnamed.key)
        .hba("hostssl all alice 127.0.0.1/32 trust")
        .start();
    named_else.execute("CREATE ROLE alice LOGIN");
    let host = "127.0.0.1";
    let sections = [
        section("ca_good", host, &server, &with("verify-ca", &good)),
        section("full_good", host, &server, &with("verify-full", &good)),
        section(
            "full_name",
            "localhost",
            &server,
            &with("verify-full", &good),
        ),
        section("ca_misnamed", host, &named_else, &with("verify-ca", &good)),
        section("ca_bad", host, &server, &with("verify-ca", &bad)),
        section("full_bad", host, &server, &with("verify-full", &bad)),
        section(
            "full_misnamed",
            host,
            &named_else,
            &with("verify-full", &good),
        ),
        section("no_tls", host, &plain, "tls = on"),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    all_log_in(
        &exporter,
        &["ca_good", "full_good", "full_name", "ca_misnamed"],
    );
    all_are_refused(
        &exporter,
        &[
            ("ca_bad", "tls_failed", "tls_ca_file"),
            ("full_bad", "tls_failed", "tls_ca_file"),
            ("full_misnamed", "tls_failed", "name"),
            (
                "no_tls",
                "tls_failed",
                "set ssl = on there, or tls = off here",
            ),
        ],
    );
}

fn server_without_tls() -> Postgres {
    server("trust")
}

#[test]
fn a_client_certificate_logs_in_and_its_lack_is_told() {
    let (authority, other) = (Authority::new("first"), Authority::new("another"));
    let server = tls_server(&authority, &authority);
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, identity) in [
        ("good", authority.client("bob")),
        ("bad", other.client("bob")),
    ] {
        let (certificate, key) = (
            folder.path().join(format!("{name}.crt")),
            folder.path().join(format!("{name}.key")),
        );
        fs::write(&certificate, &identity.certificate).unwrap();
        private(&key, &identity.key);
        files.push(format!(
            "tls = on\ntls_cert_file = {}\ntls_key_file = {}",
            certificate.display(),
            key.display()
        ));
    }
    let bob =
        |name: &str, more: &str| section(name, "127.0.0.1", &server, more).replace("alice", "bob");
    let sections = [
        bob("good", &files[0]),
        bob("bad", &files[1]),
        bob("none", "tls = on"),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    all_log_in(&exporter, &["good"]);
    all_are_refused(
        &exporter,
        &[
            ("bad", "tls_failed", "certificate"),
            ("none", "authentication_failed", "certificate"),
        ],
    );
}

/// `tls = try` is libpq's `prefer`, also where only the login shows which of the two the server
/// takes this role by.
#[test]
fn a_role_that_is_taken_without_tls_alone_is_let_in_where_tls_is_only_preferred() {
    let authority = Authority::new("first");
    let identity = authority.server(&["127.0.0.1"]);
    let server = Postgres::builder(17)
        .tls(&identity.certificate, &identity.key)
        .client_ca(authority.pem())
        .hba("hostnossl all alice 127.0.0.1/32 scram-sha-256")
        .hba("hostssl all alice 127.0.0.1/32 reject")
        .hba("hostssl all bob 127.0.0.1/32 cert")
        .hba("hostnossl all bob 127.0.0.1/32 trust")
        .hba("hostssl all carol 127.0.0.1/32 reject")
        .hba("hostnossl all carol 127.0.0.1/32 trust")
        .start();
    server.execute(&format!(
        "CREATE ROLE alice LOGIN PASSWORD '{SECRET}'; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN"
    ));
    let folder = tempfile::tempdir().unwrap();
    let host = "127.0.0.1";
    let of = |name: &str, role: &str, mode: &str| {
        section(name, host, &server, mode).replace("user = alice", &format!("user = {role}"))
    };
    let sections = [
        of("alice", "alice", "tls = try"),
        of("bob", "bob", "tls = try"),
        of("carol", "carol", ""),
        of("strict", "alice", "tls = on"),
    ];
    let exporter = with_password(SECRET, &sections, folder.path())
        .set("cache = off")
        .start();
    all_log_in(&exporter, &["alice", "bob", "carol"]);
    for _ in 0..3 {
        exporter.metrics();
    }
    all_are_refused(&exporter, &[("strict", "authentication_failed", "pg_hba")]);
    // Each is refused with TLS once, and not at each session.
    for role in ["alice", "bob", "carol"] {
        let log = server.log();
        let refused = log
            .lines()
            .filter(|line| line.contains("FATAL") && line.contains(&format!("{role}@")))
            .count();
        assert!(role == "alice" || refused == 1, "{role}: {refused}: {log}");
    }
}
