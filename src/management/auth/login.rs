//! A TCP connection before its first frame: the TLS handshake and the login.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::login_throttle::LoginThrottle;
use super::scram::{ScramError, ScramOffer};
use crate::blocking::BlockingPool;
use crate::management::settings::ManagementSettings;
use crate::management::wire::startup::{self, PacketError, StartupPacket};
use crate::security::ScramVerifier;
use crate::text::peer_text;

/// Most packets before the login. libpq sends one for GSSAPI, one for TLS, and the login.
const PACKETS: usize = 3;
/// Random bytes of a nonce, as PostgreSQL has it.
const NONCE: usize = 18;
/// How long a login waits for changed files of admins to be read.
const LOOK: Duration = Duration::from_secs(1);
/// SQLSTATEs.
const PROTOCOL: &str = "08P01";
const NOT_ALLOWED: &str = "28000";
const WRONG_PASSWORD: &str = "28P01";

/// The stream of a connection, with TLS or without.
pub(in crate::management) trait AsyncStream:
    AsyncRead + AsyncWrite + Unpin + Send
{
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> AsyncStream for T {}

/// A client that has logged in.
pub(in crate::management) struct AuthenticatedClient {
    pub stream: Box<dyn AsyncStream>,
    /// The admin's name.
    pub user: String,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::management) enum AdminLoginError {
    /// The peer left without a login, as a port check or a cancel request does.
    #[error("the client disconnected without logging in")]
    Left,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the client did not log in within {0:?}")]
    Late(Duration),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("the client sent too many requests before the login")]
    Endless,
    #[error("the client does not use TLS, and management_tls = require")]
    Open,
    #[error("user {0:?}: {1}")]
    Scram(String, ScramError),
    #[error("the operating system did not provide random bytes")]
    NoRandomness,
}

impl AdminLoginError {
    /// SQLSTATE and message for the client; `None` when it cannot be sent one.
    fn client_message(&self) -> Option<(&'static str, String)> {
        let text = self.to_string();
        Some(match self {
            AdminLoginError::Left | AdminLoginError::Broken(_) | AdminLoginError::Tls(_) => {
                return None;
            }
            AdminLoginError::Late(_) | AdminLoginError::Packet(_) | AdminLoginError::Endless => {
                (PROTOCOL, text)
            }
            AdminLoginError::Open => {
                let text =
                    "this port only accepts TLS (management_tls = require); connect with TLS";
                (NOT_ALLOWED, text.to_owned())
            }
            AdminLoginError::Scram(user, error @ ScramError::Refused) => {
                (WRONG_PASSWORD, format!("{error} for user \"{user}\""))
            }
            AdminLoginError::Scram(_, error) => (PROTOCOL, error.to_string()),
            AdminLoginError::NoRandomness => ("58000", text),
        })
    }
}

/// Logs a client in, or sends it the reason why not.
///
/// # Errors
/// [`AdminLoginError`], which the client was sent already.
pub(in crate::management) async fn login(
    stream: TcpStream,
    address: SocketAddr,
    settings: &ManagementSettings,
    (throttle, logins): (&LoginThrottle, &BlockingPool),
) -> Result<AuthenticatedClient, AdminLoginError> {
    let limit = settings.authentication_timeout;
    let late = || AdminLoginError::Late(limit);
    let mut stream: Box<dyn AsyncStream> = Box::new(stream);
    let mut secured = None;
    let arrived = run_within(limit, read_startup(&mut stream, &mut secured, settings));
    let (user, unknown) = match arrived.await.unwrap_or_else(|| Err(late())) {
        Ok(arrived) => arrived,
        Err(error) => return Err(send_refusal(stream, error).await),
    };
    // The delay does not count towards the timeout of the login.
    tokio::time::sleep(throttle.delay_for(address.ip())).await;
    let binding = secured.flatten();
    let proven = run_within(
        limit,
        authenticate(&mut stream, &user, unknown, binding, (settings, logins)),
    );
    match proven.await.unwrap_or_else(|| Err(late())) {
        Ok(()) => {
            throttle.record_success(address.ip());
            Ok(AuthenticatedClient { stream, user })
        }
        Err(error) => {
            if matches!(error, AdminLoginError::Scram(..)) {
                throttle.record_failure(address.ip());
            }
            Err(send_refusal(stream, error).await)
        }
    }
}

async fn run_within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}

async fn send_refusal(mut stream: Box<dyn AsyncStream>, error: AdminLoginError) -> AdminLoginError {
    if let Some((code, text)) = error.client_message() {
        // An error is ignored: the reason is logged here too.
        let _ = timeout(Duration::from_secs(1), async {
            stream.write_all(&startup::fatal(code, &text)).await?;
            stream.shutdown().await
        })
        .await;
    }
    error
}

/// Reads up to the startup message, with the TLS handshake if the client asks for one. Returns the
/// user, and the options to negotiate. `secured` becomes the channel binding once there is TLS.
async fn read_startup(
    stream: &mut Box<dyn AsyncStream>,
    secured: &mut Option<Option<Arc<[u8]>>>,
    settings: &ManagementSettings,
) -> Result<(String, Option<Vec<String>>), AdminLoginError> {
    for _ in 0..PACKETS {
        let mut head = [0; 4];
        match stream.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(AdminLoginError::Left);
            }
            read => read?,
        };
        let mut body = vec![0; startup::packet_length(head)?];
        stream.read_exact(&mut body).await?;
        match (startup::startup(&body)?, &settings.tls) {
            (StartupPacket::Cancel, _) => return Err(AdminLoginError::Left),
            (StartupPacket::Tls, Some(tls)) if secured.is_none() => {
                stream.write_all(b"S").await?;
                stream.flush().await?;
                let (config, binding) = tls.config_and_binding();
                let plain = std::mem::replace(stream, Box::new(tokio::io::empty()));
                let accepted = TlsAcceptor::from(config).accept(plain).await;
                *stream = Box::new(accepted.map_err(AdminLoginError::Tls)?);
                *secured = Some(binding);
            }
            (StartupPacket::Tls | StartupPacket::Gss, _) => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            (StartupPacket::Login { .. }, _) if settings.require_tls && secured.is_none() => {
                return Err(AdminLoginError::Open);
            }
            (StartupPacket::Login { user, unknown }, _) => return Ok((user, unknown)),
        }
    }
    Err(AdminLoginError::Endless)
}

/// Authenticates the user with SCRAM.
async fn authenticate(
    stream: &mut Box<dyn AsyncStream>,
    user: &str,
    unknown: Option<Vec<String>>,
    binding: Option<Arc<[u8]>>,
    (settings, logins): (&ManagementSettings, &BlockingPool),
) -> Result<(), AdminLoginError> {
    let mut out = Vec::new();
    if let Some(unknown) = unknown {
        out.extend(startup::negotiate(&unknown));
    }
    let offer = ScramOffer { binding };
    out.extend(startup::sasl(offer.mechanisms()));
    send_message(stream, &out).await?;

    let scram = |error| AdminLoginError::Scram(peer_text(user), error);
    let verifier = find_verifier(settings, logins, user).await;
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| AdminLoginError::NoRandomness)?;
    let body = read_message(stream).await?;
    let (mechanism, message) = startup::sasl_initial(&body)?;
    let (exchange, first) = offer
        .begin_exchange(mechanism, message, verifier, &STANDARD.encode(nonce))
        .map_err(scram)?;
    send_message(stream, &startup::sasl_continue(&first)).await?;
    let body = read_message(stream).await?;
    let last = exchange.finish(&body).map_err(scram)?;
    send_message(stream, &startup::login_complete(&last)).await?;
    Ok(())
}

/// The verifier of the user's password. It may read a changed admins file; when that takes longer than
/// [`LOOK`], the file as it was read last is used.
async fn find_verifier(
    settings: &ManagementSettings,
    logins: &BlockingPool,
    user: &str,
) -> ScramVerifier {
    let (admin_verifiers, name) = (Arc::clone(&settings.admin_verifiers), user.to_owned());
    let looked = timeout(LOOK, logins.run(move || admin_verifiers.verifier(&name)));
    match looked.await {
        Ok(Ok(verifier)) => verifier,
        Ok(Err(_)) | Err(_) => settings.admin_verifiers.known_verifier(user),
    }
}

async fn read_message(stream: &mut Box<dyn AsyncStream>) -> Result<Vec<u8>, AdminLoginError> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; startup::message_length(head)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn send_message(stream: &mut Box<dyn AsyncStream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
