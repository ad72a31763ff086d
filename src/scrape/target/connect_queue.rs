//! Turns to connect, for those whom nobody waits for.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Targets that connect at once while nobody waits for them. When a thousand arrive together, each
/// has a server or a proxy that works for it, and who reads the list is not to be the last of them.
const TURNS: usize = 8;
/// A server that hangs takes nobody else's turn for longer.
const TURN: Duration = Duration::from_secs(1);

/// Turns to connect, for those whom nobody waits for. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct ConnectQueue(Arc<Semaphore>);

/// A turn, given back when dropped.
pub(crate) type ConnectTurn = Option<OwnedSemaphorePermit>;

impl Default for ConnectQueue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNS)))
    }
}

impl ConnectQueue {
    /// For one at a time.
    pub(crate) fn for_one() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// A turn, or none as soon as somebody is in a `hurry`.
    pub(crate) async fn next(&self, hurry: &Notify) -> ConnectTurn {
        tokio::select! {
            turn = Arc::clone(&self.0).acquire_owned() => turn.ok(),
            () = hurry.notified() => None,
        }
    }
}

/// Works in a turn, and goes on without it when that takes long.
pub(crate) async fn in_turn<T>(
    mut turn: ConnectTurn,
    work: impl Future<Output = T>,
) -> (T, ConnectTurn) {
    let mut work = pin!(work);
    let done = tokio::time::timeout(TURN, &mut work).await;
    match done {
        Ok(done) => (done, turn),
        Err(_) => {
            turn = None;
            (work.await, turn)
        }
    }
}
