//! What sessions of one target share: its addresses, TLS, and what was found out about its server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tracing::warn;

use super::auth_history::AuthHistory;
use super::error::QueryError;
use super::quirks::ServerQuirks;
use super::resolver::NameResolver;
use super::transport::{Peer, offers_tls};
use crate::blocking::BlockingPool;
use crate::targets::{Address, Target};

/// What the connections of all targets share. Cloning gives another handle on the same.
#[derive(Clone, Debug)]
pub struct ConnectContext {
    /// Names to addresses.
    pub(super) resolver: NameResolver,
    /// Reads the system's authorities, and parses certificates and keys.
    tls: BlockingPool,
    /// How servers have let roles in so far.
    pub(super) auth: AuthHistory,
}

/// Handshakes that prepare their certificates at the same time.
const TLS_THREADS: usize = 2;

impl Default for ConnectContext {
    fn default() -> Self {
        Self {
            resolver: NameResolver::default(),
            tls: BlockingPool::new("tls", TLS_THREADS, usize::MAX),
            auth: AuthHistory::default(),
        }
    }
}

/// A target and what is made once to reach it.
#[derive(Debug)]
pub struct Connector {
    /// The target.
    pub target: Arc<Target>,
    pub(super) context: ConnectContext,
    /// Which of several addresses of its name comes first.
    preference: Mutex<AddressPreference>,
    /// The address of the last connection that the name led to.
    pub(super) dialed: Mutex<Option<SocketAddr>>,
    /// Connections that were begun.
    pub(super) dials: AtomicU64,
    /// How many addresses the name had the last time.
    pub(super) addresses: AtomicUsize,
    /// Made at the first handshake: it may read the system's authorities.
    tls: OnceLock<Arc<ClientConfig>>,
    /// What earlier sessions found out.
    pub(super) quirks: ServerQuirks,
    /// Our port of the login that was begun last; 0 is none over TCP.
    login_port: AtomicU16,
}

impl Connector {
    /// For this target. Reads nothing yet.
    #[must_use]
    pub fn new(target: Arc<Target>, context: ConnectContext) -> Self {
        Self {
            target,
            context,
            preference: Mutex::default(),
            dialed: Mutex::default(),
            dials: AtomicU64::new(0),
            addresses: AtomicUsize::new(0),
            tls: OnceLock::new(),
            quirks: ServerQuirks::default(),
            login_port: AtomicU16::new(0),
        }
    }

    /// From now on this address goes first where the name has it, so that all sessions of a target
    /// reach one server.
    pub fn prefer(&self, peer: Option<SocketAddr>) {
        *self.preference() = peer.map_or(AddressPreference::None, |peer| {
            AddressPreference::First(peer.ip())
        });
    }

    /// From now on this address goes last: it does not answer. With `never` it is left out.
    pub fn avoid(&self, peer: Option<SocketAddr>, never: bool) {
        *self.preference() = match peer {
            Some(peer) if never => AddressPreference::Never(peer.ip()),
            Some(peer) => AddressPreference::Last(peer.ip()),
            None => AddressPreference::None,
        };
    }

    /// An address that was left out goes last from now on.
    pub fn allow_avoided(&self) {
        let mut preference = self.preference();
        if let AddressPreference::Never(address) = *preference {
            *preference = AddressPreference::Last(address);
        }
    }

    /// The address of the last connection that the name led to, also while it is not logged in.
    #[must_use]
    pub fn dialed(&self) -> Option<SocketAddr> {
        *self.dialed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the name had several addresses when it was last looked up.
    #[must_use]
    pub fn has_alternatives(&self) -> bool {
        self.addresses.load(Ordering::Relaxed) > 1
    }

    /// How many connections were begun.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.dials.load(Ordering::Relaxed)
    }

    pub(super) fn preference(&self) -> MutexGuard<'_, AddressPreference> {
        self.preference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A login begins over this stream.
    pub(super) fn record_login(&self, peer: Peer) {
        let port = peer.local_port.unwrap_or(0);
        self.login_port.store(port, Ordering::Relaxed);
    }

    /// Our port of the login that was begun last: the server knows it by this, until it tells us its
    /// process. 0 is a Unix socket, which has none.
    #[must_use]
    pub fn login_port(&self) -> Option<u16> {
        if let Address::Unix { .. } = self.target.address {
            return Some(0);
        }
        Some(self.login_port.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    /// Whether a server answers there within `limit`. It is asked whether it speaks TLS, and no more:
    /// nobody logs in.
    pub async fn answers(&self, peer: SocketAddr, limit: Duration) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(peer).await?;
            offers_tls(&mut stream).await
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(Ok(_)) => true,
            // Whatever it says, somebody is there.
            Ok(Err(error)) => error.kind() == io::ErrorKind::InvalidData,
            Err(_) => false,
        }
    }

    /// What came of the question for the extensions. Somebody may hold a lock on their catalogue:
    /// who asks each time waits for it until the lock timeout, and what stands behind it as well.
    pub(super) fn record_extensions(&self, listed: &Result<(), QueryError>) {
        let failed = match listed {
            Err(QueryError::Lost(..)) => return,
            Err(error) => Some(error),
            Ok(()) => None,
        };
        let first = self.quirks.note_extensions(failed.is_none());
        if let Some(error) = failed.filter(|_| first) {
            warn!(
                server = %self.target.name,
                "the extensions of the database cannot be listed, and what depends on one stays as \
                 it was, or is left out: {error}"
            );
        }
    }

    /// The settings of TLS; the first call makes them.
    ///
    /// # Errors
    /// In words, why there are none.
    pub(super) async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let target = Arc::clone(&self.target);
        let made = self.context.tls.run(move || target.tls.config());
        match made.await {
            Ok(Ok(Some(config))) => Ok(Arc::clone(self.tls.get_or_init(|| config))),
            Ok(Ok(None)) => Err("TLS is switched off".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What is done with one of several addresses of a name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum AddressPreference {
    #[default]
    None,
    First(IpAddr),
    Last(IpAddr),
    Never(IpAddr),
}

impl AddressPreference {
    pub(super) fn sort(self, addresses: &mut Vec<SocketAddr>) {
        match self {
            Self::None => {}
            Self::First(first) => addresses.sort_by_key(|address| address.ip() != first),
            Self::Last(last) => addresses.sort_by_key(|address| address.ip() == last),
            Self::Never(never) => addresses.retain(|address| address.ip() != never),
        }
    }
}
