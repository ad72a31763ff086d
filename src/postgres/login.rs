//! From a socket to a session: the driver logs in and hands the stream back. It reads no byte beyond
//! the login; what comes with the last one is kept for the session.
//!
//! It knows all ways of authentication and what its errors mean. What comes after is a scrape's
//! pipeline, which the driver has no word for: many statements under one Sync.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config};

use super::charset::Charset;
use super::connect::{open_beside, open_with, timeout};
use super::connection::Connection;
use super::connector::Connector;
use super::error::of_guard;
use super::login_error::LoginError;
use super::login_guard::{GuardError, GuardedLogin};
use super::session_settings::major;
use super::transport::{Peer, Transport};
use crate::security::AuthRules;
use crate::targets::{TargetError, TlsMode};

/// How long a server that has taken a connection may take to let it in.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct LoggedIn {
    pub connection: Connection,
    pub key: CancelKey,
    /// The database's encoding.
    pub charset: Charset,
    /// The major version of the server, 0 when it does not tell.
    pub major: u32,
}

/// What cancels the queries of a session, and where it is taken to: the server that gave it.
#[derive(Clone)]
pub(super) struct CancelKey(CancelToken, Peer);

impl CancelKey {
    /// The address of the session; `None` for a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.1.address
    }
}

// The driver's own would show the key.
impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelKey([redacted])")
    }
}

/// Logs in to `database` of the target. Who prefers TLS and is refused with it is let in without,
/// as libpq does: `pg_hba.conf` may know the role without TLS alone.
///
/// # Errors
/// Why not. No socket within the target's `connect` timeout is a reason; a server that has
/// taken the connection may take up to [`PATIENCE`] for the rest, and longer where logins before
/// this one were given up.
pub(super) async fn log_in(
    connector: &Connector,
    database: &str,
    options: Option<&str>,
) -> Result<LoggedIn, LoginError> {
    let target = &connector.target;
    let quirks = &connector.quirks;
    let login = async {
        let tls = !quirks.refuses_tls();
        let failed = match attempt(connector, database, options, tls).await {
            Err(failed) if tls && failed.may_be_for_tls() => failed,
            Err(failed) => {
                if failed.is_for_role() {
                    quirks.note_refused_tls(false);
                }
                return Err(failed);
            }
            Ok(login) => return Ok(login),
        };
        if target.tls.mode != TlsMode::Prefer {
            return Err(failed);
        }
        match attempt(connector, database, options, false).await {
            Ok(login) => {
                quirks.note_refused_tls(true);
                Ok(login)
            }
            Err(_) => Err(failed),
        }
    };
    let patience = quirks.login_patience(PATIENCE);
    let result = tokio::time::timeout(patience, login).await;
    quirks.note_login(result.is_err());
    match result {
        Ok(result) => result,
        Err(_) => Err(timeout(&target.address, patience).into()),
    }
}

async fn attempt(
    connector: &Connector,
    database: &str,
    options: Option<&str>,
    tls: bool,
) -> Result<LoggedIn, LoginError> {
    let transport = open_with(connector, tls).await?;
    log_in_over(connector, transport, database, options).await
}

/// Has the driver log in over this stream, and takes the stream back.
///
/// # Errors
/// Why not.
pub(super) async fn log_in_over(
    connector: &Connector,
    transport: Transport,
    database: &str,
    options: Option<&str>,
) -> Result<LoggedIn, LoginError> {
    let target = &connector.target;
    let encrypted = matches!(transport, Transport::Tls(..));
    let peer = transport.peer();
    let rules = AuthRules {
        require: target.require_auth,
        private: match &transport {
            Transport::Unix(_) => true,
            Transport::Tls(..) => target.tls.verifies(),
            Transport::Tcp(_) => false,
            #[cfg(test)]
            Transport::Memory(_) => true,
        },
        scram_before: connector.context.auth.used_scram(target),
        binding_before: encrypted && connector.context.auth.used_binding(target),
    };
    connector.record_login(peer);
    let mut config = Config::new();
    config
        .user(&target.user)
        .dbname(database)
        .application_name("pgexporter")
        // TLS was agreed on before, or was not: to the driver both look like an encrypted stream.
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = options {
        config.options(options);
    }
    let limit = target.limits.login_message;
    let lent = Lent(Arc::new(Mutex::new(GuardedLogin::new(
        transport, rules, limit,
    ))));
    let own = Arc::clone(&lent.0);
    let connected = config.connect_raw(lent, Established).await;
    let (method, bound) = {
        let guarded = own.lock().unwrap_or_else(PoisonError::into_inner);
        (guarded.method(), guarded.used_binding())
    };
    connector.context.auth.warn_of_weak(target, method);
    let (client, connection) =
        connected.map_err(|error| LoginError::new(&error, target, encrypted))?;
    connector.context.auth.record_login(target, method, bound);
    let charset = Charset::from_name(connection.parameter("server_encoding"));
    let major = major(connection.parameter("server_version"));
    let key = CancelKey(client.cancel_token(), peer);
    // It says nothing more when it is dropped unpolled.
    drop((client, connection));
    let (transport, early) = take_back(own).map_err(|error| {
        let trouble = of_guard(&error);
        TargetError {
            message: format!("{}: {}", target.address, trouble.message),
            ..trouble
        }
    })?;
    Ok(LoggedIn {
        connection: Connection::new(transport, early, target.limits.message),
        key,
        charset,
        major,
    })
}

/// The stream, from a driver that is gone.
///
/// # Errors
/// It is not, or the login is not over.
fn take_back(
    lent: Arc<Mutex<GuardedLogin<Transport>>>,
) -> Result<(Transport, Vec<u8>), GuardError> {
    Arc::into_inner(lent)
        .ok_or(GuardError::StillHeld)?
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_session()
}

/// Asks the server to cancel what a session runs. Returns when it has done so, cannot be reached, or
/// has taken as long as a connection may.
pub(super) async fn cancel(connector: &Connector, key: &CancelKey) {
    let request = async {
        if let Some(transport) = open_beside(connector, key.1).await {
            // Nobody logs in for it.
            let transport = GuardedLogin::new(
                transport,
                AuthRules::default(),
                connector.target.limits.login_message,
            );
            // An error means that the server is gone or busy; the session's own limit then ends it.
            let _ = key.0.cancel_query_raw(transport, Established).await;
        }
    };
    let _ = tokio::time::timeout(connector.target.timeouts.connect, request).await;
}

/// A stream that the driver may use until it is taken back.
struct Lent(Arc<Mutex<GuardedLogin<Transport>>>);

impl Lent {
    fn with<T>(&self, work: impl FnOnce(Pin<&mut GuardedLogin<Transport>>) -> T) -> T {
        work(Pin::new(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

impl TlsStream for Lent {
    fn channel_binding(&self) -> ChannelBinding {
        self.with(|stream| stream.channel_binding())
    }
}

/// Tells the driver that the stream is as it should be.
struct Established;

impl<S: TlsStream + Unpin> TlsConnect<S> for Established {
    type Stream = S;
    type Error = io::Error;
    type Future = Ready<io::Result<S>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_still_lent_or_whose_login_is_not_over_is_not_handed_on() {
        let lent = || {
            let (near, _far) = tokio::io::duplex(64);
            let rules = AuthRules::default();
            let guarded = GuardedLogin::new(Transport::Memory(near), rules, 4_096);
            Arc::new(Mutex::new(guarded))
        };
        let held = lent();
        let taken = take_back(Arc::clone(&held));
        assert_eq!(taken.unwrap_err(), GuardError::StillHeld);
        assert_eq!(take_back(lent()).unwrap_err(), GuardError::NotReady);
    }
}
