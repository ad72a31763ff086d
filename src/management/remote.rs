//! A connection from afar before its first frame: TLS where it is wanted, and the login.

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
use super::settings::ManagementSettings;
use super::startup::{self, PacketError, StartupPacket};
use crate::blocking::BlockingPool;
use crate::security::ScramVerifier;
use crate::text::peer_text;

/// Packets before the login: a request for GSSAPI, one for TLS, and one more for luck.
const PACKETS: usize = 3;
/// Random bytes of a nonce, as PostgreSQL has it.
const NONCE: usize = 18;
/// How long a login waits for changed files of admins to be read.
const LOOK: Duration = Duration::from_secs(1);
/// SQLSTATEs.
const PROTOCOL: &str = "08P01";
const NOT_ALLOWED: &str = "28000";
const WRONG_PASSWORD: &str = "28P01";

/// What a connection is read from and written to, with TLS or without.
pub(super) trait AsyncStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> AsyncStream for T {}

/// Somebody who is in.
pub(super) struct AuthenticatedClient {
    pub stream: Box<dyn AsyncStream>,
    /// The admin's name.
    pub user: String,
}

/// Why somebody is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminLoginError {
    /// Nothing was asked: a port check, a request to cancel.
    #[error("it left without a login")]
    Left,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("no login within {0:?}")]
    Late(Duration),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("it asks for too much before a login")]
    Endless,
    #[error("it speaks no TLS, and management_tls = require")]
    Open,
    #[error("user {0:?}: {1}")]
    Scram(String, ScramError),
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl AdminLoginError {
    /// SQLSTATE and words for the client; `None` when it is not to be reached.
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
                    "this port speaks TLS alone (management_tls = require); connect with TLS";
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

/// Lets somebody in, or tells why not.
///
/// # Errors
/// [`LoginError`], which was told already.
pub(super) async fn login(
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
    // Beside the time that the login has; who only guesses is not worth more of ours.
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
        // Who does not listen has its own log.
        let _ = timeout(Duration::from_secs(1), async {
            stream.write_all(&startup::fatal(code, &text)).await?;
            stream.shutdown().await
        })
        .await;
    }
    error
}

/// Up to the startup message: whose login it is, and what is to be negotiated. `secured` is the
/// channel binding once there is TLS.
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

/// The exchange that proves who it is.
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
        .begin(mechanism, message, verifier, &STANDARD.encode(nonce))
        .map_err(scram)?;
    send_message(stream, &startup::sasl_continue(&first)).await?;
    let body = read_message(stream).await?;
    let last = exchange.finish(&body).map_err(scram)?;
    send_message(stream, &startup::login_complete(&last)).await?;
    Ok(())
}

/// What proves the user's password. It may have to read changed files; when that takes long, what
/// was read last counts.
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
