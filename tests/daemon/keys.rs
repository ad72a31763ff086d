//! Keys of the configuration that a user notices in the process itself.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{self, Exporter, Postgres, eventually, within};
use crate::{active, eventually_active, eventually_logged, metric, sessions};

#[test]
fn the_cache_keeps_a_session_between_scrapes_or_not() {
    let server = Postgres::start(17);
    let kept = Exporter::builder().server("one", &server).start();
    eventually_active(&kept, "one");
    let before = sessions(&server);
    assert_eq!(before.len(), 1);
    eventually_active(&kept, "one");
    assert_eq!(sessions(&server), before);
    drop(kept);
    eventually("the session is gone", || sessions(&server).is_empty());

    let unkept = Exporter::builder()
        .server("one", &server)
        .set("cache = off")
        .start();
    assert_eq!(active(&unkept, "one"), Some(1.0));
    eventually("no session is kept", || sessions(&server).is_empty());
    assert_eq!(active(&unkept, "one"), Some(1.0));
}

#[test]
fn a_collection_is_served_again_while_it_is_young_and_not_too_large() {
    let server = Postgres::start(17);
    for (size, same) in [("10M", true), ("1k", false)] {
        let exporter = Exporter::builder()
            .server("one", &server)
            .set("metrics_cache_max_age = 1h")
            .set(&format!("metrics_cache_max_size = {size}"))
            .start();
        let executions = || {
            exporter
                .metrics()
                .value("pgexporter_query_executions_total", &[])
        };
        let first = executions();
        assert!(first > Some(0.0));
        assert_eq!(executions() == first, same, "{size}");
    }
}

#[test]
fn collectors_run_or_not_as_the_file_says() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("exclude_collectors = mine")
        .set("metrics_path = {dir}/metrics")
        .file("metrics", "")
        .try_start();
    assert!(exporter.is_err(), "an empty file is no metrics");
    for (setting, mine, yours) in [
        ("exclude_collectors = mine", None, Some(2.0)),
        ("collectors = mine", Some(1.0), None),
    ] {
        let exporter = Exporter::builder()
            .server("one", &server)
            .set(setting)
            .file("mine.yaml", &metric("mine", "SELECT 1"))
            .file("yours.yml", &metric("yours", "SELECT 2"))
            .set("metrics_path = {dir}")
            .start();
        let samples = exporter.metrics();
        let value = |name: &str| samples.value(name, &[("server", "one")]);
        assert_eq!(value("pgexporter_mine_value"), mine, "{setting}");
        assert_eq!(value("pgexporter_yours_value"), yours, "{setting}");
    }
}

#[test]
fn logins_and_queries_end_at_their_timeouts() {
    let server = Postgres::start(17);
    let frozen = Postgres::start(17);
    frozen.freeze();
    let exporter = Exporter::builder()
        .server("one", &server)
        .server("frozen", &frozen)
        .set("authentication_timeout = 1s")
        .set("metrics_query_timeout = 500ms")
        .set("metrics_path = {dir}/mine.yaml")
        .file("mine.yaml", &metric("mine", "SELECT 1 FROM pg_sleep(20)"))
        .start();
    let begun = Instant::now();
    let samples = exporter.metrics();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let active = |server| samples.value("pgexporter_postgresql_active", &[("server", server)]);
    assert_eq!((active("one"), active("frozen")), (Some(1.0), Some(0.0)));
    assert!(samples.all("pgexporter_mine_value").is_empty());
    assert!(samples.value("pgexporter_query_timeouts_total", &[]) >= Some(1.0));
    frozen.thaw();
}

#[test]
fn the_process_is_called_pgexporter_and_may_refuse_large_pages() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("hugepage = off")
        .set("update_process_title = minimal")
        .start();
    let about =
        |file: &str| fs::read_to_string(format!("/proc/{}/{file}", exporter.pid())).unwrap();
    assert_eq!(about("comm"), "pgexporter\n");
    if let Some(line) = about("status")
        .lines()
        .find(|line| line.starts_with("THP_enabled"))
    {
        assert!(line.ends_with('0'), "{line}");
    }
}

/// How many of ten clients get through to a program that accepts nobody.
fn get_through(exporter: &Exporter) -> usize {
    let pid = Pid::from_raw(exporter.pid()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = || crate::support::keeper::state(exporter.pid()) == Some('T');
    if !within(support::DEADLINE, stopped) {
        let state = crate::support::keeper::state(exporter.pid());
        panic!("it is not stopped but {state:?}: {}", exporter.log());
    }
    let address = SocketAddr::from(([127, 0, 0, 1], exporter.port("metrics")));
    let clients: Vec<TcpStream> = (0..10)
        .filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok())
        .collect();
    kill_process(pid, Signal::CONT).unwrap();
    clients.len()
}

#[test]
fn the_backlog_is_as_long_as_the_file_says_also_after_a_reload() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("backlog = 2")
        .start();
    eventually_active(&exporter, "one");
    let few = get_through(&exporter);
    assert!((2..6).contains(&few), "{few}");
    let text = exporter.config_text();
    exporter.write_config(&text.replace("backlog = 2", "backlog = 64"));
    exporter.signal(Signal::HUP);
    eventually_logged(&exporter, &["reloaded: ", "backlog: was 2, is 64"]);
    assert_eq!(get_through(&exporter), 10);
}

/// The timer (`tr`) of the exporter's connection to a server: 02 is keepalive, proc(5).
fn timer(server: &Postgres) -> Option<String> {
    let port = format!(":{:04X}", server.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words.get(2)?.ends_with(&port) && *words.get(3)? == "01";
        ours.then(|| words[5][..2].to_owned())
    })
}

#[test]
fn connections_are_kept_alive_or_not() {
    for (setting, expected) in [("keep_alive = on", "02"), ("keep_alive = off", "00")] {
        let server = Postgres::start(17);
        let exporter = Exporter::builder()
            .server("one", &server)
            .set(setting)
            .start();
        eventually_active(&exporter, "one");
        eventually(setting, || timer(&server).as_deref() == Some(expected));
    }
}

#[test]
fn keys_without_an_effect_yet_are_told_once_at_start() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .set("libev = io_uring")
        .set("non_blocking = off")
        .section(&format!(
            "[one]\nhost = 127.0.0.1\nport = {}\nuser = postgres\ndata_dir = {}\nwal_dir = /nowhere\n",
            server.port(),
            server.data_dir().display()
        ))
        .start();
    eventually_active(&exporter, "one");
    for key in ["data_dir", "wal_dir", "libev", "non_blocking"] {
        let line = format!(" {key}: ");
        let told = |text: &&str| text.contains("WARN") && text.contains(&line);
        assert_eq!(exporter.log().lines().filter(told).count(), 1, "{key}");
    }
}
