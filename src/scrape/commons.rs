//! What all workers share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::counters::Counters;
use super::settings::ScrapeSettings;
use crate::catalog::Catalog;

/// Handles that every worker holds.
#[derive(Clone, Debug)]
pub(super) struct Commons {
    pub counters: Arc<Counters>,
    pub catalog: watch::Receiver<Arc<Catalog>>,
    pub settings: watch::Receiver<ScrapeSettings>,
    /// One permit for each connection of the whole process.
    pub connections: Arc<Semaphore>,
}
