//! The memory that the samples of all servers may take together, and what each may have of it.
//!
//! One half of the limit is shared out evenly: so much every server gets, whatever the others do.
//! The other half goes to who needs it first. Whoever gets nothing has taken more than its share,
//! and is the one who is left out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The memory of all. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct SampleMemory(Arc<Mutex<MemoryPool>>);

#[derive(Debug, Default)]
struct MemoryPool {
    /// In bytes; `None` is no limit.
    limit: Option<usize>,
    /// What each server has taken, in bytes.
    servers: Vec<Weak<AtomicUsize>>,
    /// What all have taken beyond their even shares, in bytes.
    beyond: usize,
}

/// What one server may take. Cloning shares it.
#[derive(Clone, Debug)]
pub struct TargetMemory {
    all: SampleMemory,
    taken: Arc<AtomicUsize>,
}

/// Memory that is taken; dropping it gives it back.
#[derive(Debug)]
pub struct MemoryLease {
    of: TargetMemory,
    bytes: usize,
}

impl Clone for MemoryLease {
    /// A copy of what is held takes memory of its own, as far as there is any.
    fn clone(&self) -> Self {
        let mut copy = self.of.lease();
        let _ = copy.resize(self.bytes);
        copy
    }
}

/// There is no memory left for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the samples of all servers together may take {limit} bytes of memory, and this server has \
     used its share; raise total_bytes_limit or the memory limit, or exclude collectors"
)]
pub struct MemoryExhausted {
    /// What all may take, in bytes.
    limit: usize,
}

impl MemoryPool {
    fn share(&self) -> usize {
        let limit = self.limit.unwrap_or(usize::MAX);
        limit / 2 / self.servers.len().max(1)
    }

    /// After the shares have changed.
    fn recount(&mut self) {
        self.servers.retain(|one| one.strong_count() > 0);
        let share = self.share();
        let taken = self.servers.iter().filter_map(Weak::upgrade);
        self.beyond = taken
            .map(|one| one.load(Ordering::Relaxed).saturating_sub(share))
            .sum();
    }

    /// Whether a server may go from so many bytes to so many.
    fn change(&mut self, from: usize, to: usize) -> bool {
        let share = self.share();
        let beyond = self.beyond.saturating_sub(from.saturating_sub(share));
        let more = to.saturating_sub(share);
        let fits = self
            .limit
            .is_none_or(|limit| beyond.saturating_add(more) <= limit / 2);
        // What is within the share, or becomes less, is never refused.
        let allowed = fits || to <= from || to <= share;
        if allowed {
            self.beyond = beyond + more;
        }
        allowed
    }
}

impl SampleMemory {
    /// With that limit, in bytes.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        let memory = Self::default();
        memory.set_limit(limit);
        memory
    }

    /// Changes the limit. Nothing is taken away from whoever has more by then.
    pub fn set_limit(&self, limit: Option<usize>) {
        let mut pool = self.pool();
        if pool.limit != limit {
            pool.limit = limit;
            pool.recount();
        }
    }

    /// One server more.
    #[must_use]
    pub fn join(&self) -> TargetMemory {
        let taken = Arc::new(AtomicUsize::new(0));
        let mut pool = self.pool();
        pool.servers.push(Arc::downgrade(&taken));
        pool.recount();
        TargetMemory {
            all: self.clone(),
            taken,
        }
    }

    fn pool(&self) -> MutexGuard<'_, MemoryPool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetMemory {
    /// Nothing yet.
    #[must_use]
    pub fn lease(&self) -> MemoryLease {
        MemoryLease {
            of: self.clone(),
            bytes: 0,
        }
    }
}

impl MemoryLease {
    /// How much is taken, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes or gives back, until it is so many bytes.
    ///
    /// # Errors
    /// There is not so much; it stays as it was.
    pub fn resize(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        if bytes == self.bytes {
            return Ok(());
        }
        let mut pool = self.of.all.pool();
        let from = self.of.taken.load(Ordering::Relaxed);
        let to = (from - self.bytes).saturating_add(bytes);
        if !pool.change(from, to) {
            // Servers that are gone may have left theirs.
            pool.recount();
            if !pool.change(from, to) {
                let limit = pool.limit.unwrap_or(usize::MAX);
                return Err(MemoryExhausted { limit });
            }
        }
        self.of.taken.store(to, Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        // To give back is never refused.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_server_leaves_every_other_its_share() {
        let memory = SampleMemory::new(Some(1000));
        let servers: Vec<TargetMemory> = (0..5).map(|_| memory.join()).collect();
        let mut greedy = servers[0].lease();
        // Its own share is 100, and 500 are for who comes first.
        assert_eq!(greedy.resize(600), Ok(()));
        assert_eq!(greedy.resize(601), Err(MemoryExhausted { limit: 1000 }));
        assert_eq!(greedy.bytes(), 600);
        let mut others: Vec<MemoryLease> = servers[1..].iter().map(TargetMemory::lease).collect();
        for other in &mut others {
            assert_eq!(other.resize(100), Ok(()));
            assert!(other.resize(101).is_err());
        }
        drop(greedy);
        assert_eq!(others[0].resize(600), Ok(()));
        assert!(others[1].resize(101).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_a_server_that_is_gone_has_none() {
        let memory = SampleMemory::new(Some(1000));
        let one = memory.join();
        let mut first = one.lease();
        let mut second = one.lease();
        assert_eq!(first.resize(700), Ok(()));
        assert!(second.resize(301).is_err());
        assert_eq!(first.resize(10), Ok(()));
        assert_eq!(second.resize(990), Ok(()));
        drop((first, second, one));
        let two = memory.join();
        assert_eq!(two.lease().resize(1000), Ok(()));
    }

    #[test]
    fn a_limit_that_changes_counts_from_then_on() {
        let memory = SampleMemory::default();
        let (one, two) = (memory.join(), memory.join());
        let mut lease = one.lease();
        assert_eq!(lease.resize(1 << 40), Ok(()));
        memory.set_limit(Some(1000));
        assert!(lease.resize((1 << 40) + 1).is_err());
        assert_eq!(two.lease().resize(250), Ok(()));
        assert!(two.lease().resize(251).is_err());
        assert_eq!(lease.resize(300), Ok(()));
        assert_eq!(two.lease().resize(251), Ok(()));
        memory.set_limit(None);
        assert_eq!(lease.resize(usize::MAX / 2), Ok(()));
    }
}
