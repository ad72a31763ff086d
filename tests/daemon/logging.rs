//! The log of the running program.

use std::fs;

use rustix::process::Signal;

use crate::support::{Exporter, Postgres, eventually};
use crate::{eventually_active, eventually_logged};

fn lines_at(exporter: &Exporter, level: &str) -> usize {
    let log = exporter.log();
    let level = format!(" {level} pgexporter");
    log.lines().filter(|line| line.contains(&level)).count()
}

#[test]
fn each_line_of_the_file_is_counted_and_the_level_follows_a_reload() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("data_dir_is_no_key_of_this_section_so = off")
        .try_start();
    assert!(exporter.is_err());

    let exporter = Exporter::builder()
        .server("one", &server)
        .set("console = 5005")
        .set("log_line_prefix = <%Y-%m-%d>")
        .start();
    eventually_active(&exporter, "one");
    eventually_logged(&exporter, &["WARN", "console: has no effect yet"]);
    eventually_logged(&exporter, &["INFO", "pgexporter is ready", "servers=1"]);
    let log = exporter.log();
    assert!(log.lines().all(|line| line.starts_with("<2")), "{log}");
    eventually("counters are as the lines", || {
        let samples = exporter.metrics();
        let count = |level: &str| samples.value(&format!("pgexporter_logging_{level}"), &[]);
        #[allow(clippy::cast_precision_loss)]
        let lines = |level: &str| Some(lines_at(&exporter, level) as f64);
        count("info") == lines("INFO")
            && count("warn") == lines("WARN")
            && count("error") == Some(0.0)
            && count("fatal") == Some(0.0)
    });
    // It says nothing on the console when there is a file.
    let console = fs::read_to_string(exporter.folder().join("console.log")).unwrap();
    assert_eq!(console, "");

    let text = exporter.config_text();
    exporter.write_config(&text.replace("[pgexporter]", "[pgexporter]\nlog_level = error"));
    exporter.signal(Signal::HUP);
    // The file is wrong now, which is an error; what was quiet before stays so.
    eventually("the level is taken over", || {
        let before = lines_at(&exporter, "INFO") + lines_at(&exporter, "WARN");
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'pgexporter'",
        );
        eventually_active(&exporter, "one");
        before == lines_at(&exporter, "INFO") + lines_at(&exporter, "WARN")
    });
    exporter.write_config("[pgexporter]\n");
    exporter.signal(Signal::HUP);
    eventually_logged(&exporter, &["ERROR", "host: is required"]);
}

#[test]
fn json_is_an_object_a_line() {
    let server = Postgres::start(17);
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .set("log_format = json")
        .start();
    eventually_active(&exporter, "one");
    exporter.signal(Signal::TERM);
    assert!(exporter.wait_exit().success());
    let log = exporter.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let ready = lines
        .iter()
        .find(|line| line["message"] == "pgexporter is ready")
        .expect("it says so");
    assert_eq!(ready["level"], "INFO");
    assert_eq!(ready["fields"]["servers"], 1);
    assert_eq!(lines.last().unwrap()["message"], "pgexporter has ended");
}

#[test]
fn the_console_takes_the_lines_when_no_file_is_named() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("log_type = console")
        .set("log_level = debug")
        .start();
    eventually_logged(&exporter, &["INFO", "pgexporter is ready"]);
    assert!(!exporter.folder().join("pgexporter.log").exists());
}

#[test]
fn a_start_that_fails_is_a_fatal_line_of_the_log_and_said_once_on_the_console() {
    for (setting, on_console) in [("log_type = file", false), ("log_type = console", true)] {
        let failed = Exporter::builder()
            .set(setting)
            .set("metrics_path = {dir}/mine.yaml")
            .file("mine.yaml", "nonsense: [")
            .section("[one]\nhost = localhost\nport = 1\nuser = u\n")
            .try_start()
            .expect_err("wrong metrics");
        assert_eq!(failed.status.and_then(|status| status.code()), Some(1));
        let told = failed.log.matches("mine.yaml:").count();
        assert_eq!(told, if on_console { 1 } else { 2 }, "{}", failed.log);
        assert!(failed.log.contains(" FATAL "), "{}", failed.log);
    }
}
