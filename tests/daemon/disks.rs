//! Files on a disk that does not answer: a pipe that nobody writes to stands for it. Nothing waits
//! for it but what needs the file.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::exporter::get;
use crate::support::{Exporter, Postgres, within};
use crate::{active, eventually_active, eventually_logged, logged, metric};

const PASSWORD: &str = "correct horse battery";

/// Puts a pipe in the place of a file.
fn hang(path: &Path) {
    let _ = fs::remove_file(path);
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// Whether the exporter answers on all ports but that of the reload.
#[track_caller]
fn answers(exporter: &Exporter) {
    let begun = Instant::now();
    let health = format!("http://127.0.0.1:{}/livez", exporter.port("health"));
    assert_eq!(get(&health, &[]).expect("an answer").status, 200);
    assert_eq!(active(exporter, "one"), Some(1.0));
    let port = exporter.port("management").to_string();
    let ping = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .env("PGPASSWORD", PASSWORD)
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "anna", "ping"])
        .output()
        .expect("it is built");
    let said = String::from_utf8_lossy(&ping.stderr).into_owned();
    assert!(ping.status.success(), "{said}{}", exporter.log());
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_reload_that_waits_for_a_disk_keeps_nobody_else_waiting_and_is_given_up() {
    let server = Postgres::start(17);
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .set("management = {management}")
        .set("metrics_path = {dir}/own.yaml")
        .file("own.yaml", &metric("own", "SELECT 1"))
        .file("admins/anna", &format!("{PASSWORD}\n"))
        .argument("-A")
        .argument("{dir}/admins")
        .start();
    eventually_active(&exporter, "one");
    let own = exporter.folder().join("own.yaml");
    hang(&own);
    exporter.signal(Signal::HUP);
    answers(&exporter);
    // A second one changes nothing about that.
    exporter.signal(Signal::HUP);
    answers(&exporter);
    eventually_logged(
        &exporter,
        &["reload refused", "could not be read within 30s"],
    );
    answers(&exporter);

    // The disk answers at last: what was refused is not taken over, and reloads work again.
    let mut late = fs::OpenOptions::new().write(true).open(&own).unwrap();
    late.write_all(metric("late", "SELECT 2").as_bytes())
        .unwrap();
    drop(late);
    fs::remove_file(&own).unwrap();
    fs::write(&own, metric("new", "SELECT 3")).unwrap();
    let shown = |name: &str| exporter.metrics().value(name, &[("server", "one")]);
    let taken = within(Duration::from_secs(60), || {
        exporter.signal(Signal::HUP);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(shown("pgexporter_late_value"), None);
        shown("pgexporter_new_value") == Some(3.0)
    });
    assert!(taken, "{}", exporter.log());

    // Nor does the end of the program wait.
    hang(&own);
    exporter.signal(Signal::HUP);
    answers(&exporter);
    let begun = Instant::now();
    exporter.signal(Signal::TERM);
    let status = exporter.wait_exit();
    assert!(status.success(), "{status}: {}", exporter.log());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{}",
        exporter.log()
    );
    assert!(!logged(&exporter, &["did not end in time"]));
}

#[test]
fn an_admin_logs_in_while_the_file_of_another_is_on_a_disk_that_does_not_answer() {
    let server = Postgres::start(18);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("management = {management}")
        .file("admins/anna", &format!("{PASSWORD}\n"))
        .argument("-A")
        .argument("{dir}/admins")
        .start();
    eventually_active(&exporter, "one");
    hang(&exporter.folder().join("admins/emma"));
    // The files are looked at every two seconds.
    std::thread::sleep(Duration::from_millis(2_500));
    for _ in 0..3 {
        answers(&exporter);
    }
}
