//! Syslog over its local datagram socket, as RFC 3164 describes: `<PRI>TIMESTAMP TAG: CONTENT`.
//!
//! The host's name is left out, as the C library does: the local daemon knows it.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::ZonedDateTime;

use super::super::LogLevel;
use super::super::line::LogLine;

/// Facility "daemon", RFC 3164 section 4.1.1.
const FACILITY: u8 = 3;
/// A syslog that reads nothing is given up for a line after this time.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, socket: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// The socket is not there, or its daemon does not read; also after a second connection.
    pub(super) fn write(
        &mut self,
        now: &ZonedDateTime,
        level: LogLevel,
        line: &LogLine,
    ) -> io::Result<()> {
        let datagram = format!(
            "<{}>{} pgexporter[{}]: {}",
            FACILITY * 8 + severity(level),
            now.strftime("%b %e %H:%M:%S"),
            std::process::id(),
            line.without_prefix(),
        );
        if let Some(socket) = &self.socket {
            match socket.send(datagram.as_bytes()) {
                Ok(_) => return Ok(()),
                // Its queue is full: another connection would not help, and would wait again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // The daemon was started anew: its old socket is gone.
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(LIMIT))?;
        socket.connect(&self.path)?;
        socket.send(datagram.as_bytes())?;
        self.socket = Some(socket);
        Ok(())
    }
}

/// Table 2 of RFC 3164 section 4.1.1.
fn severity(level: LogLevel) -> u8 {
    match level {
        LogLevel::Fatal => 2,
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug | LogLevel::Trace => 7,
    }
}
