//! What all workers share.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::beside::Turns;
use super::counters::Counters;
use super::places::Places;
use super::settings::ScrapeSettings;
use crate::catalog::Catalog;
use crate::postgres::ConnectContext;
use crate::targets::SampleMemory;

/// Handles that every worker holds.
#[derive(Clone, Debug)]
pub(super) struct Commons {
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
    pub places: Places,
    /// Turns to connect while nobody waits.
    pub turns: Turns,
    /// Turns to connect beside a session that is to be renewed: one target after the other.
    pub renewal_turns: Turns,
    /// When collections have to be over, once the end of the program is known.
    pub end: End,
}

/// A moment that may come to be known. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct End(pub watch::Receiver<Option<Instant>>);

impl End {
    /// Completes at that moment.
    pub(super) async fn reached(mut self) {
        let known = self.0.wait_for(Option::is_some).await.map(|end| *end);
        match known {
            Ok(Some(end)) => sleep_until(end).await,
            // Nobody is left who could make it known.
            _ => std::future::pending().await,
        }
    }
}
