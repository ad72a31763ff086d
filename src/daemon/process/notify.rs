//! What systemd is told, as sd_notify(3) and `Type=notify-reload` in systemd.service(5) describe.
//!
//! Each call does nothing, and is no error, when the variable `NOTIFY_SOCKET` is not set. An error
//! means that systemd does not know; it is worth a line of the log, not a failed start.

use std::io;

use sd_notify::NotifyState;

/// Start or reload is finished: `READY=1`, with a status line for `systemctl status`.
///
/// # Errors
/// The socket of systemd does not take the message.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// A reload begins: `RELOADING=1` with `MONOTONIC_USEC`. [`ready`] has to follow, also when the
/// reload is refused: the old configuration is ready.
///
/// # Errors
/// The socket of systemd does not take the message.
pub fn reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// Shutdown begins: `STOPPING=1`.
///
/// # Errors
/// The socket of systemd does not take the message.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// Only a status line.
///
/// # Errors
/// The socket of systemd does not take the message.
pub fn status(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(status))])
}

/// A line-break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::again;
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Stdio;
    use std::time::Duration;

    #[test]
    fn systemd_hears_of_start_reload_and_stop() {
        if again::mark().is_some() {
            ready("serving 3 servers").unwrap();
            reloading().unwrap();
            ready("serving 4\nREADY=0").unwrap();
            status("busy").unwrap();
            stopping().unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let name = "daemon::process::notify::tests::systemd_hears_of_start_reload_and_stop";
        let child = again::command(name, "notify")
            .env("NOTIFY_SOCKET", &path)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(child.success());
        let receive = || {
            let mut buffer = [0_u8; 512];
            let length = systemd.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(receive(), "READY=1\nSTATUS=serving 3 servers\n");
        let reload = receive();
        let time = reload
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.trim_end().parse::<u64>().ok());
        assert!(time.is_some_and(|time| time > 0), "{reload}");
        assert_eq!(receive(), "READY=1\nSTATUS=serving 4 READY=0\n");
        assert_eq!(receive(), "STATUS=busy\n");
        assert_eq!(receive(), "STOPPING=1\n");
    }

    #[test]
    fn without_systemd_nothing_is_said_and_nothing_fails() {
        if again::mark().is_some() {
            ready("x").unwrap();
            stopping().unwrap();
            return;
        }
        let name =
            "daemon::process::notify::tests::without_systemd_nothing_is_said_and_nothing_fails";
        let child = again::command(name, "notify")
            .env_remove("NOTIFY_SOCKET")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(child.success());
    }
}
