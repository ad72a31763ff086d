//! What systemd hears, over a socket as it makes one.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Exporter, Postgres};

#[test]
fn systemd_hears_that_it_is_ready_reloads_and_stops() {
    let server = Postgres::start(18);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let patience = Some(Duration::from_secs(30));
    systemd.set_read_timeout(patience).unwrap();
    let hear = || {
        let mut buffer = [0_u8; 1024];
        let length = systemd.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut exporter = Exporter::builder()
        .server("one", &server)
        .variable("NOTIFY_SOCKET", &path)
        .start();
    assert_eq!(hear(), "READY=1\nSTATUS=1 server\n");
    exporter.signal(Signal::HUP);
    let reloading = hear();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(hear(), "READY=1\nSTATUS=1 server\n");
    exporter.signal(Signal::TERM);
    assert_eq!(hear(), "STOPPING=1\n");
    assert!(exporter.wait_exit().success());
}
