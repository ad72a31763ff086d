//! Where the exporter is, and the connection to it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::Options;
use super::error::Failure;
use crate::config;
use crate::management::SOCKET_NAME;

/// How long an exporter may keep us waiting. Scrapes and checks take as long as their servers.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to an exporter, ready for a frame.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Where the exporter is.
#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    /// On this machine.
    Local(PathBuf),
}

impl Endpoint {
    /// As the options say.
    ///
    /// # Errors
    /// There is no configuration that names a socket.
    pub(super) fn of(options: &Options) -> Result<Self, Failure> {
        let environment = |name: &str| std::env::var_os(name);
        let folder = config::find(options.config.as_deref(), None, environment)
            .and_then(|path| config::socket_folder(&path))
            .map_err(|errors| {
                Failure::NoAccess(format!(
                    "{errors}\nor name an exporter's management port with -h HOST -p PORT"
                ))
            })?;
        Ok(Endpoint::Local(folder.join(SOCKET_NAME)))
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, or we are not let in.
    pub(super) fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match self {
            Endpoint::Local(path) => local(path),
        }
    }
}

fn local(path: &Path) -> Result<Box<dyn Stream>, Failure> {
    let connected = UnixStream::connect(path).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    match connected {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Failure::NoAccess(no_local(path, &error))),
    }
}

fn no_local(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("no exporter is running here: there is no socket {path}"),
        ErrorKind::ConnectionRefused => {
            format!("no exporter is running here: nobody answers on {path}")
        }
        ErrorKind::PermissionDenied => format!(
            "{path} is not for this user: run as the user that runs the exporter, or set \
             unix_socket_group"
        ),
        _ => format!("cannot connect to {path}: {error}"),
    }
}
