//! How many may do something at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A number of places whose limit may change while they are taken. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    used: AtomicUsize,
    freed: Notify,
}

/// A taken place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot(Arc<Inner>);

impl Slots {
    /// A place, if fewer than `limit` are taken.
    pub(super) fn take(&self, limit: usize) -> Option<Slot> {
        self.0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < limit).then_some(used + 1)
            })
            .ok()
            .map(|_| Slot(Arc::clone(&self.0)))
    }

    /// Waits for a place.
    pub(super) async fn wait(&self, limit: usize) -> Slot {
        loop {
            let freed = self.0.freed.notified();
            if let Some(slot) = self.take(limit) {
                return slot;
            }
            freed.await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}
