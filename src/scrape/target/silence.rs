//! Whether a server as a whole says nothing: it is frozen, or the network swallows what is sent.
//!
//! Its open connections still count there, so no other may be made to it. But another server may
//! take its address over, and that one is not to wait for their end. So the address is asked without
//! a login: one that answers again, after it did not, while the old connections still say nothing,
//! is another server's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::postgres::Connector;

/// How long an address may take to answer.
const LIMIT: Duration = Duration::from_secs(1);
/// A server that goes on after it was frozen has answered over its old connections by then.
const THAW: Duration = Duration::from_secs(1);

/// What was seen of a server since a connection to it was given up. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerSilence(Arc<AtomicBool>);

impl ServerSilence {
    /// Whether the address did not answer at least once.
    pub(crate) fn was_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks the address, and remembers when it does not answer. Returns whether it does.
    pub(crate) async fn ask(&self, connector: &Connector, peer: SocketAddr) -> bool {
        let answers = connector.answers(peer, LIMIT).await;
        if !answers {
            self.0.store(true, Ordering::Relaxed);
        }
        answers
    }

    /// Whether the address answers again, and old connections had the time to. Dropped when one of
    /// them did.
    pub(crate) async fn is_over(&self, connector: &Connector, peer: SocketAddr) -> bool {
        if !self.ask(connector, peer).await || !self.was_seen() {
            return false;
        }
        sleep(THAW).await;
        true
    }
}
