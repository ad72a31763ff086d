//! A semaphore whose number of permits may change while some are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The caller gives the limit with each acquisition, because a reload may change it. Cloning shares
/// the permits.
#[derive(Clone, Debug, Default)]
pub(super) struct ResizableSemaphore(Arc<PermitCount>);

#[derive(Debug, Default)]
struct PermitCount {
    used: AtomicUsize,
    freed: Notify,
}

/// A permit that is held; dropping it gives it back.
#[derive(Debug)]
pub(super) struct ResizablePermit(Arc<PermitCount>);

impl ResizableSemaphore {
    /// A permit, if fewer than `limit` are held.
    pub(super) fn try_acquire(&self, limit: usize) -> Option<ResizablePermit> {
        self.0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < limit).then_some(used + 1)
            })
            .ok()
            .map(|_| ResizablePermit(Arc::clone(&self.0)))
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self, limit: usize) -> ResizablePermit {
        loop {
            let freed = self.0.freed.notified();
            if let Some(permit) = self.try_acquire(limit) {
                return permit;
            }
            freed.await;
        }
    }
}

impl Drop for ResizablePermit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}
