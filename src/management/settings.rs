//! What of management may change while it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::security::AdminVerifiers;
use crate::security::tls::ListenerTls;

/// Settings of the listeners. New connections take them from a watch channel.
#[derive(Clone, Debug)]
pub struct ManagementSettings {
    /// How long a peer may take for its login, and how long for its request.
    pub authentication_timeout: Duration,
    /// How long a peer may take none of its answer.
    pub blocking_timeout: Duration,
    /// Who may log in from afar.
    pub admin_verifiers: Arc<AdminVerifiers>,
    /// TLS of the remote port; `None` is without.
    pub tls: Option<Arc<ListenerTls>>,
    /// Whether nobody is let in without TLS.
    pub require_tls: bool,
    /// Most connections of a listener at once.
    pub max_connections: usize,
}
