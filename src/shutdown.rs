//! One way to stop: a token that everybody watches and a tracker that knows who still works.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervision::{TaskName, TaskPanicked, supervise};

/// Handed to every task. Cloning gives another handle on the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<Vec<&'static str>>>,
    failed: watch::Sender<Option<TaskPanicked>>,
}

impl Shutdown {
    /// A shutdown that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all tasks to end. Returns at once; may be called more than once.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether `begin` was called.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes once `begin` was called.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Runs `task` under a name; `finish` waits for it.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.update_running(|running| running.push(name));
        // Dropped also when the task panics, so that its name does not stay.
        let leave = RunningGuard {
            shutdown: self.clone(),
            name,
        };
        // An async block that awaits what it captured has room for it twice.
        self.tracker.spawn(task.map(|()| drop(leave)));
    }

    /// Runs a task without which the program does not do its work: when it panics, [`failed`]
    /// completes.
    ///
    /// [`failed`]: Self::failed
    pub fn spawn_essential<F>(&self, name: &'static str, task: TaskName, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let failed = self.failed.clone();
        self.spawn(
            name,
            supervise(task, future).map(move |ended| {
                if let Err(panicked) = ended {
                    failed.send_replace(Some(panicked));
                }
            }),
        );
    }

    /// Completes once an essential task has panicked.
    pub async fn failed(&self) -> TaskPanicked {
        let mut failed = self.failed.subscribe();
        match failed
            .wait_for(Option::is_some)
            .await
            .map(|panicked| *panicked)
        {
            Ok(Some(panicked)) => panicked,
            _ => std::future::pending().await,
        }
    }

    /// Waits for all tasks.
    ///
    /// # Errors
    /// The names of those that did not end within `limit`.
    pub async fn finish(&self, limit: Duration) -> Result<(), Vec<&'static str>> {
        self.tracker.close();
        match tokio::time::timeout(limit, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let mut names = Vec::new();
                self.update_running(|running| names.clone_from(running));
                Err(names)
            }
        }
    }

    fn update_running(&self, f: impl FnOnce(&mut Vec<&'static str>)) {
        let mut running = self
            .running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut running);
    }
}

struct RunningGuard {
    shutdown: Shutdown,
    name: &'static str,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.shutdown.update_running(|running| {
            if let Some(at) = running.iter().position(|name| *name == self.name) {
                running.swap_remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        shutdown.spawn("polite", async move { other.begun().await });
        shutdown.spawn("stubborn", std::future::pending());
        shutdown.begin();
        let left = shutdown.finish(Duration::from_millis(50)).await;
        assert_eq!(left, Err(vec!["stubborn"]));
    }

    #[tokio::test]
    async fn finish_returns_when_all_tasks_have_ended() {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        shutdown.spawn("polite", async move { other.begun().await });
        shutdown.begin();
        assert_eq!(shutdown.finish(Duration::from_secs(5)).await, Ok(()));
    }
}
