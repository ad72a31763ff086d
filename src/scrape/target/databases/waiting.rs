//! Waiting for the end of a connection that was given up: while the server may still count it there
//! is none for another database.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::DatabaseCollection;
use super::abandoned::AbandonedConnection;
use crate::scrape::target::silence::ServerSilence;

/// How long a walk waits for a connection that was given up before: mostly the server has only
/// to take note of a cancel.
const LEFTOVER: Duration = Duration::from_millis(500);

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
