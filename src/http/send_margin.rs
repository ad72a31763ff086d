//! How long before a client stops waiting its answer must begin. Pure: it reads no clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A client is given at least this long to receive its answer, and at least 5 % of what it waits …
const LEAST: Duration = Duration::from_millis(100);
/// … but no more than this, unless the answers before it took longer.
const MOST_UNMEASURED: Duration = Duration::from_millis(500);
/// The share of its timeout that a client's answer is given at most, however long those before it
/// took. A client that reads slowly on purpose would otherwise take time from the servers.
const MOST_SHARE: u32 = 8;

/// How long answers took to be written and read of late, once the collection was over. On a machine
/// without idle cores that is longer than 5 % of a short timeout. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct SendTime(Arc<Mutex<Duration>>);

impl SendTime {
    /// Takes note of an answer. The longest one counts, and is forgotten by an eighth with each
    /// answer that took less.
    pub(super) fn record(&self, took: Duration) {
        let mut recent = self.recent();
        *recent = took.max(*recent - *recent / 8);
    }

    /// How long before the end of `timeout` the collection must be over: half as long again as
    /// answers took of late, at least 5 % of the timeout (and 100 ms, but no more than 500 ms), at
    /// most an eighth of it; never more than half.
    pub(super) fn margin(&self, timeout: Duration) -> Duration {
        let least = (timeout / 20).clamp(LEAST, MOST_UNMEASURED);
        let measured = (*self.recent() * 3 / 2).min(timeout / MOST_SHARE);
        measured.max(least).min(timeout / 2)
    }

    fn recent(&self) -> MutexGuard<'_, Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_follows_the_slowest_answer_of_late_within_bounds() {
        // Timeout, what answers took, the margin; in milliseconds.
        let cases: &[(u64, &[u64], u64)] = &[
            (4_000, &[], 200),
            (4_000, &[10, 20], 200),
            (4_000, &[300], 450),
            (4_000, &[300, 10], 393),
            (4_000, &[10, 300, 200], 393),
            (4_000, &[60_000], 500),
            (10_000, &[600], 900),
            (10_000, &[], 500),
            (60_000, &[], 500),
            (1_000, &[300], 125),
            (300, &[300], 100),
            (100, &[300], 50),
        ];
        for (timeout, took, margin) in cases {
            let times = SendTime::default();
            for took in *took {
                times.record(Duration::from_millis(*took));
            }
            let given = times.margin(Duration::from_millis(*timeout));
            assert_eq!(given.as_millis(), u128::from(*margin), "{timeout} {took:?}");
        }
        // One slow answer is forgotten.
        let times = SendTime::default();
        times.record(Duration::from_secs(1));
        for _ in 0..20 {
            times.record(Duration::from_millis(10));
        }
        let timeout = Duration::from_secs(4);
        assert_eq!(times.margin(timeout), timeout / 20);
    }
}
