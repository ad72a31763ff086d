//! The limit of connections of the whole process, shared so that nobody waits for somebody who waits.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::postgres::ConnectionPermits;

/// Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimiter {
    all: Arc<Semaphore>,
    /// One less than all: a target that has its session and walks through its other databases
    /// finds a place some time, for those who hold the rest do not wait for one with both hands.
    sessions: Arc<Semaphore>,
    limit: usize,
}

impl ConnectionLimiter {
    /// For so many connections, at least one.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(limit)),
            sessions: Arc::new(Semaphore::new((limit - 1).max(1))),
            limit,
        }
    }

    /// What a person should know when so many servers want to keep a session, and there are places
    /// for fewer.
    pub(super) fn shortage(&self, servers: usize) -> Option<String> {
        let sessions = (self.limit - 1).max(1);
        (servers > sessions).then(|| {
            format!(
                "{servers} servers are scraped, and max_connections leaves {sessions} for their \
                 sessions (limit in effect: {}): sessions are not kept, each scrape connects anew, \
                 and servers take turns; set max_connections to {} or more, and the limit of open \
                 files as high as that needs",
                self.limit,
                servers + 1,
            )
        })
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
    pub(super) fn free(&self) -> Option<ConnectionPermits> {
        let session = Arc::clone(&self.sessions).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(vec![session, place])
    }

    /// A place for a target's own session, as soon as there is one. Never `None`.
    pub(super) async fn for_session(&self) -> Option<ConnectionPermits> {
        let session = Arc::clone(&self.sessions).acquire_owned().await.ok()?;
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(vec![session, place])
    }

    /// A place beside a target's own session, as soon as there is one. Never `None`.
    pub(super) async fn for_another_database(&self) -> Option<ConnectionPermits> {
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(vec![place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_said_with_the_number_that_would_do() {
        for (limit, servers, enough) in [
            (100, 99, None),
            (100, 100, Some("to 101 or more")),
            (2, 1, None),
            (2, 2, Some("to 3 or more")),
            (1, 1, None),
            (1, 5, Some("to 6 or more")),
            (usize::MAX, 100_000, None),
        ] {
            let said = ConnectionLimiter::new(limit).shortage(servers);
            let as_expected = match (&said, enough) {
                (Some(said), Some(enough)) => said.contains(enough),
                (said, enough) => said.is_none() && enough.is_none(),
            };
            assert!(as_expected, "{limit} {servers}: {said:?}");
        }
        // What it names does.
        assert_eq!(ConnectionLimiter::new(6).shortage(5), None);
    }
}
