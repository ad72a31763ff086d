//! Where the exporter is, and the connection to it.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::arguments::CliOptions;
use super::error::CliError;
use super::password::ask_once;
use super::remote::RemoteLogin;
use super::stream::{PATIENCE, SyncStream};
use crate::config;
use crate::management::SOCKET_NAME;
use crate::security::Secret;

/// Where the exporter is.
#[derive(Clone, Debug)]
pub(super) enum AdminTransport {
    /// On this machine.
    Local(PathBuf),
    /// Elsewhere.
    Remote(RemoteLogin),
}

impl AdminTransport {
    /// As the options say.
    ///
    /// # Errors
    /// There is no configuration that names a socket, or what a login needs is missing.
    pub(super) fn from_options(options: &CliOptions) -> Result<Self, CliError> {
        if options.host.is_some() || options.port.is_some() {
            return read_login(options).map(AdminTransport::Remote);
        }
        let environment = |name: &str| std::env::var_os(name);
        let folder = config::find(options.config.as_deref(), None, environment)
            .and_then(|path| config::socket_folder(&path))
            .map_err(|errors| {
                CliError::NoAccess(format!(
                    "{errors}\nor name an exporter's management port with -h HOST -p PORT"
                ))
            })?;
        Ok(AdminTransport::Local(folder.join(SOCKET_NAME)))
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, or we are not let in.
    pub(super) fn connect(&self) -> Result<Box<dyn SyncStream>, CliError> {
        match self {
            AdminTransport::Local(path) => connect_local(path),
            AdminTransport::Remote(remote) => remote.connect(),
        }
    }
}

fn read_login(options: &CliOptions) -> Result<RemoteLogin, CliError> {
    let host = options
        .host
        .clone()
        .unwrap_or_else(|| "localhost".to_owned());
    let port = options.port.ok_or_else(|| {
        CliError::Usage("-h also needs the management port of the exporter: -p PORT".to_owned())
    })?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = options.user.clone().or_else(|| variable("PGUSER"));
    let user = user.ok_or_else(|| {
        CliError::Usage("the admin's name is missing: give it with -U NAME".to_owned())
    })?;
    let password = options.password.clone().or_else(|| variable("PGPASSWORD"));
    let password = match password {
        Some(password) => Secret::new(password),
        None => ask_once(&format!("Password for {user}: ")).map_err(|error| {
            CliError::NoAccess(format!("no password: {error}; give it with PGPASSWORD"))
        })?,
    };
    Ok(RemoteLogin {
        host,
        port,
        user,
        password,
    })
}

fn connect_local(path: &Path) -> Result<Box<dyn SyncStream>, CliError> {
    let connected = UnixStream::connect(path).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    match connected {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(CliError::NoAccess(no_local(path, &error))),
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
            "this user may not use {path}: run as the user that runs the exporter, or set \
             unix_socket_group"
        ),
        _ => format!("cannot connect to {path}: {error}"),
    }
}
