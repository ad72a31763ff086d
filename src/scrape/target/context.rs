//! What all workers share.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connect_queue::ConnectQueue;
use crate::catalog::Catalog;
use crate::postgres::ConnectContext;
use crate::scrape::connection_limiter::ConnectionLimiter;
use crate::scrape::counters::Counters;
use crate::scrape::settings::ScrapeSettings;
use crate::targets::SampleMemory;

/// Handles that the tasks of all targets hold.
#[derive(Clone, Debug)]
pub(crate) struct TargetContext {
    pub counters: Arc<Counters>,
    pub catalog: watch::Receiver<Arc<Catalog>>,
    pub settings: watch::Receiver<ScrapeSettings>,
    /// Counts up when all sessions are to be renewed.
    pub renewals: watch::Receiver<u64>,
    /// What connections share.
    pub connect: ConnectContext,
    /// The memory of the samples of all targets.
    pub memory: SampleMemory,
    /// The limit of connections of the whole process.
    pub limiter: ConnectionLimiter,
    /// Turns to connect while nobody waits.
    pub turns: ConnectQueue,
    /// Turns to connect beside a session that is to be renewed: one target after the other.
    pub renewal_turns: ConnectQueue,
    /// When collections have to be over, once the end of the program is known.
    pub end: ShutdownDeadline,
}

/// A moment that may come to be known. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownDeadline(pub watch::Receiver<Option<Instant>>);

impl ShutdownDeadline {
    /// Completes at that moment.
    pub(crate) async fn reached(mut self) {
        let known = self.0.wait_for(Option::is_some).await.map(|end| *end);
        match known {
            Ok(Some(end)) => sleep_until(end).await,
            // Nobody is left who could make it known.
            _ => std::future::pending().await,
        }
    }
}
