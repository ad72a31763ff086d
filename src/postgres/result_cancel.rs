//! A query that gives more than there is room for is cancelled, once.

use std::time::Duration;

use super::connect::Connector;
use super::error::QueryError;
use super::login::{CancelKey, cancel};

/// The cancel of a query whose rows are no longer wanted: without it the server would send all of
/// them, and the queries behind it would have no turn.
#[derive(Debug, Default)]
pub(super) struct ResultCancel {
    /// The query, and how many bytes of it came since nobody wants them.
    of: Option<(usize, usize)>,
    /// The query that a cancel was sent for, until an answer shows that it arrived.
    cancelled: Option<usize>,
}

/// Rows of so many bytes are sooner read than cancelled.
const SOON_READ: usize = 256 * 1024;
/// How long a cancel may take.
const CANCEL: Duration = Duration::from_secs(2);

impl ResultCancel {
    /// Rows that nobody wants have come, of that query. Nothing more of it is read while it is
    /// cancelled, so that the server does not send on meanwhile; and the server has taken the
    /// cancel when this returns, so that none comes late and hits a later scrape.
    pub(super) async fn more(
        &mut self,
        job: usize,
        length: usize,
        connector: &Connector,
        key: &CancelKey,
    ) {
        let before = self.of.filter(|(of, _)| *of == job);
        let before = before.map_or(0, |(_, before)| before);
        self.of = Some((job, before + length));
        if before <= SOON_READ && before + length > SOON_READ && self.cancelled.is_none() {
            self.cancelled = Some(job);
            let _ = tokio::time::timeout(CANCEL, cancel(connector, key)).await;
        }
    }

    /// Whether it is the cancel that ended this query, and not the one that it was meant for: that
    /// one had come to its end in the moment between.
    pub(super) fn hits(&mut self, job: usize, error: &QueryError) -> bool {
        if !matches!(error, QueryError::Timeout(_)) {
            return false;
        }
        self.cancelled.take().is_some_and(|of| of != job)
    }
}
