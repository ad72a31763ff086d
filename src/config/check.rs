//! Checks that look at more than one key, or at files the keys name.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::configuration::{Main, ManagementTls, Server, ServerTls, TlsFiles};
use super::errors::ProblemList;
use super::given::GivenKeys;
use super::keys::main_keys;
use super::value::Value;
use crate::security::RequireAuth;

/// A section that is checked: the keys that it gives, and what is wrong with them.
struct CheckedSection<'a> {
    given: &'a GivenKeys,
    problems: &'a mut ProblemList,
}

impl CheckedSection<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        let line = self.given.line(key);
        self.problems.add_problem(line, Some(key), message);
    }

    fn notice(&mut self, key: &str, message: impl Into<String>) {
        self.problems.add_notice(self.given.line(key), key, message);
    }
}

/// Checks the main section. Timeouts of zero, which would be no timeout at all, take their default.
pub(super) fn check_main(main: &mut Main, given: &GivenKeys, problems: &mut ProblemList) {
    let section = &mut CheckedSection { given, problems };
    raise_to_minimum("blocking_timeout", &mut main.blocking_timeout, section);
    raise_to_minimum(
        "authentication_timeout",
        &mut main.authentication_timeout,
        section,
    );
    check_ports(main, section);
    if let Err(error) = port_ranges(&main.kubernetes_allowed_ports) {
        let key = "kubernetes_allowed_ports";
        section.problem(key, error.to_string());
    }
    if let Some(path) = &main.metrics_path
        && let Err(error) = path.metadata()
    {
        let message = format!("{}: {}", path.display(), explain_io_error(&error));
        section.problem("metrics_path", message);
    }
    if !main.non_blocking {
        let message = "off has no effect: connections never block";
        section.notice("non_blocking", message);
    }

    for (key, value) in [("ev_backend", main.ev_backend), ("libev", main.libev)] {
        if !["auto", "epoll"].contains(&value) {
            let message =
                format!("{value} has no effect: the event loop is the operating system's own");
            section.notice(key, message);
        }
    }

    check_tls_files("metrics_", &main.metrics_tls_files, true, section);
    if main.metrics_tls_files.ca.is_some() && main.metrics_tls_files.cert.is_none() {
        let message = "needs metrics_cert_file and metrics_key_file beside it";
        section.problem("metrics_ca_file", message);
    }
    let in_use = main.tls && main.management.is_some();
    check_tls_files("tls_", &main.tls_files, in_use, section);
    if main.tls && main.management.is_none() {
        let message = "on has no effect: it is about the management port, which is off";
        section.notice("tls", message);
    }
    if main.management_tls == ManagementTls::Require && main.management.is_some() && !main.tls {
        let message = "require rejects every login while tls is off; set tls = on";
        section.problem("management_tls", message);
    }
    if in_use && main.tls_files.cert.is_none() && main.tls_files.key.is_none() {
        let message = "on needs tls_cert_file and tls_key_file";
        section.problem("tls", message);
    }
}

/// Checks a server's section.
pub(super) fn check_server(server: &Server, given: &GivenKeys, problems: &mut ProblemList) {
    let section = &mut CheckedSection { given, problems };
    check_tls_files(
        "tls_",
        &server.tls_files,
        server.tls != ServerTls::Off,
        section,
    );
    let methods = server.require_auth.iter().map(String::as_str);
    if let Err(error) = RequireAuth::parse(methods) {
        section.problem("require_auth", error.to_string());
    }
    for key in ["data_dir", "wal_dir"] {
        if given.value(key).is_some() {
            section.notice(key, "has no effect yet");
        }
    }
    let explicit = given.value("tls").is_some();
    if server.host.starts_with('/') && explicit && server.tls > ServerTls::Try {
        let message = "has no effect: a Unix socket speaks no TLS";
        section.notice("tls", message);
    }
}

/// Without a server there is nothing to do, unless Kubernetes may bring some.
pub(super) fn check_any_server(servers: &[Server], given: &GivenKeys, problems: &mut ProblemList) {
    if !servers.is_empty() {
        return;
    }
    if given.value("kubernetes") == Some(&Value::Word("off")) {
        let message = "has no section of a server; add one, such as [primary] with host, port \
                       and user";
        problems.add_problem(None, None, message);
    } else {
        let message = "there is none, so there is nothing to scrape until one is added";
        problems.add_notice(None, "section of a server", message);
    }
}

fn raise_to_minimum(key: &str, timeout: &mut Duration, section: &mut CheckedSection<'_>) {
    if !timeout.is_zero() || section.given.value(key).is_none() {
        return;
    }
    let default = main_keys()
        .find(|known| known.name == key)
        .map(super::keys::Key::default_value);
    if let Some(Ok(Value::Duration(default))) = default {
        *timeout = default;
        let default = Value::Duration(default);
        let message = format!("0 would mean to wait forever, so {default} is used");
        section.notice(key, message);
    }
}

/// A text that is neither a port nor a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port; allowed are 1 to 65535 and ranges such as 6432-6440")]
pub struct PortRangeError(String);

/// Reads ports and ranges of them, such as `5432` and `6432-6440`, both ends included.
///
/// # Errors
/// One is neither; says what is allowed.
pub fn port_ranges(texts: &[String]) -> Result<Vec<(u16, u16)>, PortRangeError> {
    let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port > 0);
    let range = |text: &String| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let found = port(first).zip(port(last));
        found
            .filter(|(first, last)| first <= last)
            .ok_or_else(|| PortRangeError(text.clone()))
    };
    texts.iter().map(range).collect()
}

fn check_ports(main: &Main, section: &mut CheckedSection<'_>) {
    let metrics = (main.metrics != 0).then_some(main.metrics);
    let ports = [
        ("metrics", metrics),
        ("health", main.health),
        ("management", main.management),
    ];
    for (index, (key, port)) in ports.iter().enumerate() {
        let Some(number) = port else { continue };
        if let Some((other, _)) = ports[..index].iter().find(|(_, other)| other == port) {
            let message = format!("{number} is the port of `{other}` too; give it one of its own");
            section.problem(key, message);
        }
    }
}

/// A certificate and its key come together, and files that are used are there. Files that are not
/// used only earn a notice: the C program does not look at them either.
fn check_tls_files(prefix: &str, files: &TlsFiles, in_use: bool, section: &mut CheckedSection<'_>) {
    let (cert, key) = (format!("{prefix}cert_file"), format!("{prefix}key_file"));
    for (alone, this, other) in [
        (files.cert.is_some() && files.key.is_none(), &cert, &key),
        (files.key.is_some() && files.cert.is_none(), &key, &cert),
    ] {
        if alone {
            section.problem(this, format!("needs {other} beside it"));
        }
    }
    let ca = format!("{prefix}ca_file");
    for (name, path) in [(&cert, &files.cert), (&key, &files.key), (&ca, &files.ca)] {
        let Some(path) = path else { continue };
        let Err(error) = check_readable(path) else {
            continue;
        };
        let message = format!("{}: {error}", path.display());
        match in_use {
            true => section.problem(name, message),
            false => section.notice(name, message),
        }
    }
}

fn check_readable(path: &Path) -> Result<(), String> {
    // A pipe would wait for its writer, so a file is only opened when it is one.
    let metadata = path.metadata().map_err(|error| explain_io_error(&error))?;
    if metadata.is_dir() {
        return Err("is a folder; name a file".to_owned());
    }
    if metadata.is_file() {
        File::open(path).map_err(|error| explain_io_error(&error))?;
    }
    Ok(())
}

/// Why a file cannot be used, and what to do.
pub(super) fn explain_io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read by the user that runs this program".to_owned()
        }
        io::ErrorKind::IsADirectory => "is a folder; name a file".to_owned(),
        _ => error.to_string(),
    }
}
