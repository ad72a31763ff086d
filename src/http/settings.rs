//! What of the HTTP edge may change while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::security::tls::ListenerTls;

/// `blocking_timeout` when it is zero: somebody who waits for ever is no use to anyone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody needs longer to say what he wants.
const HEAD: Duration = Duration::from_secs(10);

/// Settings of a port. New connections and new requests take them from a watch channel.
#[derive(Clone)]
pub struct HttpSettings {
    /// How long a peer may make no progress, and the longest that a scrape takes. Zero is 30 s.
    pub blocking_timeout: Duration,
    /// Whether OpenMetrics is served to who prefers it.
    pub openmetrics: bool,
    /// `TCP_NODELAY` on connections.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` on connections.
    pub keep_alive: bool,
    /// TLS on the metrics port; `None` is plain HTTP. The health port is always plain.
    pub tls: Option<Arc<ListenerTls>>,
    /// Most connections to a port at once.
    pub max_connections: usize,
    /// Longest path with query, in bytes.
    pub max_url: usize,
    /// Most header names and values of a request, in bytes.
    pub max_headers: usize,
    /// How long a connection may stay open between two requests.
    pub idle_timeout: Duration,
}

impl HttpSettings {
    /// How long a peer may make no progress.
    pub(super) fn patience(&self) -> Duration {
        match self.blocking_timeout {
            Duration::ZERO => PATIENCE,
            given => given,
        }
    }

    /// How long a client may take for its handshake and the head of a request.
    pub(super) fn header_read_timeout(&self) -> Duration {
        self.patience().min(HEAD)
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            blocking_timeout: PATIENCE,
            openmetrics: false,
            nodelay: true,
            keep_alive: true,
            tls: None,
            max_connections: 256,
            max_url: 8 * 1024,
            max_headers: 16 * 1024,
            // Longer than the usual scrape intervals, so that Prometheus keeps its connection.
            idle_timeout: Duration::from_secs(150),
        }
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("blocking_timeout", &self.blocking_timeout)
            .field("openmetrics", &self.openmetrics)
            .field("tls", &self.tls.is_some())
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
