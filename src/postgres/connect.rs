//! From an address to a stream: name, socket, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connector::{AddressPreference, Connector};
use super::error::of_io;
use super::transport::{Peer, TlsOverTcp, Transport, offers_tls};
use crate::model::{TargetErrorKind, is_local};
use crate::security::tls::explain_tls;
use crate::targets::{Address, SocketOptions, Target, TargetError, TlsMode};

/// The socket, with TLS on it where the target wants it and the server can. Who prefers TLS goes
/// without where the role is let in without it alone.
pub(super) async fn open(connector: &Connector) -> Result<Transport, TargetError> {
    open_with(connector, !connector.quirks.refuses_tls()).await
}

/// The same. Without `tls`, who only prefers it does not ask for it.
pub(super) async fn open_with(connector: &Connector, tls: bool) -> Result<Transport, TargetError> {
    let target = &connector.target;
    let (host, port) = match &target.address {
        Address::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            return match UnixStream::connect(&path).await {
                Ok(stream) => Ok(Transport::Unix(stream)),
                Err(error) => Err(unreachable(&target.address, &error)),
            };
        }
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let mut stream = dial(connector, host, port).await?;
    let prefers = target.tls.mode == TlsMode::Prefer;
    if target.tls.mode == TlsMode::Disable || (prefers && !tls) {
        return Ok(Transport::Tcp(stream));
    }
    let offered = match offers_tls(&mut stream).await {
        Ok(offered) => offered,
        // Something old or simple, which does not know the question.
        Err(_) if prefers => return Ok(Transport::Tcp(dial(connector, host, port).await?)),
        Err(error) => return Err(lost(&target.address, &error)),
    };
    if !offered {
        if prefers {
            return Ok(Transport::Tcp(stream));
        }
        return Err(TargetError {
            kind: TargetErrorKind::TlsFailed,
            message: format!(
                "{}: the server does not speak TLS; set ssl = on there, or tls = off here",
                target.address
            ),
        });
    }
    let peer = Peer::from_stream(&stream, true);
    match handshake(connector, host, stream).await {
        Ok(stream) => Ok(Transport::Tls(Box::new(stream), peer)),
        // As libpq: who only prefers TLS goes on without it.
        Err(_) if prefers => Ok(Transport::Tcp(dial(connector, host, port).await?)),
        Err(trouble) => Err(trouble),
    }
}

/// A second stream to where a session's leads, in the same way: the name is not looked at again, for
/// it may lead to another server by now. `None` when it is not to be had.
pub(super) async fn open_beside(connector: &Connector, peer: Peer) -> Option<Transport> {
    let target = &connector.target;
    let (host, address) = match (&target.address, peer.address) {
        (Address::Unix { .. }, _) => return open(connector).await.ok(),
        (Address::Tcp { host, .. }, Some(address)) => (host.as_str(), address),
        (Address::Tcp { .. }, None) => return None,
    };
    let mut stream = TcpStream::connect(address).await.ok()?;
    prepare(&stream, target.socket).ok()?;
    if !peer.tls {
        return Some(Transport::Tcp(stream));
    }
    if !offers_tls(&mut stream).await.ok()? {
        return None;
    }
    let peer = Peer::from_stream(&stream, true);
    let stream = handshake(connector, host, stream).await.ok()?;
    Some(Transport::Tls(Box::new(stream), peer))
}

async fn dial(connector: &Connector, host: &str, port: u16) -> Result<TcpStream, TargetError> {
    let target = &connector.target;
    // The other half is for the socket.
    let limit = target.timeouts.connect / 2;
    let resolved = connector.context.resolver.resolve(host, port, limit).await;
    let addresses = resolved.map_err(|error| TargetError {
        kind: TargetErrorKind::NameNotResolved,
        message: format!("{host}: {error}; check the host's name and the resolver"),
    })?;
    let mut addresses = allowed(target, host, addresses)?;
    connector
        .addresses
        .store(addresses.len(), Ordering::Relaxed);
    let preference = *connector.preference();
    preference.sort(&mut addresses);
    // An address that swallows packets must leave time for the next one.
    let share = target.timeouts.connect / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = None;
    for address in addresses {
        connector.dials.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                if !target.allow_local && is_own_machine(&stream) {
                    // Nothing was sent yet.
                    last = Some(own_machine(host));
                    continue;
                }
                prepare(&stream, target.socket).map_err(|error| lost(&target.address, &error))?;
                let dialed = connector.dialed.lock();
                *dialed.unwrap_or_else(PoisonError::into_inner) = Some(address);
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(unreachable(&target.address, &error)),
            Err(_) => last = Some(timeout(&target.address, share)),
        }
    }
    if let (None, AddressPreference::Never(_)) = (&last, preference) {
        return Err(TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!(
                "{}: it does not answer, and {host} has no other address",
                target.address
            ),
        });
    }
    Err(last.unwrap_or_else(|| TargetError {
        kind: TargetErrorKind::NameNotResolved,
        message: format!("{host}: the name has no address"),
    }))
}

/// Those that the target may be at. Checked here, on what is connected to: a name may resolve to
/// another address each time.
fn allowed(
    target: &Target,
    host: &str,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, TargetError> {
    if target.allow_local || addresses.is_empty() {
        return Ok(addresses);
    }
    addresses.retain(|address| !is_local(address.ip()));
    if addresses.is_empty() {
        return Err(own_machine(host));
    }
    Ok(addresses)
}

/// Whether a connection goes to an address of an interface of this machine: the kernel then gives
/// both of its ends that address.
fn is_own_machine(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) => own.ip().to_canonical() == peer.ip().to_canonical(),
        _ => false,
    }
}

fn own_machine(host: &str) -> TargetError {
    TargetError {
        kind: TargetErrorKind::ConnectionRefused,
        message: format!(
            "{host} is an address of the exporter's own machine, which this target may not name, \
             or no unicast address of a network; give the server's Service or address"
        ),
    }
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

async fn handshake(
    connector: &Connector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsOverTcp, TargetError> {
    let target = &connector.target;
    let failed = |message: String| TargetError {
        kind: TargetErrorKind::TlsFailed,
        message: format!("{}: {message}", target.address),
    };
    let config = connector.tls().await.map_err(failed)?;
    let name = target.tls.server_name.as_deref().unwrap_or(host);
    let mut make = MakeRustlsConnect::new(config.as_ref().clone());
    let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut make, name)
        .map_err(|error| failed(format!("{name} is no name that TLS can verify: {error}")))?;
    connect
        .connect(stream)
        .await
        .map_err(|error| failed(explain_tls(&error).unwrap_or_else(|| error.to_string())))
}

fn unreachable(address: &Address, error: &io::Error) -> TargetError {
    let trouble = of_io(error);
    TargetError {
        message: format!("{address}: {error}; check that the server runs and listens there"),
        ..trouble
    }
}

fn lost(address: &Address, error: &io::Error) -> TargetError {
    TargetError {
        kind: TargetErrorKind::ConnectionLost,
        message: format!("{address}: {error}"),
    }
}

pub(super) fn timeout(address: &Address, limit: Duration) -> TargetError {
    TargetError {
        kind: TargetErrorKind::Timeout,
        message: format!("{address}: no session within {limit:?}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_connection_to_oneself_have_one_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = TcpStream::connect(address).await.unwrap();
        assert!(is_own_machine(&own));
        // One that comes from another address goes to another machine, as far as can be seen.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = socket.connect(address).await.unwrap();
        assert!(!is_own_machine(&other));
    }
}
