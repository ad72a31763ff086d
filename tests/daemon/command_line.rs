//! Options, and what is said when they or the files are wrong.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pgexporter::security::{Secret, UsersFile, Vault};

use crate::support::exporter::{get, program};
use crate::support::keeper::Keeper;
use crate::support::ports::Port;
use crate::support::{Exporter, Postgres, Samples, eventually};
use crate::{active, eventually_active, metric};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program())
        .args(arguments)
        .env_remove("PGEXPORTER_CONFIG_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("it is built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

#[test]
fn version_and_help_are_answers_and_an_unknown_option_is_wrong_usage() {
    for option in ["-V", "--version"] {
        let (status, out, err) = run(&[option]);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(
            out.starts_with("pgexporter ") && out.lines().count() == 1,
            "{out}"
        );
    }
    for option in ["-?", "--help"] {
        let (status, out, err) = run(&[option]);
        assert_eq!((status, err.as_str()), (0, ""));
        for known in [
            "-c, --config",
            "-u, --users",
            "-A, --admins",
            "-D, --directory",
            "-Y, --yaml",
            "-J, --json",
            "-C, --collectors",
            "-d, --daemon",
            "-V, --version",
            "-?, --help",
        ] {
            assert!(out.contains(known), "{known}: {out}");
        }
    }
    for wrong in ["--nonsense", "-x", "argument"] {
        let (status, out, err) = run(&[wrong]);
        assert_eq!((status, out.as_str()), (2, ""));
        assert!(err.contains(wrong), "{err}");
    }
}

#[test]
fn a_missing_file_is_named_with_status_1() {
    let (status, _, err) = run(&["-c", "/no/such/pgexporter.conf"]);
    assert_eq!(status, 1);
    assert!(
        err.contains("/no/such/pgexporter.conf: there is no such file"),
        "{err}"
    );
    let (status, _, err) = run(&["-D", "/no/such"]);
    assert_eq!(status, 1);
    assert!(err.contains("/no/such/pgexporter.conf"), "{err}");
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgexporter.conf");
    let text =
        "[pgexporter]\nhost = *\nmetrisc = 5002\nlog_level = loud\n[one]\nport = 0\nuser = u\n";
    fs::write(&path, text).unwrap();
    let (status, out, err) = run(&["-c", path.to_str().unwrap()]);
    assert_eq!((status, out.as_str()), (1, ""));
    let file = path.display();
    for part in [
        format!("{file}:1: unix_socket_dir: is required"),
        format!("{file}:3: metrisc: is not a known key; did you mean `metrics`?"),
        format!("{file}:4: log_level: this value is not allowed; allowed: "),
        format!("{file}:5: host: is required"),
        format!("{file}:6: port: this value is not allowed; allowed: 1 to 65535"),
    ] {
        assert!(err.contains(&part), "{part}: {err}");
    }
}

#[test]
fn metrics_collectors_and_users_are_taken_from_the_command_line() {
    let server = Postgres::builder(17)
        .hba("host all monitor 127.0.0.1/32 scram-sha-256")
        .start();
    server.execute("CREATE ROLE monitor LOGIN PASSWORD 'vaulted'; GRANT pg_monitor TO monitor");
    let home = Keeper::new().unwrap();
    let users = vaulted(home.path());
    let json = "{\"version\": 13, \"metrics\": [{\"tag\": \"in_json\", \"query\": \"SELECT 2\", \
                \"columns\": [{\"name\": \"value\", \"type\": \"gauge\"}]}]}";
    let exporter = Exporter::builder()
        .server_as("one", &server, "monitor", None)
        .file("mine.yaml", &metric("in_yaml", "SELECT 1"))
        .file("mine.json", json)
        .argument("-Y")
        .argument("{dir}/mine.yaml")
        .argument("--json")
        .argument("{dir}/mine.json")
        .argument("-C")
        .argument("in_yaml,in_json,database,nonsense")
        .argument("-u")
        .argument(users)
        .variable("PGEXPORTER_HOME", home.path())
        .start();
    eventually_active(&exporter, "one");
    let samples = exporter.metrics();
    let value = |name: &str| samples.value(name, &[("server", "one")]);
    assert_eq!(value("pgexporter_in_yaml_value"), Some(1.0));
    assert_eq!(value("pgexporter_in_json_value"), Some(2.0));
    let others: Vec<&str> = samples
        .families()
        .into_iter()
        .filter(|name| name.starts_with("pgexporter_pg_stat_activity"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    crate::eventually_logged(&exporter, &["WARN", "there is no collector nonsense"]);

    // A reload does not take them for a change of the file.
    exporter.signal(rustix::process::Signal::HUP);
    crate::eventually_logged(&exporter, &["reloaded: no changes"]);
    assert_eq!(active(&exporter, "one"), Some(1.0));
}

fn vaulted(home: &Path) -> std::path::PathBuf {
    let vault = Vault::new(Some(home));
    let key = Secret::new("Sup3r-s3cret master!".to_owned());
    vault.create_key(&key).unwrap();
    let path = home.join("users");
    let mut users = UsersFile::empty(&path);
    let password = Secret::new("vaulted".to_owned());
    users.set("monitor", &password, &vault).unwrap();
    fs::write(&path, users.text()).unwrap();
    path
}

#[test]
fn a_folder_of_configuration_is_found_by_option_and_by_variable() {
    let server = Postgres::start(18);
    for by_variable in [false, true] {
        let keeper = Keeper::new().unwrap();
        let port = Port::free();
        let text = format!(
            "[pgexporter]\nhost = 127.0.0.1\nmetrics = {}\nunix_socket_dir = run/sockets\n\
             [one]\nhost = {}\nport = {}\nuser = postgres\n",
            port.number(),
            server.socket_dir().display(),
            server.port()
        );
        fs::write(keeper.path().join("pgexporter.conf"), text).unwrap();
        let mut command = Command::new(program());
        if by_variable {
            command.env("PGEXPORTER_CONFIG_DIR", keeper.path());
        } else {
            command.arg("-D").arg(keeper.path());
        }
        let mut process = command
            .current_dir(keeper.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it listens", || {
            TcpStream::connect(("127.0.0.1", port.number())).is_ok()
        });
        let url = format!("http://127.0.0.1:{}/metrics", port.number());
        eventually("the server is scraped", || {
            let answer = get(&url, &[]).expect("an answer");
            Samples::parse(&answer.body).value("pgexporter_postgresql_active", &[("server", "one")])
                == Some(1.0)
        });
        assert!(keeper.path().join("run/sockets").is_dir());
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
