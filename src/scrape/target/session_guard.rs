//! Owns the session of a target: however its owner ends, what runs is cancelled and Terminate is
//! said.

use std::time::Duration;

use super::attempt::EndGuard;
use crate::postgres::Session;

/// How long a server may take to give up what runs when nobody waits for it any more.
const CANCEL: Duration = Duration::from_secs(4);
/// How long it may take to close the session then.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session, or none.
#[derive(Debug, Default)]
pub(in crate::scrape) struct SessionGuard {
    session: Option<Session>,
    /// Whoever has the target next connects once this is dropped.
    ended: Option<EndGuard>,
}

impl SessionGuard {
    /// Drops `ended` once there is no session any more.
    pub(in crate::scrape) fn new(ended: EndGuard) -> Self {
        Self {
            session: None,
            ended: Some(ended),
        }
    }

    pub(in crate::scrape) fn get(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(in crate::scrape) fn get_mut(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    pub(in crate::scrape) fn is_some(&self) -> bool {
        self.session.is_some()
    }

    /// Puts a session in the place of the one before it, which is returned.
    pub(in crate::scrape) fn replace(&mut self, session: Session) -> Option<Session> {
        self.session.replace(session)
    }

    /// Hands the session over to somebody who ends it.
    pub(in crate::scrape) fn take_session(&mut self) -> Option<Session> {
        self.session.take()
    }

    /// Completes when the server ends the session; never without one.
    pub(in crate::scrape) async fn ended(&mut self) {
        match &mut self.session {
            Some(session) => session.ended().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let (session, ended) = (self.session.take(), self.ended.take());
        // A runtime that ends drops the connection, and the server sees that.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if let Some(session) = session {
            runtime.spawn(async move {
                end_session(session).await;
                drop(ended);
            });
        }
    }
}

/// Cancels what runs, and says Terminate.
pub(in crate::scrape) async fn end_session(session: Session) {
    if let Ok(session) = session.settled(CANCEL).await {
        let _ = session.close(GOODBYE).await;
    }
}
