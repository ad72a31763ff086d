//! A task that panics. What a test asks for with the variable is in programs for tests alone.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;

use crate::support::{Exporter, Postgres, eventually};
use crate::{eventually_active, logged, sessions};

/// What a panic may say: no end of it, and lines that are not the log's own.
fn message() -> String {
    format!(
        "on purpose\n2026-01-01 00:00:00 FATAL forged {}",
        "x".repeat(4_000)
    )
}

fn exporter(server: &Postgres, task: &str) -> Exporter {
    Exporter::builder()
        .server("one", server)
        .set("pidfile = {dir}/x.pid")
        .variable("PGEXPORTER_TEST_PANIC", format!("{task}={}", file(task)))
        .start()
}

/// The file that makes the task panic.
fn file(task: &str) -> String {
    let folder = std::env::temp_dir();
    let name = format!("pgx-panic-{}-{task}", std::process::id());
    folder.join(name).display().to_string()
}

/// Makes the task panic. The file appears whole.
fn provoke(task: &str) {
    let file = file(task);
    let half = format!("{file}.half");
    fs::write(&half, message()).unwrap();
    fs::rename(half, &file).unwrap();
    eventually("the task panics", || !Path::new(&file).exists());
}

#[track_caller]
fn is_one_short_line(exporter: &Exporter, task: &str) {
    let log = exporter.log();
    let lines: Vec<&str> = log.lines().filter(|one| one.contains("panicked")).collect();
    let [line] = lines[..] else {
        panic!("not one line: {log}");
    };
    assert!(
        line.contains(" ERROR pgexporter::supervision: panicked at src/"),
        "{line}"
    );
    assert!(line.contains(": on purpose\\n2026-01-01"), "{line}");
    assert!(line.ends_with(&format!("xx task={task}")), "{line}");
    assert!(line.len() < 1_200, "{} bytes: {line}", line.len());
    assert!(!logged(exporter, &["stack backtrace"]), "{log}");
}

fn ended_with_failure(exporter: &mut Exporter, task: &str) -> ExitStatus {
    let status = exporter.wait_exit();
    assert_eq!(status.code(), Some(1), "{}", exporter.log());
    is_one_short_line(exporter, task);
    let end = format!("the task {task} failed, and pgexporter ended with it");
    assert!(logged(exporter, &["FATAL", &end]), "{}", exporter.log());
    assert!(!exporter.folder().join("x.pid").exists());
    status
}

#[test]
fn a_task_that_all_hangs_on_ends_the_program_in_order_and_with_status_1() {
    for task in ["metrics", "health", "management", "targets"] {
        let server = Postgres::builder(17)
            .set("log_disconnections", "on")
            .start();
        let mut exporter = exporter(&server, task);
        eventually_active(&exporter, "one");
        provoke(task);
        ended_with_failure(&mut exporter, task);
        assert!(logged(&exporter, &["INFO", "a task failed: shutting down"]));
        eventually("the sessions are gone", || sessions(&server).is_empty());
        let log = server.log();
        assert!(log.contains("disconnection: session time"), "{log}");
        assert!(!log.contains("unexpected EOF"), "{task}: {log}");
    }
}

#[test]
fn the_main_task_ends_the_program_with_status_1_as_well() {
    let server = Postgres::builder(17).start();
    let mut exporter = exporter(&server, "main");
    eventually_active(&exporter, "one");
    provoke("main");
    ended_with_failure(&mut exporter, "main");
    eventually("the sessions are gone", || sessions(&server).is_empty());
}

#[test]
fn a_connection_that_panics_is_counted_and_costs_nobody_else_anything() {
    let server = Postgres::builder(17).start();
    let exporter = exporter(&server, "connection");
    eventually_active(&exporter, "one");
    let file = file("connection");
    let half = format!("{file}.half");
    fs::write(&half, message()).unwrap();
    fs::rename(half, &file).unwrap();
    eventually("a connection panics", || {
        // It may be this one.
        let _ = crate::support::exporter::get(&exporter.url("/metrics"), &[]);
        !Path::new(&file).exists()
    });
    let panics = |task| {
        let samples = exporter.metrics();
        samples.value("pgexporter_task_panics_total", &[("task", task)])
    };
    assert_eq!(panics("connection"), Some(1.0));
    assert_eq!(panics("metrics"), Some(0.0));
    eventually_active(&exporter, "one");
    is_one_short_line(&exporter, "connection");
}

/// A query that takes long, in each scrape.
const SLOW: &str = "
version: 13
metrics:
  - tag: nap
    query: SELECT 1 FROM pg_sleep(3)
    columns: [{type: gauge, description: A nap.}]
";

#[test]
fn a_targets_task_that_panics_cancels_its_query_says_goodbye_and_starts_anew() {
    let server = Postgres::builder(17)
        .set("log_disconnections", "on")
        .start();
    let exporter = Exporter::builder()
        .server("one", &server)
        .file("slow.yaml", SLOW)
        .set("metrics_path = {dir}/slow.yaml")
        .variable(
            "PGEXPORTER_TEST_PANIC",
            format!("target={}", file("target")),
        )
        .start();
    eventually_active(&exporter, "one");
    std::thread::scope(|scope| {
        scope.spawn(|| exporter.metrics());
        eventually("the query runs", || {
            let naps = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                        AND application_name = 'pgexporter' AND query LIKE '%pg_sleep%'";
            server.value(naps) == "1"
        });
        provoke("target");
    });
    assert!(sessions(&server).len() <= 1, "{:?}", sessions(&server));
    eventually_active(&exporter, "one");
    is_one_short_line(&exporter, "target");
    let samples = exporter.metrics();
    let panics = |task| samples.value("pgexporter_task_panics_total", &[("task", task)]);
    assert_eq!((panics("target"), panics("other")), (Some(1.0), Some(0.0)));
    let log = server.log();
    assert!(
        log.contains("canceling statement due to user request"),
        "{log}"
    );
    assert!(log.contains("disconnection: session time"), "{log}");
    assert!(!log.contains("unexpected EOF"), "{log}");
    assert_eq!(sessions(&server).len(), 1);
}
