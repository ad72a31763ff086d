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

use super::doorman::Doorman;
use super::scram::{Offer, ScramError};
use super::settings::Settings;
use super::startup::{self, PacketError, Startup};
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
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Somebody who is in.
pub(super) struct Guest {
    pub stream: Box<dyn Stream>,
    /// The admin's name.
    pub user: String,
}

/// Why somebody is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
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

impl LoginError {
    /// SQLSTATE and words for the client; `None` when it is not to be reached.
    fn told(&self) -> Option<(&'static str, String)> {
        let text = self.to_string();
        Some(match self {
            LoginError::Left | LoginError::Broken(_) | LoginError::Tls(_) => return None,
            LoginError::Late(_) | LoginError::Packet(_) | LoginError::Endless => (PROTOCOL, text),
            LoginError::Open => {
                let text =
                    "this port speaks TLS alone (management_tls = require); connect with TLS";
                (NOT_ALLOWED, text.to_owned())
            }
            LoginError::Scram(user, error @ ScramError::Refused) => {
                (WRONG_PASSWORD, format!("{error} for user \"{user}\""))
            }
            LoginError::Scram(_, error) => (PROTOCOL, error.to_string()),
            LoginError::NoRandomness => ("58000", text),
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
    settings: &Settings,
    (doorman, logins): (&Doorman, &BlockingPool),
) -> Result<Guest, LoginError> {
    let limit = settings.authentication_timeout;
    let late = || LoginError::Late(limit);
    let mut stream: Box<dyn Stream> = Box::new(stream);
    let mut secured = None;
    let arrived = within(limit, arrive(&mut stream, &mut secured, settings));
    let (user, unknown) = match arrived.await.unwrap_or_else(|| Err(late())) {
        Ok(arrived) => arrived,
        Err(error) => return Err(refuse(stream, error).await),
    };
    // Beside the time that the login has; who only guesses is not worth more of ours.
    tokio::time::sleep(doorman.wait(address.ip())).await;
    let binding = secured.flatten();
    let proven = within(
        limit,
        prove(&mut stream, &user, unknown, binding, (settings, logins)),
    );
    match proven.await.unwrap_or_else(|| Err(late())) {
        Ok(()) => {
            doorman.welcomed(address.ip());
            Ok(Guest { stream, user })
        }
        Err(error) => {
            if matches!(error, LoginError::Scram(..)) {
                doorman.failed(address.ip());
            }
            Err(refuse(stream, error).await)
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    timeout(limit, work).await.ok()
}

async fn refuse(mut stream: Box<dyn Stream>, error: LoginError) -> LoginError {
    if let Some((code, text)) = error.told() {
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
async fn arrive(
    stream: &mut Box<dyn Stream>,
    secured: &mut Option<Option<Arc<[u8]>>>,
    settings: &Settings,
) -> Result<(String, Option<Vec<String>>), LoginError> {
    for _ in 0..PACKETS {
        let mut head = [0; 4];
        match stream.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(LoginError::Left);
            }
            read => read?,
        };
        let mut body = vec![0; startup::packet_length(head)?];
        stream.read_exact(&mut body).await?;
        match (startup::startup(&body)?, &settings.tls) {
            (Startup::Cancel, _) => return Err(LoginError::Left),
            (Startup::Tls, Some(tls)) if secured.is_none() => {
                stream.write_all(b"S").await?;
                stream.flush().await?;
                let (config, binding) = tls.config_and_binding();
                let plain = std::mem::replace(stream, Box::new(tokio::io::empty()));
                let accepted = TlsAcceptor::from(config).accept(plain).await;
                *stream = Box::new(accepted.map_err(LoginError::Tls)?);
                *secured = Some(binding);
            }
            (Startup::Tls | Startup::Gss, _) => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            (Startup::Login { .. }, _) if settings.require_tls && secured.is_none() => {
                return Err(LoginError::Open);
            }
            (Startup::Login { user, unknown }, _) => return Ok((user, unknown)),
        }
    }
    Err(LoginError::Endless)
}

/// The exchange that proves who it is.
async fn prove(
    stream: &mut Box<dyn Stream>,
    user: &str,
    unknown: Option<Vec<String>>,
    binding: Option<Arc<[u8]>>,
    (settings, logins): (&Settings, &BlockingPool),
) -> Result<(), LoginError> {
    let mut out = Vec::new();
    if let Some(unknown) = unknown {
        out.extend(startup::negotiate(&unknown));
    }
    let offer = Offer { binding };
    out.extend(startup::sasl(offer.mechanisms()));
    send(stream, &out).await?;

    let scram = |error| LoginError::Scram(peer_text(user), error);
    let verifier = verifier(settings, logins, user).await;
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| LoginError::NoRandomness)?;
    let body = read(stream).await?;
    let (mechanism, message) = startup::sasl_initial(&body)?;
    let (exchange, first) = offer
        .begin(mechanism, message, verifier, &STANDARD.encode(nonce))
        .map_err(scram)?;
    send(stream, &startup::sasl_continue(&first)).await?;
    let body = read(stream).await?;
    let last = exchange.end(&body).map_err(scram)?;
    send(stream, &startup::welcome(&last)).await?;
    Ok(())
}

/// What proves the user's password. It may have to read changed files; when that takes long, what
/// was read last counts.
async fn verifier(settings: &Settings, logins: &BlockingPool, user: &str) -> ScramVerifier {
    let (roster, name) = (Arc::clone(&settings.roster), user.to_owned());
    let looked = timeout(LOOK, logins.run(move || roster.verifier(&name)));
    match looked.await {
        Ok(Ok(verifier)) => verifier,
        Ok(Err(_)) | Err(_) => settings.roster.known_verifier(user),
    }
}

async fn read(stream: &mut Box<dyn Stream>) -> Result<Vec<u8>, LoginError> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; startup::message_length(head)?];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn send(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
