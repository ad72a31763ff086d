//! From an address to a stream: name, socket, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::of_io;
use super::wire::{Peer, TlsOverTcp, Wire};
use crate::model::{Reason, is_local};
use crate::security::tls::explain_tls;
use crate::targets::{Address, SocketOptions, Target, TlsMode, Trouble};

/// A target and what is made once to reach it.
#[derive(Debug)]
pub struct Connector {
    /// The target.
    pub target: Arc<Target>,
    /// Made at the first handshake: it may read the system's authorities.
    tls: OnceLock<Arc<ClientConfig>>,
    /// Our port of the login that was begun last; 0 is none over TCP.
    login_port: AtomicU16,
}

impl Connector {
    /// For this target. Reads nothing yet.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            tls: OnceLock::new(),
            login_port: AtomicU16::new(0),
        }
    }

    /// A login begins over this stream.
    pub(super) fn record_login(&self, peer: Peer) {
        let port = peer.local_port.unwrap_or(0);
        self.login_port.store(port, Ordering::Relaxed);
    }

    /// Our port of the login that was begun last, if that was over TCP: the server knows it by
    /// this, until it tells us its process.
    #[must_use]
    pub fn login_port(&self) -> Option<u16> {
        Some(self.login_port.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        match self.target.tls.config() {
            Ok(Some(config)) => Ok(Arc::clone(self.tls.get_or_init(|| config))),
            Ok(None) => Err("TLS is switched off".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The socket, with TLS on it where the target wants it and the server can.
pub(super) async fn open(connector: &Connector) -> Result<Wire, Trouble> {
    let target = &connector.target;
    let (host, port) = match &target.address {
        Address::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            return match UnixStream::connect(&path).await {
                Ok(stream) => Ok(Wire::Unix(stream)),
                Err(error) => Err(unreachable(&target.address, &error)),
            };
        }
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let mut stream = dial(target, host, port).await?;
    if target.tls.mode == TlsMode::Disable {
        return Ok(Wire::Tcp(stream));
    }
    if !offers_tls(&mut stream)
        .await
        .map_err(|error| lost(&target.address, &error))?
    {
        if target.tls.mode == TlsMode::Prefer {
            return Ok(Wire::Tcp(stream));
        }
        return Err(Trouble {
            reason: Reason::TlsFailed,
            message: format!(
                "{}: the server does not speak TLS; set ssl = on there, or tls = off here",
                target.address
            ),
        });
    }
    let peer = Peer::of(&stream, true);
    match handshake(connector, host, stream).await {
        Ok(stream) => Ok(Wire::Tls(Box::new(stream), peer)),
        // As libpq: who only prefers TLS goes on without it.
        Err(_) if target.tls.mode == TlsMode::Prefer => {
            Ok(Wire::Tcp(dial(target, host, port).await?))
        }
        Err(trouble) => Err(trouble),
    }
}

/// A second stream to where a session's leads, in the same way: the name is not looked at again, for
/// it may lead to another server by now. `None` when it is not to be had.
pub(super) async fn open_beside(connector: &Connector, peer: Peer) -> Option<Wire> {
    let target = &connector.target;
    let (host, address) = match (&target.address, peer.address) {
        (Address::Unix { .. }, _) => return open(connector).await.ok(),
        (Address::Tcp { host, .. }, Some(address)) => (host.as_str(), address),
        (Address::Tcp { .. }, None) => return None,
    };
    let mut stream = TcpStream::connect(address).await.ok()?;
    prepare(&stream, target.socket).ok()?;
    if !peer.tls {
        return Some(Wire::Tcp(stream));
    }
    if !offers_tls(&mut stream).await.ok()? {
        return None;
    }
    let peer = Peer::of(&stream, true);
    let stream = handshake(connector, host, stream).await.ok()?;
    Some(Wire::Tls(Box::new(stream), peer))
}

async fn dial(target: &Target, host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return Err(Trouble {
                reason: Reason::NameNotResolved,
                message: format!("{host}: {error}; check the host's name and the resolver"),
            });
        }
    };
    let addresses = allowed(target, host, addresses)?;
    // An address that swallows packets must leave time for the next one.
    let share = target.timeouts.connect / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = None;
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, target.socket).map_err(|error| lost(&target.address, &error))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(unreachable(&target.address, &error)),
            Err(_) => last = Some(timeout(&target.address, share)),
        }
    }
    Err(last.unwrap_or_else(|| Trouble {
        reason: Reason::NameNotResolved,
        message: format!("{host}: the name has no address"),
    }))
}

/// Those that the target may be at. Checked here, on what is connected to: a name may resolve to
/// another address each time.
fn allowed(
    target: &Target,
    host: &str,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Trouble> {
    if target.allow_local || addresses.is_empty() {
        return Ok(addresses);
    }
    addresses.retain(|address| !is_local(address.ip()));
    if addresses.is_empty() {
        return Err(Trouble {
            reason: Reason::ConnectionRefused,
            message: format!(
                "{host} is an address of the exporter's own machine, which this target may not \
                 name; give the server's Service or address"
            ),
        });
    }
    Ok(addresses)
}

fn prepare(stream: &TcpStream, options: SocketOptions) -> io::Result<()> {
    stream.set_nodelay(options.nodelay)?;
    let socket = SockRef::from(stream);
    // What we sent is acknowledged within this time, or the other side is gone.
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    if options.keep_alive {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// SSLRequest (PostgreSQL, "SSL Session Encryption"). Exactly one byte is read, so that nothing
/// sent in the clear can pass for what was sent under TLS.
async fn offers_tls(stream: &mut TcpStream) -> io::Result<bool> {
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

async fn handshake(
    connector: &Connector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsOverTcp, Trouble> {
    let target = &connector.target;
    let failed = |message: String| Trouble {
        reason: Reason::TlsFailed,
        message: format!("{}: {message}", target.address),
    };
    let config = connector.tls().map_err(failed)?;
    let name = target.tls.server_name.as_deref().unwrap_or(host);
    let mut make = MakeRustlsConnect::new(config.as_ref().clone());
    let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut make, name)
        .map_err(|error| failed(format!("{name} is no name that TLS can verify: {error}")))?;
    connect
        .connect(stream)
        .await
        .map_err(|error| failed(explain_tls(&error).unwrap_or_else(|| error.to_string())))
}

fn unreachable(address: &Address, error: &io::Error) -> Trouble {
    let trouble = of_io(error);
    Trouble {
        message: format!("{address}: {error}; check that the server runs and listens there"),
        ..trouble
    }
}

fn lost(address: &Address, error: &io::Error) -> Trouble {
    Trouble {
        reason: Reason::ConnectionLost,
        message: format!("{address}: {error}"),
    }
}

pub(super) fn timeout(address: &Address, limit: Duration) -> Trouble {
    Trouble {
        reason: Reason::Timeout,
        message: format!("{address}: no session within {limit:?}"),
    }
}
