//! Names that do not resolve: they cost nobody else anything.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::server;
use crate::support::exporter::{can_name_hosts, get};
use crate::support::{Exporter, within};

/// Names that no server answers for.
const DEAD: usize = 300;
const PASSWORD: &str = "correct horse battery";

#[test]
fn hundreds_of_names_without_an_answer_delay_nothing_of_the_others() {
    // A name server that takes each question and never answers. Only root may have that port.
    let address = format!("127.53.{}.{}", std::process::id() % 250 + 1, 53);
    let Ok(silent) = UdpSocket::bind((address.as_str(), 53)) else {
        return;
    };
    if !can_name_hosts() {
        return;
    }
    let healthy = server(17);
    let mut builder = Exporter::builder()
        .set("management = {management}")
        .file("admins/anna", &format!("{PASSWORD}\n"))
        .argument("-A")
        .argument("{dir}/admins")
        .hosts("127.0.0.1 localhost healthy.test\n")
        .resolver(&format!("nameserver {address}\n"))
        .section(&format!(
            "[healthy]\nhost = healthy.test\nport = {}\nuser = monitor\n",
            healthy.port()
        ));
    for at in 0..DEAD {
        builder = builder.section(&format!(
            "[dead{at}]\nhost = dead{at}.test\nport = 5432\nuser = monitor\n"
        ));
    }
    let mut exporter = builder.start();
    let is_up = || {
        let samples = exporter.metrics();
        // The list may not be taken over yet.
        samples.value("pgexporter_postgresql_active", &[("server", "healthy")]) == Some(1.0)
    };
    assert!(within(Duration::from_secs(30), is_up), "{}", exporter.log());
    let failing = || {
        let samples = exporter.metrics();
        let labels = [("server", "dead7"), ("reason", "name_not_resolved")];
        let failures = "pgexporter_postgresql_failures_total";
        samples.value(failures, &labels).unwrap_or(0.0) > 0.0
    };
    assert!(
        within(Duration::from_secs(30), failing),
        "{}",
        exporter.log()
    );

    // A healthy server returns.
    healthy.stop_fast();
    assert!(within(Duration::from_secs(30), || !is_up()));
    healthy.start_again();
    let begun = Instant::now();
    assert!(within(Duration::from_secs(60), is_up), "{}", exporter.log());
    let returned = begun.elapsed();
    assert!(returned < Duration::from_secs(15), "{returned:?}");

    // So do a reload, a login from afar, and the end.
    exporter.signal(Signal::HUP);
    let reloaded = || exporter.log().contains("reloaded: ");
    assert!(
        within(Duration::from_secs(15), reloaded),
        "{}",
        exporter.log()
    );
    let port = exporter.port("management").to_string();
    let begun = Instant::now();
    let ping = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .env("PGPASSWORD", PASSWORD)
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "anna", "ping"])
        .output()
        .expect("it is built");
    assert!(ping.status.success(), "{}", exporter.log());
    assert!(begun.elapsed() < Duration::from_secs(10));
    let live = format!("http://127.0.0.1:{}/livez", exporter.port("health"));
    assert_eq!(get(&live, &[]).expect("an answer").status, 200);
    let begun = Instant::now();
    exporter.signal(Signal::TERM);
    let status = exporter.wait_exit();
    assert!(status.success(), "{status}: {}", exporter.log());
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    drop(silent);
}
