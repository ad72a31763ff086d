//! The limit of connections of the whole process, shared so that nobody waits for somebody who waits.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::postgres::Permits;

/// Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// One less than all: a target that has its session and walks through its other databases
    /// finds a place some time, for those who hold the rest do not wait for one with both hands.
    sessions: Arc<Semaphore>,
    limit: usize,
}

impl Places {
    /// For so many connections, at least one.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(limit)),
            sessions: Arc::new(Semaphore::new((limit - 1).max(1))),
            limit,
        }
    }

    /// Whether there is one place only, and none for other databases.
    pub(super) fn is_for_one(&self) -> bool {
        self.limit == 1
    }

    /// Whether all places for targets' own sessions are taken.
    pub(super) fn are_taken(&self) -> bool {
        self.sessions.available_permits() == 0
    }

    /// Whether others find a place when one more is taken for long.
    pub(super) fn has_room(&self) -> bool {
        self.all.available_permits() > 1
    }

    /// A place for a target's own session, if one is free now.
    pub(super) fn free(&self) -> Option<Permits> {
        let session = Arc::clone(&self.sessions).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(vec![session, place])
    }

    /// A place for a target's own session, as soon as there is one. Never `None`.
    pub(super) async fn for_session(&self) -> Option<Permits> {
        let session = Arc::clone(&self.sessions).acquire_owned().await.ok()?;
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(vec![session, place])
    }

    /// A place beside a target's own session, as soon as there is one. Never `None`.
    pub(super) async fn for_another_database(&self) -> Option<Permits> {
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(vec![place])
    }
}
