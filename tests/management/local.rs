//! The Unix socket itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::support::Exporter;
use crate::{assert_alive, cli, eventually_logged, lonely, said, socket};

#[test]
fn the_socket_is_for_its_user_alone_and_gone_after_the_end() {
    let mut exporter = lonely().start();
    let mode = fs::metadata(socket(&exporter))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_alive(&exporter);
    exporter.signal(Signal::TERM);
    assert!(exporter.wait_exit().success());
    assert!(!socket(&exporter).exists());
    let (status, out, err) = said(&cli(&exporter, &["ping"]));
    assert_eq!((status, out.as_str()), (3, ""));
    assert!(err.contains("no exporter is running here"), "{err}");
}

#[test]
fn a_group_may_use_it_when_the_configuration_says_so() {
    let group = rustix::process::getegid().as_raw();
    let exporter = lonely()
        .set(&format!("unix_socket_group = {group}"))
        .start();
    let about = fs::metadata(socket(&exporter)).unwrap();
    assert_eq!((about.mode() & 0o7777, about.gid()), (0o660, group));
    assert_alive(&exporter);
    let refused = lonely()
        .set("unix_socket_group = no-such-group")
        .try_start()
        .unwrap_err();
    assert!(refused.log.contains("no-such-group"), "{}", refused.log);
}

#[test]
fn a_live_exporter_keeps_its_socket_and_a_dead_ones_is_replaced() {
    let first = lonely().start();
    let folder = first.folder().display().to_string();
    let second = lonely()
        .set(&format!("unix_socket_dir = {folder}"))
        .try_start()
        .unwrap_err();
    assert!(
        second.log.contains("another pgexporter answers"),
        "{}",
        second.log
    );
    assert_alive(&first);

    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join(".s.pgexporter")).unwrap());
    let third: Exporter = lonely()
        .set(&format!("unix_socket_dir = {}", folder.path().display()))
        .start();
    let (status, _, err) = said(&cli(&third, &["ping"]));
    assert_eq!(status, 0, "{err}");
}

#[test]
fn who_asks_for_a_change_stands_in_the_log_with_his_uid() {
    let exporter = lonely().start();
    let (status, _, err) = said(&cli(&exporter, &["clear", "prometheus"]));
    assert_eq!(status, 0, "{err}");
    let uid = format!("uid={}", rustix::process::geteuid().as_raw());
    eventually_logged(&exporter, &["INFO", "clear prometheus", &uid]);
}
