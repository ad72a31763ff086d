//! The servers of `pgexporter.conf` as targets.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    Address, ByteLimits, ClientTls, CollectorChoice, DatabaseChoice, Origin, OwnershipTerm,
    SocketOptions, Target, Timeouts, TlsMode,
};
use crate::config::{Configuration, Main, Server, ServerTls};
use crate::security::tls::TlsError;
use crate::security::{
    PasswordRequest, PasswordSources, RequireAuth, SecretFileError, read_secret,
};

/// A file that a server's section names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server {server}: {error}")]
pub struct TargetConfigError {
    /// The server's section.
    server: String,
    /// Which file, and what to do.
    #[source]
    error: FileError,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// Its certificate, key or authorities.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its password.
    #[error(transparent)]
    Password(#[from] SecretFileError),
}

/// `statement_timeout` of a session where `metrics_query_timeout` is 0.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// One target for each server of the file, in its order, or what is wrong with it: a file that
/// cannot be read.
///
/// `known` gives what was read from the files of a section before, where they need not be read
/// again.
pub(super) fn from_file(
    configuration: &Configuration,
    passwords: &PasswordSources,
    known: impl Fn(&Server) -> Option<ClientTls>,
) -> impl Iterator<Item = Result<Target, TargetConfigError>> {
    configuration.servers.iter().map(move |server| {
        let tls = match known(server) {
            Some(tls) => tls,
            None => {
                client_tls(server).map_err(|error| TargetConfigError::new(&server.name, error))?
            }
        };
        target(server, &configuration.main, passwords, tls)
    })
}

fn target(
    server: &Server,
    main: &Main,
    passwords: &PasswordSources,
    tls: ClientTls,
) -> Result<Target, TargetConfigError> {
    let address = if server.host.starts_with('/') {
        Address::Unix {
            directory: PathBuf::from(&server.host),
            port: server.port,
        }
    } else {
        Address::Tcp {
            host: server.host.trim_matches(['[', ']']).to_owned(),
            port: server.port,
        }
    };
    let login = PasswordRequest {
        user: &server.user,
        host: &server.host,
        port: server.port,
        database: &server.database,
    };
    let extensions = if server.extensions.is_empty() {
        &main.extensions
    } else {
        &server.extensions
    };
    Ok(Target {
        name: server.name.clone(),
        origin: Origin::File,
        address,
        allow_local: true,
        user: server.user.clone(),
        user_is_secret: false,
        password: match &server.password_file {
            Some(path) => Some(
                read_secret(path).map_err(|error| TargetConfigError::new(&server.name, error))?,
            ),
            None => passwords.find(&login),
        },
        // The file was refused if it were wrong.
        require_auth: RequireAuth::parse(server.require_auth.iter().map(String::as_str))
            .unwrap_or_default(),
        database: server.database.clone(),
        tls,
        databases: databases(server, main),
        collectors: CollectorChoice {
            include: main.collectors.clone(),
            exclude: main.exclude_collectors.clone(),
            extensions: (!extensions.is_empty()).then(|| extensions.clone()),
        },
        labels: Vec::new(),
        timeouts: timeouts(main),
        keep_session: main.cache,
        session_databases: main.session_databases.max(1),
        socket: SocketOptions {
            nodelay: main.nodelay,
            keep_alive: main.keep_alive,
        },
        metrics: None,
        sample_limit: None,
        limits: byte_limits(main),
        ownership_term: OwnershipTerm::unlimited(),
    })
}

/// The databases of a server: what its section says, else what the main one says.
fn databases(server: &Server, main: &Main) -> DatabaseChoice {
    let first = |own: &[String], main: &[String]| match own {
        [] => main.to_vec(),
        own => own.to_vec(),
    };
    let include = first(&server.databases, &main.databases);
    DatabaseChoice {
        include: match include.is_empty() {
            true => vec!["*".to_owned()],
            false => include,
        },
        exclude: first(&server.exclude_databases, &main.exclude_databases),
    }
}

impl TargetConfigError {
    pub(super) fn new(server: &str, error: impl Into<FileError>) -> Self {
        Self {
            server: server.to_owned(),
            error: error.into(),
        }
    }
}

/// What a server may make the exporter hold, for every server.
#[must_use]
pub fn byte_limits(main: &Main) -> ByteLimits {
    ByteLimits {
        login_message: bytes(main.login_message_limit),
        message: bytes(main.message_limit),
        result: bytes(main.query_bytes_limit),
        samples: bytes(main.target_bytes_limit),
    }
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How long each step may take, for every server.
#[must_use]
pub fn timeouts(main: &Main) -> Timeouts {
    let query = match main.metrics_query_timeout {
        Duration::ZERO => QUERY_TIMEOUT,
        given => given,
    };
    Timeouts {
        connect: main.authentication_timeout.min(main.blocking_timeout),
        query: query.min(main.blocking_timeout),
        lock: main.lock_timeout,
    }
}

fn client_tls(server: &Server) -> Result<ClientTls, TlsError> {
    let mode = match server.tls {
        ServerTls::Off => return Ok(ClientTls::disabled()),
        ServerTls::Try => TlsMode::Prefer,
        ServerTls::On => TlsMode::Require,
        ServerTls::VerifyCa => TlsMode::VerifyCa,
        ServerTls::VerifyFull => TlsMode::VerifyFull,
    };
    let files = &server.tls_files;
    ClientTls::from_files(
        mode,
        files.ca.as_deref(),
        files.cert.as_deref(),
        files.key.as_deref(),
    )
}
