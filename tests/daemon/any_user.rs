//! The program as a user that no file of the system knows, in the group 0: so OpenShift runs pods.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::exporter::{get, program};
use crate::support::{eventually, ports::Port};

/// A number of the kind that a project of OpenShift has.
const USER: &str = "1000690000";

#[test]
fn it_runs_as_a_user_that_nobody_knows() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    // As an emptyDir is.
    mode(&run, 0o777);
    let (metrics, health) = (Port::free(), Port::free());
    let configuration = folder.path().join("pgexporter.conf");
    let text = format!(
        "[pgexporter]\nhost = 127.0.0.1\nmetrics = {}\nhealth = {}\nunix_socket_dir = {}\n\
         kubernetes = off\n[orders]\nhost = 127.0.0.1\nport = 1\nuser = monitor\n",
        metrics.number(),
        health.number(),
        run.display(),
    );
    fs::write(&configuration, text).unwrap();
    mode(&configuration, 0o440);
    let mut child = Command::new("setpriv")
        .args([&format!("--reuid={USER}"), "--regid=0", "--clear-groups"])
        .arg(program())
        .arg("-c")
        .arg(&configuration)
        .env_remove("HOME")
        .env_remove("USER")
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("util-linux is installed");
    let url = |port: &Port, path: &str| format!("http://127.0.0.1:{}{path}", port.number());
    eventually("it is alive", || {
        get(&url(&health, "/livez"), &[]).is_ok_and(|answer| answer.status == 200)
    });
    let scraped = get(&url(&metrics, "/metrics"), &[]).unwrap();
    assert!(scraped.body.contains("pgexporter_postgresql_active"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}
