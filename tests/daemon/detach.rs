//! `-d`, and the pidfile.

use std::fs;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, getsid, kill_process};

use crate::eventually_active;
use crate::support::{Exporter, Postgres, eventually};

#[test]
fn in_the_background_it_serves_once_the_parent_has_gone() {
    let server = Postgres::start(18);
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .set("pidfile = {dir}/x.pid")
        .argument("-d")
        .spawn();
    let status = exporter.wait_exit();
    assert!(status.success(), "{}", exporter.log());
    // The parent waited, so that it serves now.
    assert_eq!(exporter.get("/metrics").status, 200);
    eventually_active(&exporter, "one");
    let pidfile = exporter.folder().join("x.pid");
    let number: i32 = fs::read_to_string(&pidfile)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_ne!(number, exporter.pid());
    let pid = Pid::from_raw(number).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid);
    kill_process(pid, Signal::TERM).unwrap();
    eventually("it ends and takes its pidfile along", || !pidfile.exists());
    eventually("its process is gone", || {
        crate::support::keeper::state(number).is_none_or(|state| state == 'Z')
    });
}

#[test]
fn an_error_of_the_start_is_told_by_the_parent() {
    let server = Postgres::start(18);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (setting, part) in [
        (
            format!("metrics = {port}"),
            format!("127.0.0.1:{port} is in use"),
        ),
        (
            "log_type = console".into(),
            "log_type = file or syslog".into(),
        ),
        (
            "backlog = many".into(),
            "backlog: this value is not allowed".into(),
        ),
        (
            "unix_socket_dir = {dir}/pgpass".into(),
            "unix_socket_dir = ".into(),
        ),
    ] {
        let mut exporter = Exporter::builder()
            .server("one", &server)
            .set(&setting)
            .set("pidfile = {dir}/x.pid")
            .argument("--daemon")
            .spawn();
        let status = exporter.wait_exit();
        let said = fs::read_to_string(exporter.folder().join("console.log")).unwrap();
        assert_eq!(status.code(), Some(1), "{setting}: {said}");
        assert!(said.contains(&part), "{setting}: {said}");
        assert!(!exporter.folder().join("x.pid").exists(), "{setting}");
    }
}

#[test]
fn a_second_instance_is_refused_and_told_who_runs() {
    let server = Postgres::start(18);
    let first = Exporter::builder()
        .server("one", &server)
        .set("pidfile = {dir}/x.pid")
        .start();
    let pidfile = first.folder().join("x.pid");
    let second = Exporter::builder()
        .server("one", &server)
        .set(&format!("pidfile = {}", pidfile.display()))
        .try_start()
        .expect_err("a second instance");
    assert_eq!(second.status.and_then(|status| status.code()), Some(1));
    let told = format!("belongs to the running process {}", first.pid());
    assert!(second.log.contains(&told), "{}", second.log);
    assert_eq!(first.get("/metrics").status, 200);
    assert!(pidfile.exists());
}
