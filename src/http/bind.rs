//! Listening sockets: from `host` and a port to all the addresses that they mean.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

/// How often a port is chosen anew when port 0 brought one that the other family lacks.
const ATTEMPTS: usize = 20;

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name has no address.
    #[error(
        "host '{host}' cannot be resolved to an address ({source}); give an address, or '*' for all"
    )]
    Resolve {
        /// The value of `host`.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The port is taken.
    #[error(
        "{address} is in use by another program; stop it (find it with 'ss -ltnp') or choose another port"
    )]
    InUse {
        /// The address and port.
        address: SocketAddr,
    },
    /// The port is privileged.
    #[error(
        "no permission to listen on {address}; choose a port above 1023, or grant CAP_NET_BIND_SERVICE"
    )]
    Denied {
        /// The address and port.
        address: SocketAddr,
    },
    /// The address belongs to another machine.
    #[error(
        "{address} is not an address of this machine; give one that 'ip address' shows, or '*' for all"
    )]
    NotLocal {
        /// The address and port.
        address: SocketAddr,
    },
    /// Anything else the system said.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::InUse { address },
            ErrorKind::PermissionDenied => Self::Denied { address },
            ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ => Self::Other { address, source },
        }
    }
}

/// Listens on `port` at every address that `host` means. `*` is every address, IPv4 and IPv6, in
/// two sockets (`IPV6_V6ONLY`, RFC 3493 section 5.3); a machine without one of them gets the other.
/// A name is resolved to all its addresses, which blocks. Port 0 lets the system choose, the same
/// port for all of them.
///
/// The sockets do not block and have `SO_REUSEADDR`. `backlog` is the number of connections that
/// wait to be accepted.
///
/// # Errors
/// [`BindError`]; its text says what to do. Nothing is left listening then.
pub fn bind(host: &str, port: u16, backlog: u32) -> Result<Vec<TcpListener>, BindError> {
    let addresses = addresses(host)?;
    let mut attempt = 1;
    loop {
        match bind_all(&addresses, port, backlog) {
            Err(BindError::InUse { .. }) if port == 0 && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn addresses(host: &str) -> Result<Vec<IpAddr>, BindError> {
    if host == "*" {
        return Ok(vec![
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv4Addr::UNSPECIFIED.into(),
        ]);
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let failed = |source| BindError::Resolve {
        host: host.to_owned(),
        source,
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for address in (bare, 0).to_socket_addrs().map_err(failed)? {
        if !found.contains(&address.ip()) {
            found.push(address.ip());
        }
    }
    if found.is_empty() {
        return Err(failed(io::Error::new(
            ErrorKind::NotFound,
            "it has no address",
        )));
    }
    Ok(found)
}

fn bind_all(
    addresses: &[IpAddr],
    mut port: u16,
    backlog: u32,
) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut absent = None;
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        match listen(address, backlog) {
            Ok(listener) => {
                port = listener
                    .local_addr()
                    .map_err(|source| BindError::new(address, source))?
                    .port();
                listeners.push(listener);
            }
            // `/etc/hosts` names `::1` also where IPv6 is switched off.
            Err(source) if family_is_absent(&source) => {
                absent = Some(BindError::new(address, source));
            }
            Err(source) => return Err(BindError::new(address, source)),
        }
    }
    match absent {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn family_is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX).max(1))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_listens_on_both_families_with_one_port() {
        let listeners = bind("*", 0, 16).unwrap();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        for listener in &listeners {
            let mut address = listener.local_addr().unwrap();
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            std::net::TcpStream::connect(address).unwrap();
        }
    }

    #[test]
    fn a_name_listens_on_its_addresses() {
        let listeners = bind("localhost", 0, 16).unwrap();
        assert!(!listeners.is_empty());
        for listener in listeners {
            assert!(listener.local_addr().unwrap().ip().is_loopback());
        }
        assert_eq!(bind("[::1]", 0, 16).unwrap().len(), 1);
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let first = bind("127.0.0.1", 0, 16).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = bind("127.0.0.1", port, 16).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, BindError::InUse { .. }), "{text}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn a_taken_port_leaves_nothing_listening() {
        // IPv4 is taken, so that IPv6, which comes first, must be let go again.
        let first = bind("0.0.0.0", 0, 16).unwrap();
        let port = first[0].local_addr().unwrap().port();
        assert!(bind("*", port, 16).is_err());
        assert!(bind("::", port, 16).is_ok());
    }

    #[test]
    fn addresses_that_are_not_ours_are_refused_with_what_to_do() {
        let foreign = bind("192.0.2.1", 0, 16).unwrap_err();
        assert!(
            foreign
                .to_string()
                .contains("not an address of this machine")
        );
        let nowhere = bind("no-such-host.invalid", 0, 16).unwrap_err();
        assert!(nowhere.to_string().contains("'no-such-host.invalid'"));
        assert!(nowhere.to_string().contains("'*'"));
    }
}
