//! Whole files, as people write them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::telemetry::{LogFormat, LogLevel, LogMode, LogType};

const MAIN: &str = "[pgexporter]\nhost = *\nunix_socket_dir = /tmp/\nmetrics = 5002\n";
const SERVER: &str = "[primary]\nhost = localhost\nport = 5432\nuser = pgexporter\n";

fn read(text: &str) -> Result<LoadedConfiguration, String> {
    parse(Path::new("f"), text).map_err(|errors| errors.to_string())
}

/// The usual file with lines of ours in both sections.
fn with(main: &str, server: &str) -> Result<LoadedConfiguration, String> {
    read(&format!("{MAIN}{main}\n{SERVER}{server}\n"))
}

fn configuration(main: &str, server: &str) -> Configuration {
    with(main, server).unwrap().configuration
}

#[test]
fn the_smallest_file_is_read_and_the_rest_takes_its_default() {
    let LoadedConfiguration {
        configuration,
        notices,
    } = with("", "").unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let Configuration {
        path,
        main,
        servers,
    } = configuration;
    assert_eq!(path, PathBuf::from("f"));
    assert_eq!((main.host.as_str(), main.metrics), ("*", 5002));
    assert_eq!(main.unix_socket_dir, PathBuf::from("/tmp/"));
    assert_eq!((main.health, main.management), (None, None));
    assert_eq!(main.metrics_cache_max_age, Duration::ZERO);
    assert_eq!(main.metrics_cache_max_size, 256 * 1024);
    assert_eq!(
        (main.log_type, main.log_level),
        (LogType::Console, LogLevel::Info)
    );
    assert_eq!(
        (main.log_mode, main.log_format),
        (LogMode::Append, LogFormat::Text)
    );
    assert_eq!(main.log_line_prefix, "%Y-%m-%d %H:%M:%S");
    assert_eq!(main.log_path, PathBuf::from("pgexporter.log"));
    assert_eq!(main.blocking_timeout, Duration::from_secs(30));
    assert_eq!(main.authentication_timeout, Duration::from_secs(5));
    assert_eq!(main.lock_timeout, Duration::from_secs(1));
    assert_eq!((main.max_connections, main.session_databases), (100, 1));
    assert_eq!(
        (main.cache, main.tls, main.openmetrics),
        (true, false, false)
    );
    assert_eq!(
        (main.keep_alive, main.nodelay, main.non_blocking),
        (true, true, true)
    );
    assert_eq!((main.backlog, main.hugepage), (1_024, HugePage::Try));
    assert_eq!(main.update_process_title, ProcessTitle::Verbose);
    assert_eq!((main.collector_interval, main.pidfile), (None, None));
    assert_eq!(servers.len(), 1);
    let server = &servers[0];
    assert_eq!(
        (server.name.as_str(), server.host.as_str()),
        ("primary", "localhost")
    );
    assert_eq!((server.port, server.user.as_str()), (5432, "pgexporter"));
    assert_eq!(
        (server.database.as_str(), server.tls),
        ("postgres", ServerTls::Try)
    );
}

#[test]
fn a_file_of_the_c_program_with_all_it_may_hold_is_read_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["server.crt", "server.key", "root.crt", "custom.yaml"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let text = "\
#
# The exporter of the accounting machines
#
[pgexporter]
host = localhost
unix_socket_dir = /tmp/
metrics = 5002
metrics_path = @/custom.yaml
metrics_cache_max_age = 30s
metrics_cache_max_size = 1M
metrics_query_timeout = 2s
metrics_cert_file = @/server.crt
metrics_key_file = @/server.key
metrics_ca_file = @/root.crt
management = 5003
cache = on

history = 5004
history_interval = 1m
history_retention = 4w
history_path = /var/lib/pgexporter
bridge = 5005
bridge_endpoints = localhost:9100, localhost:9187
bridge_cache_max_age = 5m
bridge_json = 5006
alerts = on
console = 5007

log_type = file
log_level = debug3
log_path = /var/log/pgexporter/pgexporter.log
log_rotation_age = 1d
log_rotation_size = 10M
log_line_prefix = \"%Y-%m-%d %H:%M:%S\"
log_mode = c

blocking_timeout = 30
authentication_timeout = 5
tls = on
tls_cert_file = @/server.crt
tls_key_file = @/server.key
tls_ca_file = @/root.crt
libev = auto
ev_backend = io_uring
keep_alive = yes
nodelay = 1
non_blocking = true
backlog = 32
hugepage = off
pidfile = /run/pgexporter.pid
update_process_title = strict
extensions = pg_stat_statements, pg_buffercache
collectors =
exclude_collectors = table_bloat

[primary]
host = 10.1.2.3
port = 5432
user = pgexporter
data_dir = /var/lib/pgsql/data
wal_dir = /var/lib/pgsql/wal
tls = on
tls_ca_file = @/root.crt
extensions = pg_stat_statements

; the standby
[replica 2]
host = /var/run/postgresql
port = 5433
user = pgexporter

[node]
host = localhost
port = 9100
type = prometheus
"
    .replace('@', &folder.path().display().to_string());
    let LoadedConfiguration {
        configuration,
        notices,
    } = read(&text).unwrap();
    let main = &configuration.main;
    assert_eq!(main.metrics_path, Some(folder.path().join("custom.yaml")));
    assert_eq!(main.metrics_cache_max_age, Duration::from_secs(30));
    assert_eq!(main.metrics_query_timeout, Duration::from_secs(2));
    assert_eq!(
        main.metrics_tls_files.key,
        Some(folder.path().join("server.key"))
    );
    assert_eq!((main.management, main.tls), (Some(5003), true));
    assert_eq!(
        (main.log_type, main.log_level),
        (LogType::File, LogLevel::Debug)
    );
    assert_eq!(
        (main.log_mode, main.log_rotation_size),
        (LogMode::Create, 10 << 20)
    );
    assert_eq!(main.extensions, ["pg_stat_statements", "pg_buffercache"]);
    assert_eq!(main.collectors, Vec::<String>::new());
    assert_eq!(main.exclude_collectors, ["table_bloat"]);
    let names: Vec<_> = configuration
        .servers
        .iter()
        .map(|server| &server.name)
        .collect();
    assert_eq!(names, ["primary", "replica 2"]);
    assert_eq!(configuration.servers[0].tls, ServerTls::On);
    for key in [
        "history",
        "history_interval",
        "history_retention",
        "history_path",
        "bridge",
        "bridge_endpoints",
        "bridge_cache_max_age",
        "bridge_json",
        "alerts",
        "console",
    ] {
        let said = notices
            .iter()
            .filter(|line| line.contains(&format!(" {key}: ")))
            .count();
        assert_eq!(said, 1, "{key}: {notices:#?}");
    }
    assert!(
        notices
            .iter()
            .any(|line| line.contains("ev_backend: io_uring has no effect"))
    );
    assert!(
        notices
            .iter()
            .any(|line| line.contains("[node] of type prometheus"))
    );
    assert_eq!(notices.len(), 14, "{notices:#?}");
}

#[test]
fn each_mistake_is_told_with_file_line_key_and_what_is_allowed() {
    for (main, server, expected) in [
        (
            "metrisc = 1",
            "",
            "f:5: metrisc: is not a known key; did you mean `metrics`?",
        ),
        (
            "Log_Levl = info",
            "",
            "f:5: Log_Levl: is not a known key; did you mean `log_level`?",
        ),
        (
            "zzz = 1",
            "",
            "f:5: unknown key; docs/configuration.md lists the keys",
        ),
        (
            "port = 1",
            "",
            "f:5: port: belongs in the section of a server",
        ),
        (
            "",
            "metrics = 1",
            "f:10: metrics: belongs in the section [pgexporter]",
        ),
        (
            "metrics = 5003",
            "",
            "f:5: metrics: is already set at line 4; keep one of them",
        ),
        (
            "tls = maybe",
            "",
            "f:5: tls: this value is not allowed; allowed: on, off, true, false, \
          yes, no, 1, 0",
        ),
        (
            "",
            "tls = maybe",
            "f:10: tls: this value is not allowed; allowed: off, try, on, \
          verify-ca, verify-full, false, no, 0, true, yes, 1",
        ),
        (
            "health = 70000",
            "",
            "f:5: health: this value is not allowed; allowed: 1 to 65535, or 0 \
          for off",
        ),
        (
            "blocking_timeout = soon",
            "",
            "f:5: blocking_timeout: this value is not allowed; allowed: \
          a number of seconds, or one with ms, s, m, h, d or w",
        ),
        (
            "lock_timeout = 0",
            "",
            "f:5: lock_timeout: this value is not allowed; allowed: at least 1ms, \
          at most 24d, a number of seconds, or one with ms, s, m, h, d or w",
        ),
        (
            "metrics_cache_max_size = 1T",
            "",
            "f:5: metrics_cache_max_size: this value is not allowed; \
          allowed: a number of bytes, or one with k, M or G",
        ),
        (
            "log_level = loud",
            "",
            "f:5: log_level: this value is not allowed; allowed: debug5, debug, \
          info, warn, error, fatal, debug4, debug3, debug2, debug1, trace, warning",
        ),
        (
            "log_mode =",
            "",
            "f:5: log_mode: has no value; allowed: append, create, a, c",
        ),
        (
            "history = 99999",
            "",
            "f:5: history: this value is not allowed; allowed: 1 to 65535, or 0 \
          for off",
        ),
        (
            "health = 5002",
            "",
            "f:5: health: 5002 is the port of `metrics` too; give it one of \
          its own",
        ),
        (
            "metrics_path = /none/such",
            "",
            "f:5: metrics_path: /none/such: there is no such file",
        ),
        (
            "metrics_cert_file = /tmp",
            "",
            "f:5: metrics_cert_file: needs metrics_key_file beside \
          it\nf:5: metrics_cert_file: /tmp: is a folder; name a file",
        ),
        (
            "metrics_ca_file = /none",
            "",
            "f:5: metrics_ca_file: /none: there is no such file\n\
          f:5: metrics_ca_file: needs metrics_cert_file and metrics_key_file beside it",
        ),
        (
            "management = 5003\ntls = on",
            "",
            "f:6: tls: on needs tls_cert_file and tls_key_file",
        ),
        (
            "",
            "tls_key_file = /dev/null",
            "f:10: tls_key_file: needs tls_cert_file beside it",
        ),
        (
            "",
            "tls_ca_file = /none",
            "f:10: tls_ca_file: /none: there is no such file",
        ),
        (
            "",
            "[primary]\nhost = h",
            "f:10: this section already exists at line 6; put \
          its keys there",
        ),
    ] {
        assert_eq!(with(main, server).unwrap_err(), expected, "{main} {server}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_the_order_of_its_lines() {
    let text = "metrics = 1\n[pgexporter]\nmetrics = x\nnonsense\nlog_levle = info\n\
                [primary]\nhost = db\nport = 0\n[broken\nhost = unheard\n";
    let lines = read(text).unwrap_err();
    let starts = [
        "f:1: metrics: is above the first section",
        "f:2: host: is required in this section: Address to listen on",
        "f:2: unix_socket_dir: is required",
        "f:3: metrics: this value is not allowed; allowed: 1 to 65535",
        "f:4: is not of the form",
        "f:5: log_levle: is not a known key; did you mean `log_level`?",
        "f:6: user: is required",
        "f:8: port: this value is not allowed",
        "f:9: has no closing `]`",
    ];
    assert_eq!(lines.lines().count(), starts.len(), "{lines}");
    for (line, start) in lines.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}\nis not\n{start}");
    }
}

#[test]
fn a_secret_in_a_wrong_place_is_not_repeated() {
    for (main, server) in [
        ("password = hunter2", ""),
        ("", "password = hunter2"),
        ("", "PGPASSWORD = hunter2"),
        ("hunter2password = x", ""),
        ("hunter2 = x", ""),
        ("hunter2 = 'x", ""),
        ("hunter2=", ""),
        ("log_level = hunter2", ""),
        ("metrics = hunter2", ""),
        ("tls = hunter2", "port = hunter2"),
        ("[hunter2]\n[hunter2]", ""),
        ("[hunter2", ""),
        ("hunter2", ""),
        ("", "host = postgres://me:hunter2@db/x"),
    ] {
        let text = format!("{MAIN}{main}\n[primary]\n{server}\n");
        let errors = read(&text).unwrap_err();
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    let errors = with("", "password = x").unwrap_err();
    assert!(
        errors.contains("pgexporter-admin") && errors.contains("PGPASSFILE"),
        "{errors}"
    );
}

#[test]
fn what_does_nothing_is_noticed_and_keeps_nothing_from_running() {
    for (main, server, expected) in [
        ("alerts = off", "", "f:5: alerts: has no effect yet"),
        (
            "history_backend = sqlite",
            "",
            "f:5: history_backend: has no effect yet",
        ),
        (
            "libev = select",
            "",
            "f:5: libev: select has no effect: the event loop is the \
          operating system's own",
        ),
        (
            "non_blocking = off",
            "",
            "f:5: non_blocking: off has no effect: connections never \
          block",
        ),
        (
            "tls = on",
            "",
            "f:5: tls: on has no effect: it is about the management port, which is \
          off",
        ),
        (
            "tls_ca_file = /none",
            "",
            "f:5: tls_ca_file: /none: there is no such file",
        ),
        (
            "blocking_timeout = 0",
            "",
            "f:5: blocking_timeout: 0 would mean to wait forever, so 30s is used",
        ),
    ] {
        assert_eq!(
            with(main, server).unwrap().notices,
            [expected],
            "{main} {server}"
        );
    }
    for quiet in [
        "libev = epoll",
        "ev_backend = auto",
        "kubernetes = on",
        "blocking_timeout = 1",
    ] {
        assert_eq!(
            with(quiet, "").unwrap().notices,
            Vec::<String>::new(),
            "{quiet}"
        );
    }
    let waits = configuration("blocking_timeout = 0\nauthentication_timeout = 0", "").main;
    assert_eq!(waits.blocking_timeout, Duration::from_secs(30));
    assert_eq!(waits.authentication_timeout, Duration::from_secs(5));
}

#[test]
fn a_file_without_a_server_runs_only_where_kubernetes_may_bring_some() {
    let notices = read(MAIN).unwrap().notices;
    assert_eq!(notices.len(), 1);
    assert!(
        notices[0].contains("nothing to scrape until one is added"),
        "{notices:?}"
    );
    let errors = read(&format!("{MAIN}kubernetes = off\n")).unwrap_err();
    assert!(
        errors.starts_with("f: has no section of a server; add one"),
        "{errors}"
    );
    assert_eq!(read(SERVER).unwrap_err(), "f: has no section [pgexporter]");
    assert!(
        read("")
            .unwrap_err()
            .contains("has no section [pgexporter]")
    );
}

#[test]
fn the_name_of_a_server_may_be_long_but_not_endless() {
    let named = |length| {
        read(&format!(
            "{MAIN}[{}]\nhost=h\nport=1\nuser=u\n",
            "é".repeat(length)
        ))
    };
    assert!(named(127).is_ok());
    assert!(
        named(128)
            .unwrap_err()
            .contains("has 128 characters; allowed: 127")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_name_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let said = |path: &Path| load(path).unwrap_err().to_string();
    let path = folder.path().join(FILE_NAME);
    assert_eq!(
        said(&path),
        format!("{}: there is no such file", path.display())
    );
    let name = folder.path().display();
    assert_eq!(
        said(folder.path()),
        format!("{name}: is a folder; name a file")
    );
    assert!(said(Path::new("/dev/zero")).contains("larger than 16 MiB"));
    fs::write(&path, b"[pgexporter]\nhost = \xff\n").unwrap();
    assert!(said(&path).contains(":2: is not UTF-8"), "{}", said(&path));
    fs::write(&path, format!("{MAIN}{SERVER}")).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.configuration.servers[0].name, "primary");
    assert_eq!(loaded.configuration.path, path);
}

#[test]
fn the_file_is_sought_where_the_options_and_the_environment_say() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    let full = folder.path().join("full");
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&full).unwrap();
    fs::write(full.join(FILE_NAME), "").unwrap();
    let nothing = |_: &str| None::<OsString>;
    let variable = |name: &str| (name == DIRECTORY_VARIABLE).then(|| full.clone().into_os_string());

    let given = Path::new("/a/file");
    assert_eq!(find(Some(given), Some(&full), variable).unwrap(), given);
    assert_eq!(
        find(None, Some(&full), nothing).unwrap(),
        full.join(FILE_NAME)
    );
    assert_eq!(find(None, None, variable).unwrap(), full.join(FILE_NAME));
    let default = Path::new(DEFAULT_DIRECTORY).join(FILE_NAME);
    match find(None, Some(&empty), variable) {
        Ok(found) => assert_eq!(found, default),
        Err(errors) => {
            let said = errors.to_string();
            assert!(
                said.contains(&empty.join(FILE_NAME).display().to_string()),
                "{said}"
            );
            assert!(said.contains(&default.display().to_string()), "{said}");
            assert!(
                said.contains("-c") && said.contains(DIRECTORY_VARIABLE),
                "{said}"
            );
        }
    }
}

#[test]
fn a_reload_applies_what_it_may_and_reports_what_waits_for_a_restart() {
    let old = configuration("log_level = info\npidfile = /run/a.pid", "tls = try");
    let text = format!(
        "{}log_level = debug\nmetrics_cache_max_age = 5s\n{}tls = on\n[replica]\nhost = r\n\
         port = 5432\nuser = u\n",
        MAIN.replace("5002", "5009"),
        SERVER
    );
    let new = read(&text).unwrap().configuration;
    let changes = compare(&old, &new);
    assert_eq!(
        changes.to_string(),
        "metrics_cache_max_age: was 0, is 5s\n\
         log_level: was info, is debug\n\
         server replica: added\n\
         server primary: tls: was try, is on\n\
         metrics: stays 5002, waits for a restart to become 5009\n\
         pidfile: stays /run/a.pid, waits for a restart to become none"
    );
    let merged = merge(&old, &new);
    assert_eq!(merged.main.metrics, 5002);
    assert_eq!(merged.main.pidfile, Some(PathBuf::from("/run/a.pid")));
    assert_eq!(merged.main.log_level, LogLevel::Debug);
    assert_eq!(merged.servers, new.servers);
    // Reading the same file again says again what waits, and applies nothing twice.
    let again = compare(&merged, &new);
    assert_eq!((again.applied.len(), again.restart.len()), (0, 2));
    assert!(again.added.is_empty() && again.changed.is_empty());

    assert_eq!(compare(&new, &old).removed, ["replica"]);
    assert!(compare(&old, &old).is_empty());
    assert_eq!(compare(&old, &old).to_string(), "no changes");
}

#[test]
fn every_key_marked_so_waits_for_a_restart_and_every_other_is_applied() {
    let old = configuration("", "");
    for key in keys::main_keys() {
        let value = match key.kind {
            ValueKind::Port | ValueKind::PortOrOff => "6001".to_owned(),
            ValueKind::Number(low, _) => low.max(7).to_string(),
            ValueKind::Duration(..) | ValueKind::AutoOrDuration => "17s".to_owned(),
            ValueKind::Size => "17".to_owned(),
            ValueKind::SizeWithin(low, _) => low.to_string(),
            ValueKind::Bool => if key.default == "on" { "off" } else { "on" }.to_owned(),
            ValueKind::Word(words, _) => words
                .iter()
                .find(|word| **word != key.default)
                .unwrap()
                .to_string(),
            // A file that is there, for the keys that name one; all others take any text.
            _ if key.name.contains("_file") => continue,
            _ if key.name.contains("_ports") => "5432, 6432-6440".to_owned(),
            _ => "/dev/null".to_owned(),
        };
        let mut lines = format!("{MAIN}{SERVER}");
        if key.name == "host" {
            lines = lines.replace("host = *", "host = ::1");
        } else if key.required == keys::Required::Yes {
            let from = lines
                .lines()
                .find(|line| line.starts_with(key.name))
                .unwrap()
                .to_owned();
            lines = lines.replace(&from, &format!("{} = {value}", key.name));
        } else {
            lines = format!("{MAIN}{} = {value}\n{SERVER}", key.name);
        }
        let new = read(&lines).unwrap().configuration;
        let changes = compare(&old, &new);
        let names = |changes: &[KeyChange]| -> Vec<String> {
            changes.iter().map(|change| change.key.clone()).collect()
        };
        let works = get(&old, key.name).is_some();
        let (applied, restart) = match key.effect {
            keys::Effect::Reload => (works, false),
            keys::Effect::Restart => (false, works),
        };
        let only = |yes: bool| {
            if yes {
                vec![key.name.to_owned()]
            } else {
                Vec::new()
            }
        };
        assert_eq!(names(&changes.applied), only(applied), "{}", key.name);
        assert_eq!(names(&changes.restart), only(restart), "{}", key.name);
        let merged = merge(&old, &new);
        let expected = if restart {
            get(&old, key.name)
        } else {
            get(&new, key.name)
        };
        assert_eq!(get(&merged, key.name), expected, "{}", key.name);
    }
}

#[test]
fn tls_that_stays_on_until_a_restart_keeps_its_files_until_then() {
    let on = "management = 5003\ntls = on\ntls_cert_file = /dev/null\ntls_key_file = /dev/null";
    let (old, new) = (
        configuration(on, ""),
        configuration("management = 5003", ""),
    );
    let merged = merge(&old, &new);
    assert!(merged.main.tls);
    assert_eq!(merged.main.tls_files, old.main.tls_files);
    let waiting: Vec<_> = compare(&old, &new)
        .restart
        .into_iter()
        .map(|c| c.key)
        .collect();
    assert_eq!(waiting, ["tls", "tls_cert_file", "tls_key_file"]);
}

#[test]
fn values_are_listed_by_name_and_a_file_made_of_them_says_the_same() {
    let main = "log_level = warning\nmetrics_cache_max_age = 90\nextensions = a,b\npidfile = /a";
    let configuration = configuration(main, "tls = verify-full\ndatabase = \"a # b\"");
    for (key, value) in [
        ("log_level", Some("warn")),
        ("pgexporter.log_level", Some("warn")),
        ("metrics_cache_max_age", Some("90s")),
        ("metrics_cache_max_size", Some("256k")),
        ("extensions", Some("a, b")),
        ("health", Some("0")),
        ("metrics_path", Some("")),
        ("cache", Some("on")),
        ("server.primary.port", Some("5432")),
        ("server.primary.tls", Some("verify-full")),
        ("server.other.port", None),
        ("server.primary.no", None),
        ("no", None),
        ("history", None),
        ("", None),
    ] {
        assert_eq!(get(&configuration, key).as_deref(), value, "{key}");
    }
    assert_eq!(written(&configuration), configuration);
}

/// The configuration that a file made of the listed values gives.
fn written(configuration: &Configuration) -> Configuration {
    let (mut text, mut servers) = ("[pgexporter]\n".to_owned(), String::new());
    let mut last = "";
    let all = values(configuration);
    for (key, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some((server, key)) = key.strip_prefix("server.").and_then(|k| k.rsplit_once('.')) {
            if server != last {
                servers.push_str(&format!("[{server}]\n"));
                last = server;
            }
            servers.push_str(&format!("{key} = \"{value}\"\n"));
        } else {
            text.push_str(&format!("{key} = \"{value}\"\n"));
        }
    }
    read(&(text + &servers)).unwrap().configuration
}

proptest! {
    #[test]
    fn no_text_ends_the_program(text in ".*") {
        let _ = read(&text);
    }

    #[test]
    fn no_message_repeats_the_file(pieces in prop::collection::vec(prop::sample::select(vec![
        "QZMARK-7", "\n", " = ", "=", "[", "]", "[pgexporter]\n", "[s]\n", "\nport = ", "\ntls = ",
        "\nlog_level = ", "\nrequire_auth = ", "\nmetrics = ", "password", "'", "\"", " # ", ";", " ",
    ]), 0..16)) {
        if let Err(errors) = read(&pieces.concat()) {
            prop_assert!(!errors.contains("QZMARK"), "{}", errors);
        }
    }

    #[test]
    fn no_bytes_end_the_program(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = super::read::parse_bytes(Path::new("f"), &bytes);
    }

    #[test]
    fn no_value_of_any_key_ends_the_program(
        key in 0..keys::main_keys().count(),
        value in "[ -~]{0,20}",
    ) {
        let name = keys::main_keys().nth(key).unwrap().name;
        let _ = with(&format!("{name} = {value}"), "");
    }

    #[test]
    fn lines_that_look_like_a_file_end_in_a_configuration_or_in_errors_with_lines(
        lines in prop::collection::vec("\\[?(pgexporter|host|port|tls|s)\\]?( = ?[\"'a-z0-9#; ]{0,8})?", 0..20),
    ) {
        if let Err(errors) = read(&lines.join("\n")) {
            prop_assert!(errors.lines().all(|line| line.starts_with("f:")));
        }
    }
}

#[test]
fn ports_of_targets_are_numbers_and_ranges() {
    let read = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        crate::config::port_ranges(&texts)
    };
    assert_eq!(
        read(&["5432", "6432-6440"]),
        Ok(vec![(5432, 5432), (6432, 6440)])
    );
    for wrong in ["0", "65536", "7-6", "a", "1-", "-"] {
        let said = read(&["1", wrong]).unwrap_err().to_string();
        assert!(said.contains("allowed are 1 to 65535"), "{said}");
    }
}
