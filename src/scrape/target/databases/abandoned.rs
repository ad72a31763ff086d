//! A connection to another database that was given up and may still count at the server.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::postgres::Session;
use crate::scrape::target::silence::ServerSilence;
use crate::targets::TargetError;

/// How long a connection that was given up is waited for.
pub(in crate::scrape) const GONE: Duration = Duration::from_secs(60);

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
