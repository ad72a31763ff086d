//! The handle that the HTTP edge holds.

use tokio::time::Instant;

use super::{Exposition, Overview};

/// Asks all targets. Cloning gives another handle on the same scraper.
#[derive(Clone, Debug, Default)]
pub struct Scraper {}

impl Scraper {
    /// Collects from every target and returns what is ready at `deadline`. Never fails: a server
    /// that could not be asked is in the answer as `pgexporter_postgresql_active 0`.
    pub async fn scrape(&self, _deadline: Instant) -> Exposition {
        Exposition::default()
    }

    /// What the overview page shows; asks no server.
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview::default()
    }
}
