//! Signals that end the program.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Exporter, Postgres, Samples, eventually, within};
use crate::{eventually_active, metric, sessions};

fn watched(name: &str) -> Postgres {
    Postgres::builder(17)
        .set("log_disconnections", "on")
        .set("cluster_name", name)
        .start()
}

fn wait_until_it_sleeps(server: &Postgres) {
    eventually("the query runs", || {
        server.value(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE wait_event = 'PgSleep' AND application_name = 'pgexporter'",
        ) == "1"
    });
}

#[track_caller]
fn ended_politely(server: &Postgres) {
    eventually("the sessions are gone", || sessions(server).is_empty());
    let log = server.log();
    assert!(log.contains("disconnection: session time"), "{log}");
    for rude in ["unexpected EOF", "could not receive data", "could not send"] {
        assert!(!log.contains(rude), "{log}");
    }
}

fn ends_in_order_on(signal: Signal, name: &str) {
    let server = watched("one");
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .set("pidfile = {dir}/x.pid")
        .set("metrics_path = {dir}/slow.yaml")
        .file("slow.yaml", &metric("slow", "SELECT 1 FROM pg_sleep(1.5)"))
        .start();
    let pidfile = exporter.folder().join("x.pid");
    let pid = fs::read_to_string(&pidfile).unwrap();
    assert_eq!(pid.trim(), exporter.pid().to_string());

    let url = exporter.url("/metrics");
    let scrape = thread::spawn(move || crate::support::exporter::get(&url, &[]));
    wait_until_it_sleeps(&server);
    let begun = Instant::now();
    exporter.signal(signal);
    let answer = scrape.join().unwrap().expect("the scrape is answered");
    let samples = Samples::parse(&answer.body);
    let labels = [("server", "one")];
    assert_eq!(samples.value("pgexporter_slow_value", &labels), Some(1.0));
    assert_eq!(
        samples.value("pgexporter_postgresql_active", &labels),
        Some(1.0)
    );
    let status = exporter.wait_exit();
    assert!(status.success(), "{status}: {}", exporter.log());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!pidfile.exists());
    let log = exporter.log();
    assert!(log.contains(&format!("{name}: shutting down")), "{log}");
    assert!(log.contains("pgexporter has ended"), "{log}");
    ended_politely(&server);
}

#[test]
fn term_int_and_alarm_let_the_scrape_finish_and_say_goodbye() {
    let turns = [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::ALARM, "SIGALRM"),
    ];
    let threads = turns.map(|(signal, name)| thread::spawn(move || ends_in_order_on(signal, name)));
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_scrape_that_would_take_longer_is_answered_with_what_is_ready() {
    let (quick, slow) = (watched("quick"), watched("slow"));
    let sleep = "SELECT 1 FROM pg_sleep(CASE current_setting('cluster_name') \
                 WHEN 'slow' THEN 30 ELSE 0 END)";
    let mut exporter = Exporter::builder()
        .server("quick", &quick)
        .server("slow", &slow)
        .set("metrics_path = {dir}/slow.yaml")
        .set("metrics_query_timeout = 30s")
        .file("slow.yaml", &metric("slow", sleep))
        .start();
    let url = exporter.url("/metrics");
    let scrape = thread::spawn(move || crate::support::exporter::get(&url, &[]));
    wait_until_it_sleeps(&slow);
    let begun = Instant::now();
    exporter.signal(Signal::TERM);
    let answer = scrape.join().unwrap().expect("the scrape is answered");
    // The ports cut off after 5 s what is not answered; the rest is the machine's.
    assert!(begun.elapsed() < Duration::from_secs(10));
    let samples = Samples::parse(&answer.body);
    let active = |server| samples.value("pgexporter_postgresql_active", &[("server", server)]);
    assert_eq!((active("quick"), active("slow")), (Some(1.0), Some(0.0)));
    assert!(exporter.wait_exit().success(), "{}", exporter.log());
    assert!(begun.elapsed() < Duration::from_secs(14));
    ended_politely(&quick);
    ended_politely(&slow);
}

/// The soft and the hard limit of core dumps of a process.
fn core_limits(process: u32) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    [words[4].to_owned(), words[5].to_owned()]
}

/// Whether no core dump is made. With a program that takes them, 1 keeps it from being started.
fn is_forbidden(process: u32) -> bool {
    ["0", "1"].contains(&core_limits(process)[0].as_str())
}

#[test]
fn abort_ends_it_by_that_signal_and_no_core_is_left() {
    let mut exporter = Exporter::builder()
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
        .start();
    assert!(is_forbidden(exporter.pid().unsigned_abs()));
    // The command lines hold passwords too; here one that stays, of a shell that allows all.
    let mut watching = Command::new("sh")
        .args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" \"$@\""])
        .args([
            env!("CARGO_BIN_EXE_pgexporter-cli"),
            "-c",
            "pgexporter.conf",
        ])
        .args(["status", "--watch=60"])
        .current_dir(exporter.folder())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let forbidden = within(Duration::from_secs(20), || is_forbidden(watching.id()));
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(forbidden);

    exporter.signal(Signal::ABORT);
    let status = exporter.wait_exit();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "{status:?}");
}

#[test]
fn a_core_dump_is_allowed_where_it_is_asked_for() {
    let server = Postgres::start(18);
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .set("core_dumps = on")
        .start();
    eventually_active(&exporter, "one");
    let words = core_limits(exporter.pid().unsigned_abs());
    assert_eq!(words[0], words[1]);
    exporter.signal(Signal::ABORT);
    let status = exporter.wait_exit();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    if words[1] == "0" {
        eprintln!("this account may write no core: ulimit -Hc is 0");
        return;
    }
    // With a pattern that pipes, the flag is all that can be seen from here.
    assert!(status.core_dumped(), "{status:?}");
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '/']) {
        return;
    }
    let core = fs::read_dir(exporter.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")))
        .expect("a core in the folder where it was started");
    assert!(fs::metadata(core).unwrap().len() > 1024 * 1024);
}
