//! No message quotes a file: a marker is put into every kind of file, each is named in place of
//! every other, and what is said anywhere is searched for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{assert_alive, cli, command, json, lonely, said};

/// Stands in every file. Base64 can be made of it too, so that it passes for a key.
const MARKER: &str = "MARKERx7x7";

/// Every kind of file that the program reads, and what is mistaken for one: name and text.
fn files() -> Vec<(&'static str, String)> {
    let pem = |kind: &str, end: &str| format!("-----BEGIN {kind}-----\n{MARKER}==\n{end}\n");
    vec![
        (
            "keys.conf",
            format!("[pgexporter]\n{MARKER} = 5\n{MARKER}\nlog_level = {MARKER}\n"),
        ),
        (
            "sections.conf",
            format!("{MARKER}=x\n[{MARKER}]\nport = {MARKER}\n[{MARKER}]\nx='{MARKER}\n"),
        ),
        (
            "field.yaml",
            format!("metrics:\n  - tag: t\n    {MARKER}: {MARKER}\n"),
        ),
        ("type.yaml", format!("metrics: {MARKER}\n")),
        ("word.yaml", format!("- tag: t\n  sort: {MARKER}\n")),
        (
            "value.yaml",
            format!(
                "- tag: t\n  interval: {MARKER}\n  query: {MARKER}\n  columns: [{{type: gauge}}]\n"
            ),
        ),
        (
            "tag.yaml",
            format!("- tag: '{MARKER}!'\n  query: {MARKER}\n  columns: [{{type: gauge}}]\n"),
        ),
        ("broken.yaml", format!("a: b: {MARKER}\n\"{MARKER}")),
        ("field.json", format!("{{\"{MARKER}\": \"{MARKER}\"}}")),
        ("type.json", format!("[\"{MARKER}\"]")),
        ("broken.json", format!("{{\"a\": {MARKER}")),
        (
            "users",
            format!("{MARKER}:TUFSS0VS\n{MARKER}:TUFSS0VS\n{MARKER}:{MARKER}!\n{MARKER}\n"),
        ),
        ("one-user", format!("{MARKER}:TUFSS0VS\n")),
        ("pgpass", format!("db:5432:postgres:u:{MARKER}\n")),
        ("password", format!("{MARKER}\n")),
        ("passwords", format!("{MARKER}\n{MARKER}\n")),
        ("kind.pem", pem(MARKER, &format!("-----END {MARKER}-----"))),
        ("start.pem", format!("-----BEGIN {MARKER}\n{MARKER}\n")),
        ("open.pem", pem("PRIVATE KEY", "")),
        ("key.pem", pem("PRIVATE KEY", "-----END PRIVATE KEY-----")),
        (
            "damaged.pem",
            format!("-----BEGIN CERTIFICATE-----\n{MARKER}!?\n-----END CERTIFICATE-----\n"),
        ),
        ("cert.pem", pem("CERTIFICATE", "-----END CERTIFICATE-----")),
        (
            "kubeconfig",
            format!(
                "apiVersion: v1\nkind: Config\nusers:\n- name: x\n  user: {{token: [{MARKER}]}}\n"
            ),
        ),
        ("token", format!("eyJhbGciOi.{MARKER}.x")),
        ("master.key", format!("{MARKER}\n{MARKER}\n")),
        ("bytes", format!("\u{1}\u{2}{MARKER}\u{0}")),
    ]
}

/// Lines of `[pgexporter]` and of a server's section that name a file, `{}`.
const PLACES: [(&str, &str); 7] = [
    ("metrics_path = {}", ""),
    ("metrics_cert_file = {}\nmetrics_key_file = {}", ""),
    (
        "metrics_cert_file = good.crt\nmetrics_key_file = good.key\nmetrics_ca_file = {}",
        "",
    ),
    ("metrics_cert_file = good.crt\nmetrics_key_file = {}", ""),
    (
        "management = 5004\ntls = on\ntls_cert_file = {}\ntls_key_file = {}\ntls_ca_file = {}",
        "",
    ),
    ("", "tls = on\ntls_cert_file = {}\ntls_key_file = {}"),
    ("", "tls_ca_file = {}\npassword_file = {}"),
];

/// A program in the folder, with nothing of our environment.
fn program(path: &str, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn says_nothing(what: &str, command: &mut Command) {
    let output = command.output().expect("it is built");
    let (status, out, err) = said(&output);
    assert!(status >= 0, "{what}: ended by a signal");
    assert!(
        !format!("{out}{err}").contains(MARKER),
        "{what}: {out}{err}"
    );
}

#[test]
fn no_program_quotes_a_file_whatever_it_is_taken_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let identity = crate::support::certificates::Authority::new("x").server(&["x"]);
    fs::write(dir.join("good.crt"), &identity.certificate).unwrap();
    fs::write(dir.join("good.key"), &identity.key).unwrap();
    let main = "[pgexporter]\nhost = 127.0.0.1\nunix_socket_dir = /tmp\nmetrics = 5002\n";
    let server = "[s]\nhost = 127.0.0.1\nport = 1\nuser = u\n";
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("good.conf", &format!("{main}{server}"));
    write(
        "kubernetes.conf",
        &format!("{main}kubernetes = on\n{server}"),
    );
    let vault = dir.join(".pgexporter");
    fs::create_dir(&vault).unwrap();
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).unwrap();
    let (exporter, cli, admin) = (
        env!("CARGO_BIN_EXE_pgexporter"),
        env!("CARGO_BIN_EXE_pgexporter-cli"),
        env!("CARGO_BIN_EXE_pgexporter-admin"),
    );
    let check = |what: &str, arguments: &[&str]| {
        let arguments = [arguments, &["check", "--offline"]].concat();
        says_nothing(what, program(cli, dir).args(arguments));
    };
    for (name, text) in files() {
        write(name, &text);
        says_nothing(name, program(exporter, dir).args(["-c", name]));
        check(name, &["-c", name]);
        check(name, &["-c", "good.conf", "-u", name]);
        check(name, &["-c", "good.conf", "-A", name]);
        check(name, &["-c", "good.conf", "-Y", name]);
        for (of_main, of_server) in PLACES {
            let fill = |lines: &str| lines.replace("{}", name);
            let text = format!("{main}{}\n{server}{}\n", fill(of_main), fill(of_server));
            write("placed.conf", &text);
            check(
                &format!("{name} as {of_main}{of_server}"),
                &["-c", "placed.conf"],
            );
        }
        let mut pgpass = program(cli, dir);
        pgpass.env("PGPASSFILE", dir.join(name));
        says_nothing(name, pgpass.args(["-c", "good.conf", "check", "--offline"]));
        // The names of a good file are what it is asked for.
        let listed = program(admin, dir)
            .args(["-f", name, "user", "ls"])
            .output();
        let (status, out, err) = said(&listed.unwrap());
        let out = if status == 0 { String::new() } else { out };
        assert!(
            !format!("{out}{err}").contains(MARKER),
            "{name}: {out}{err}"
        );
        let delete = ["-f", name, "-U", "nobody", "user", "del"];
        says_nothing(name, program(admin, dir).args(delete));
        says_nothing(name, program(cli, dir).args(["decrypt", name, "out"]));
        // As the master key, and as the authority of the command line.
        fs::copy(dir.join(name), vault.join("master.key")).unwrap();
        fs::copy(dir.join(name), vault.join("root.crt")).unwrap();
        check(name, &["-c", "good.conf", "-u", "one-user"]);
        let far = ["-h", "127.0.0.1", "-p", "1", "-U", "a", "-P", "b", "ping"];
        says_nothing(name, program(cli, dir).args(far));
        fs::remove_file(vault.join("master.key")).unwrap();
        fs::remove_file(vault.join("root.crt")).unwrap();
        if name != "kubeconfig" && name.contains("conf") {
            continue;
        }
        let mut cluster = program(exporter, dir);
        cluster.env("KUBECONFIG", dir.join(name));
        says_nothing(name, cluster.args(["-c", "kubernetes.conf"]));
        let plugin = dir.join("kubectl-pgexporter");
        let _ = fs::remove_file(&plugin);
        std::os::unix::fs::symlink(cli, &plugin).unwrap();
        let mut plugin = program(&plugin.display().to_string(), dir);
        says_nothing(name, plugin.args(["--kubeconfig", name, "status"]));
    }
}

#[test]
fn no_answer_page_or_log_line_quotes_a_file() {
    let mut builder = lonely().set("log_level = debug5");
    for (name, text) in files() {
        builder = builder.file(&format!("files/{name}"), &text);
    }
    let exporter = builder.start();
    let dir = exporter.folder().join("files");
    let good = exporter.config_text();
    // For the command line, which only looks for the socket's folder.
    fs::write(exporter.folder().join("good.conf"), &good).unwrap();
    for (name, text) in files() {
        let path = dir.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let path = path.display().to_string();
        let mut answers = String::new();
        let mut ask = |arguments: &[&str]| {
            let (_, out, err) = said(&cli(&exporter, arguments));
            answers.push_str(&format!("{arguments:?}: {out}{err}\n"));
        };
        for key in [
            "metrics_path",
            "server.nobody.password_file",
            "server.nobody.tls_ca_file",
        ] {
            ask(&["conf", "set", key, &path]);
            ask(&["conf", "set", key, ""]);
        }
        // The file in place of the configuration, and named in it.
        for text in [
            text,
            good.replace(
                "[pgexporter]",
                &format!("[pgexporter]\nmetrics_path = {path}"),
            ),
            good.replace("[nobody]", &format!("[nobody]\npassword_file = {path}")),
        ] {
            if text.contains('\u{0}') {
                continue;
            }
            exporter.write_config(&text);
            for arguments in [&["conf", "reload"][..], &["check"], &["conf", "get"]] {
                let output = command(&exporter)
                    .args(["-c", "good.conf"])
                    .args(arguments)
                    .output()
                    .unwrap();
                let (_, out, err) = said(&output);
                answers.push_str(&format!("{arguments:?}: {out}{err}\n"));
            }
        }
        exporter.write_config(&good);
        assert!(!answers.contains(MARKER), "{name}: {answers}");
    }
    for arguments in [
        &["status", "details"][..],
        &["check"],
        &["conf", "ls"],
        &["conf", "get"],
    ] {
        let (_, document) = json(&exporter, arguments);
        assert!(!document.to_string().contains(MARKER), "{document}");
    }
    for page in ["/", "/metrics"] {
        assert!(!exporter.get(page).body.contains(MARKER), "{page}");
    }
    let log = exporter.log();
    let line = log.lines().find(|line| line.contains(MARKER));
    assert_eq!(line, None);
    assert_alive(&exporter);
}
