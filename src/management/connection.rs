//! One connection: reads a request, sends its answer, and closes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::admin_api::AdminApi;
use super::dispatch::{self, AdminPeer};
use super::document::{JsonObject, errors};
use super::settings::ManagementSettings;
use super::wire::codec::{self, CodecError, Compression, Encryption};
use super::wire::frame::{self, FrameError, FrameHead, Framing, PLAIN};
use crate::blocking::BlockingPool;
use crate::connection_limit::ConnectionPlace;
use crate::security::Vault;
use crate::shutdown::Shutdown;

/// The buffer grows by at most this much at a time, so that a client that announces a long frame
/// does not make us allocate it.
const STEP: usize = 16 * 1024;
/// How long, and for how many bytes, the socket is read after the answer was sent. Closing a socket
/// with unread bytes sends a reset, and the client would lose the answer.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestReadError {
    /// The peer closed the connection without a byte.
    #[error("the client disconnected without sending a request")]
    Nothing,
    /// The peer closed the connection inside a frame.
    #[error("the frame ends after {0} bytes")]
    Torn(usize),
    /// The frame was not complete in time.
    #[error("no complete frame arrived within {0:?}")]
    Late(Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The frame is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads a frame: its framing and its document, still packed.
pub(super) async fn read_frame<S>(
    stream: &mut S,
    limit: Duration,
) -> Result<(Framing, Vec<u8>), RequestReadError>
where
    S: AsyncRead + Unpin,
{
    let until = Instant::now() + limit;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let wanted = match frame::head(&bytes)? {
            Some(FrameHead {
                framing,
                size,
                length,
            }) => {
                if bytes.len() >= size + length {
                    bytes.truncate(size + length);
                    bytes.drain(..size);
                    return Ok((framing, bytes));
                }
                size + length - bytes.len()
            }
            None => STEP,
        };
        bytes.reserve(wanted.min(STEP));
        match timeout_at(until, stream.read_buf(&mut bytes)).await {
            Err(_) => return Err(RequestReadError::Late(limit)),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(0)) if bytes.is_empty() => return Err(RequestReadError::Nothing),
            Ok(Ok(0)) => return Err(RequestReadError::Torn(bytes.len())),
            Ok(Ok(_)) => {}
        }
    }
}

/// Packs or unpacks.
type CodecFn = fn(&[u8], Compression, Encryption, &Vault) -> Result<Vec<u8>, CodecError>;

/// A connection of a client that may send a request, with what answering it needs.
pub(super) struct AdminConnection<'a, C> {
    pub control: &'a C,
    pub vault: &'a Arc<Vault>,
    pub codec_pool: &'a BlockingPool,
    pub settings: &'a ManagementSettings,
    pub stop: &'a Shutdown,
    pub peer: AdminPeer,
}

impl<C: AdminApi> AdminConnection<'_, C> {
    /// Answers one request. Until the request has come, the connection may be closed to make room for
    /// another one, which `place` tells.
    pub(super) async fn run<S>(self, mut stream: S, place: ConnectionPlace)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let read = tokio::select! {
            read = read_frame(&mut stream, self.settings.authentication_timeout) => read,
            // A shutdown does not wait for connections without a request.
            () = self.stop.begun() => return,
            () = place.to_leave() => {
                warn!(
                    peer = %self.peer,
                    "disconnected: the client sent no request, and others are waiting"
                );
                return;
            }
        };
        place.activity().set_answering(true);
        let answer = match read {
            Ok((framing, document)) => self.answer(framing, document).await,
            Err(RequestReadError::Nothing) => {
                debug!(peer = %self.peer, "the client disconnected without sending a request");
                return;
            }
            Err(error) => {
                warn!(peer = %self.peer, "no request: {error}");
                if matches!(error, RequestReadError::Broken(_)) {
                    return;
                }
                encode_refusal(PLAIN, error.to_string())
            }
        };
        if let Err(error) = send_answer(&mut stream, &answer, self.settings.blocking_timeout).await
        {
            warn!(peer = %self.peer, "the answer could not be sent: {error}");
        }
    }

    async fn answer(&self, framing: Framing, document: Vec<u8>) -> Vec<u8> {
        let Framing::Json(compression, encryption) = framing else {
            let response =
                dispatch::handle_request(self.control, &self.peer, framing, &document).await;
            return frame::frame(framing, &response);
        };
        let document = match self
            .run_codec(compression, encryption, document, codec::unpack)
            .await
        {
            Ok(document) => document,
            Err(error) => {
                warn!(peer = %self.peer, "bad request: {error}");
                // A client that packs wrongly may not be able to unpack, so the error is sent plain.
                return encode_refusal(PLAIN, error.to_string());
            }
        };
        let response = dispatch::handle_request(self.control, &self.peer, framing, &document).await;
        match self
            .run_codec(compression, encryption, response, codec::pack)
            .await
        {
            Ok(packed) => frame::frame(framing, &packed),
            Err(error) => {
                warn!(peer = %self.peer, "the answer cannot be compressed or encrypted: {error}");
                encode_refusal(PLAIN, error.to_string())
            }
        }
    }

    /// Packs or unpacks. Compression and encryption run in a pool, as they keep a processor busy.
    async fn run_codec(
        &self,
        compression: Compression,
        encryption: Encryption,
        bytes: Vec<u8>,
        work: CodecFn,
    ) -> Result<Vec<u8>, CodecError> {
        if (compression, encryption) == (Compression::None, Encryption::None) {
            return Ok(bytes);
        }
        let vault = Arc::clone(self.vault);
        self.codec_pool
            .run(move || work(&bytes, compression, encryption, &vault))
            .await
            .unwrap_or_else(|error| Err(CodecError::NotRun(error)))
    }
}

fn encode_refusal(framing: Framing, message: String) -> Vec<u8> {
    let response = dispatch::encode_refusal(errors::BAD_PAYLOAD, message, JsonObject::new());
    frame::frame(framing, &response)
}

/// Sends all bytes and closes the connection. Fails when the peer reads nothing for `patience`.
async fn send_answer<S>(stream: &mut S, bytes: &[u8], patience: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = write_within(stream.write(rest), patience).await?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[taken..];
    }
    write_within(stream.flush(), patience).await?;
    write_within(stream.shutdown(), patience).await?;
    // Errors are ignored: the answer was sent.
    let mut scratch = [0; 4096];
    let mut left = LINGER_BYTES;
    let _ = timeout(LINGER, async {
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    })
    .await;
    Ok(())
}

async fn write_within<T>(
    work: impl Future<Output = io::Result<T>>,
    patience: Duration,
) -> io::Result<T> {
    match timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read the answer",
        )),
    }
}
