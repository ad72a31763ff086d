//! Work that blocks: a disk, a key derivation, the system's resolver. Each purpose has a pool of
//! its own, so that one that hangs keeps only its own kind waiting. The threads are not the
//! runtime's: nobody waits for them when the program ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::sync::{Semaphore, oneshot};

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// As many wait as may.
    #[error("too much of it is waiting already; try again later")]
    Full,
    /// The system gave no thread, or the work panicked.
    #[error("it could not be run; the system may be out of threads")]
    NotRun,
}

/// Runs a bounded number of blocking closures at once, each on a thread that ends with it. Cloning
/// gives another handle on the same pool.
#[derive(Clone, Debug)]
pub struct BlockingPool(Arc<PoolState>);

#[derive(Debug)]
struct PoolState {
    name: &'static str,
    threads: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl BlockingPool {
    /// A pool whose threads are called `name` (at most 15 bytes are shown). `threads` closures run
    /// at once, and `waiting` more may wait.
    #[must_use]
    pub fn new(name: &'static str, threads: usize, waiting: usize) -> Self {
        Self(Arc::new(PoolState {
            name,
            threads: Arc::new(Semaphore::new(threads.max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting: waiting,
        }))
    }

    /// Runs `work` on a thread. When the caller stops waiting, work that has begun goes on and
    /// keeps its place in the pool until it ends.
    ///
    /// # Errors
    /// [`BlockingError`]
    pub async fn run<T, F>(&self, work: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let threads = Arc::clone(&self.0.threads);
        let permit = match Arc::clone(&threads).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = WaitingPlace::reserve(&self.0)?;
                threads
                    .acquire_owned()
                    .await
                    .map_err(|_| BlockingError::NotRun)?
            }
        };
        let (answer, answered) = oneshot::channel();
        let thread = thread::Builder::new().name(self.0.name.to_owned());
        thread
            .spawn(move || {
                let done = catch_unwind(AssertUnwindSafe(work));
                drop(permit);
                if let Ok(done) = done {
                    // The caller may have stopped waiting.
                    let _ = answer.send(done);
                }
            })
            .map_err(|_| BlockingError::NotRun)?;
        answered.await.map_err(|_| BlockingError::NotRun)
    }
}

/// The place of a caller that waits for a thread.
struct WaitingPlace<'a>(&'a PoolState);

impl<'a> WaitingPlace<'a> {
    fn reserve(state: &'a PoolState) -> Result<Self, BlockingError> {
        let before = state.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(state);
        if before < state.most_waiting {
            Ok(place)
        } else {
            Err(BlockingError::Full)
        }
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_pool_that_hangs_keeps_another_from_nothing_and_is_bounded() {
        let (stuck, other) = (
            BlockingPool::new("stuck", 1, 1),
            BlockingPool::new("other", 1, 1),
        );
        let (release, gate) = mpsc::channel::<()>();
        let hangs = tokio::spawn({
            let stuck = stuck.clone();
            async move { stuck.run(move || gate.recv().is_ok()).await }
        });
        while stuck.0.threads.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let waits = tokio::spawn({
            let stuck = stuck.clone();
            async move { stuck.run(|| 2).await }
        });
        while stuck.0.waiting.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stuck.run(|| 3).await, Err(BlockingError::Full));
        assert_eq!(other.run(|| 4).await, Ok(4));
        release.send(()).unwrap();
        assert_eq!(hangs.await.unwrap(), Ok(true));
        assert_eq!(waits.await.unwrap(), Ok(2));
        assert_eq!(stuck.0.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_thread_back() {
        let pool = BlockingPool::new("panics", 1, 0);
        let failed: Result<(), _> = pool.run(|| panic!("on purpose")).await;
        assert_eq!(failed, Err(BlockingError::NotRun));
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }
}
