//! Those who have come and not asked yet: never more than a few. When another comes, the one that
//! says nothing for the longest time goes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// So long everybody may stay, whoever else comes: enough for who asks at once.
const YOUNG: Duration = Duration::from_millis(250);

/// The crowd of one listener.
#[derive(Debug)]
pub(super) struct Crowd {
    limit: usize,
    inner: Mutex<Inner>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// The oldest first.
    members: VecDeque<Member>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    since: Instant,
    out: CancellationToken,
}

/// A place in the crowd, given back when dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    crowd: Arc<Crowd>,
    id: u64,
    out: CancellationToken,
}

impl Crowd {
    /// For so many at once.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            inner: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// A place, at the latest when the oldest has had its time.
    pub(super) async fn enter(self: &Arc<Self>) -> Waiting {
        loop {
            let left = self.left.notified();
            let until = match self.try_enter() {
                Ok(waiting) => return waiting,
                Err(until) => until,
            };
            tokio::select! {
                () = left => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// A place, or when there will be one.
    fn try_enter(self: &Arc<Self>) -> Result<Waiting, Instant> {
        let mut inner = self.lock();
        if inner.members.len() >= self.limit
            && let Some(oldest) = inner.members.front()
        {
            let old = oldest.since + YOUNG;
            if old > Instant::now() {
                return Err(old);
            }
            oldest.out.cancel();
            inner.members.pop_front();
        }
        let (id, out) = (inner.next, CancellationToken::new());
        inner.next += 1;
        inner.members.push_back(Member {
            id,
            since: Instant::now(),
            out: out.clone(),
        });
        Ok(Waiting {
            crowd: Arc::clone(self),
            id,
            out,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Completes when the place was given to somebody else.
    pub(super) async fn out(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inner = self.crowd.lock();
        if let Some(at) = inner.members.iter().position(|one| one.id == self.id) {
            inner.members.remove(at);
        }
        drop(inner);
        self.crowd.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_goes_when_another_comes_and_not_before_its_time() {
        let crowd = Crowd::new(2);
        let (first, second) = (crowd.enter().await, crowd.enter().await);
        let begun = Instant::now();
        let third = crowd.enter().await;
        assert!(begun.elapsed() >= YOUNG);
        assert!(first.out.is_cancelled() && !second.out.is_cancelled());
        drop(first);
        let begun = Instant::now();
        drop(third);
        let _fourth = crowd.enter().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "there was a place");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_makes_room_for_who_waits() {
        let crowd = Crowd::new(1);
        let first = crowd.enter().await;
        let other = Arc::clone(&crowd);
        let waits = tokio::spawn(async move { other.enter().await });
        tokio::task::yield_now().await;
        let begun = Instant::now();
        drop(first);
        let second = waits.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!second.out.is_cancelled());
    }
}
