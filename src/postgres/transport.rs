//! The stream to a server, whatever carries it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// TLS as the driver knows it, for the sake of channel binding.
pub(super) type TlsOverTcp = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// Where a session's stream leads: not the name that was resolved, but what it was resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// `None` is the Unix socket of the target.
    pub address: Option<SocketAddr>,
    /// Our own port, by which the server knows the session; `None` on a Unix socket.
    pub local_port: Option<u16>,
    /// TLS is spoken over it.
    pub tls: bool,
}

impl Peer {
    /// The two ends of a socket.
    pub(super) fn from_stream(stream: &TcpStream, tls: bool) -> Self {
        Self {
            address: stream.peer_addr().ok(),
            local_port: stream.local_addr().ok().map(|address| address.port()),
            tls,
        }
    }
}

/// The three kinds of stream to a server.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// With its two ends, which this type of stream does not tell.
    Tls(Box<TlsOverTcp>, Peer),
    /// To a server that a test plays.
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

impl Transport {
    /// Where it leads.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Transport::Tcp(stream) => Peer::from_stream(stream, false),
            Transport::Unix(_) => Peer {
                address: None,
                local_port: None,
                tls: false,
            },
            Transport::Tls(_, peer) => *peer,
            #[cfg(test)]
            Transport::Memory(_) => Peer {
                address: None,
                local_port: None,
                tls: false,
            },
        }
    }
}

// TLS has nothing to show that may be shown.
impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Tcp(_) => "Tcp",
            Transport::Unix(_) => "Unix",
            Transport::Tls(..) => "Tls",
            #[cfg(test)]
            Transport::Memory(_) => "Memory",
        })
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            Transport::Tcp($stream) => $do,
            Transport::Unix($stream) => $do,
            Transport::Tls($stream, _) => $do,
            #[cfg(test)]
            Transport::Memory($stream) => $do,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl TlsStream for Transport {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Transport::Tls(stream, _) => stream.channel_binding(),
            Transport::Tcp(_) | Transport::Unix(_) => ChannelBinding::none(),
            #[cfg(test)]
            Transport::Memory(_) => ChannelBinding::none(),
        }
    }
}

/// SSLRequest (PostgreSQL, "SSL Session Encryption"). Exactly one byte is read, so that nothing
/// sent in the clear can pass for what was sent under TLS.
pub(super) async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what listens here does not speak PostgreSQL's protocol",
        )),
    }
}
