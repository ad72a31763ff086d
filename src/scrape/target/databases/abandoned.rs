//! A connection of a walk that was given up and may still count at the server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{DatabaseCollection, GONE};
use crate::postgres::Session;
use crate::scrape::target::silence::ServerSilence;
use crate::targets::TargetError;

/// How long a walk waits for a connection that an earlier visit gave up: mostly the server has only
/// to take note of a cancel.
const LEFTOVER: Duration = Duration::from_millis(500);

/// A connection that was given up.
#[derive(Debug)]
pub(in crate::scrape) struct AbandonedConnection {
    /// Completes when the server has closed it.
    pub(in crate::scrape) closed: JoinHandle<()>,
    pub(in crate::scrape) database: String,
    /// Our port, if it is a login that has not ended.
    pub(in crate::scrape) login_port: Option<u16>,
    /// Whether the server as a whole was silent since.
    pub(in crate::scrape) silence: ServerSilence,
}

impl DatabaseCollection {
    /// Whether no connection but the target's own may count at the server.
    pub(in crate::scrape) fn is_over(&mut self) -> bool {
        if self
            .abandoned
            .as_ref()
            .is_some_and(|abandoned| abandoned.closed.is_finished())
        {
            self.abandoned = None;
        }
        self.abandoned.is_none()
    }

    /// Lets the next walk wait for the end of a connection that was given up.
    pub(in crate::scrape) fn wait_for(&mut self, abandoned: JoinHandle<()>) {
        let before = self.abandoned.take();
        let silence = before.as_ref().map(|before| before.silence.clone());
        let both = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.closed.await;
            }
            let _ = abandoned.await;
        });
        self.abandoned = Some(AbandonedConnection {
            closed: both,
            database: self.connector.target.database.clone(),
            login_port: None,
            silence: silence.unwrap_or_default(),
        });
    }

    /// Our port of a login that hangs in one of the databases and holds up the others.
    pub(in crate::scrape) fn hanging_login(&self) -> Option<u16> {
        let abandoned = self.abandoned.as_ref()?;
        abandoned
            .login_port
            .filter(|_| !abandoned.closed.is_finished())
    }

    /// Waits a moment for a connection that was given up. While the server may still count it there
    /// is none for another database.
    pub(in crate::scrape) async fn abandoned_is_gone(&mut self) -> bool {
        let Some(abandoned) = &mut self.abandoned else {
            return true;
        };
        let gone = timeout(LEFTOVER, &mut abandoned.closed).await.is_ok();
        if gone {
            self.abandoned = None;
        } else if let Some(peer) = self.connector.dialed()
            && !abandoned.silence.was_seen()
        {
            // Whether only this connection hangs is to be known when the server is looked for.
            let (silence, connector) = (abandoned.silence.clone(), Arc::clone(&self.connector));
            tokio::spawn(async move { silence.ask(&connector, peer).await });
        }
        gone
    }

    /// What was seen of the server since a connection was given up that may still count there.
    pub(in crate::scrape) fn silence(&self) -> Option<ServerSilence> {
        self.abandoned
            .as_ref()
            .map(|abandoned| abandoned.silence.clone())
    }

    /// Another server is shown from now on: a connection that the one before it, which was silent,
    /// has not closed does not count there.
    pub(in crate::scrape) fn forget_silent(&mut self) {
        if self.silence().is_some_and(|silence| silence.was_seen()) {
            self.abandoned = None;
        }
    }
}

/// A session that is being opened. Given up half-way it still counts at the server: so it is let in,
/// and says goodbye.
pub(in crate::scrape) struct OpeningSession(
    pub(super) Option<BoxFuture<'static, Result<Session, TargetError>>>,
);

impl OpeningSession {
    pub(in crate::scrape) async fn ended(&mut self) -> Result<Session, TargetError> {
        let Some(opening) = &mut self.0 else {
            return std::future::pending().await;
        };
        let opened = opening.await;
        self.0 = None;
        opened
    }

    /// Closes the socket, whatever the other side is at.
    pub(in crate::scrape) fn abandon(&mut self) {
        self.0 = None;
    }

    pub(in crate::scrape) fn give_up(&mut self) -> Option<JoinHandle<()>> {
        let opening = self.0.take()?;
        Some(tokio::spawn(async move {
            if let Ok(session) = opening.await {
                let _ = session.close(GONE).await;
            }
        }))
    }
}

impl Drop for OpeningSession {
    fn drop(&mut self) {
        // A runtime that ends drops it for good.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.give_up();
        }
    }
}
