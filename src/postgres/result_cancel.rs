//! A query that gives more than there is room for is cancelled, once.

use std::time::Duration;

use super::connector::Connector;
use super::error::QueryError;
use super::login::{CancelKey, cancel};

/// The cancel of a query whose rows are no longer wanted: without it the server would send all of
/// them, and the queries behind it would have no turn.
#[derive(Debug, Default)]
pub(super) struct ResultCancel {
    /// The query, and how many bytes of it came since nobody wants them.
    of: Option<(usize, usize)>,
    /// The query that a cancel was sent for.
    cancelled: Option<usize>,
    /// How many statements the last cancel may still end.
    signals: u8,
}

/// The postmaster passes a cancel on as two signals, one to the process and one to its process
/// group (`signal_child` in PostgreSQL's postmaster.c). A backend that runs between them ends one
/// statement with the first and the statement behind it with the second.
const SIGNALS: u8 = 2;

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
        if before <= SOON_READ && before + length > SOON_READ && self.cancelled != Some(job) {
            self.cancelled = Some(job);
            self.signals = SIGNALS;
            let _ = tokio::time::timeout(CANCEL, cancel(connector, key)).await;
        }
    }

    /// Whether a cancel that was meant for another query ended this one: the other one had come to
    /// its end before the cancel arrived, or the second signal of the cancel came when it was over.
    pub(super) fn hits(&mut self, job: usize, error: &QueryError) -> bool {
        if !matches!(error, QueryError::Timeout(_)) || self.signals == 0 {
            return false;
        }
        self.signals -= 1;
        self.cancelled != Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_blamed_for_two_statements_at_most() {
        let timeout = QueryError::Timeout("canceling statement due to user request".to_owned());
        let other = QueryError::Server("division by zero".to_owned());
        // The jobs that failed, how, and whether the cancel of job 3 is to blame.
        for failed in [
            vec![
                (3, &timeout, false),
                (4, &timeout, true),
                (5, &timeout, false),
            ],
            vec![
                (4, &timeout, true),
                (5, &timeout, true),
                (6, &timeout, false),
            ],
            vec![
                (3, &timeout, false),
                (4, &other, false),
                (6, &timeout, true),
            ],
        ] {
            let mut cancel = ResultCancel {
                cancelled: Some(3),
                signals: SIGNALS,
                ..ResultCancel::default()
            };
            for (job, error, blamed) in failed {
                assert_eq!(cancel.hits(job, error), blamed, "{job} {error:?}");
            }
        }
        let mut none = ResultCancel::default();
        assert!(!none.hits(3, &timeout));
    }
}
