//! When a query may run again: its interval, and how long it waits after it failed. Pure: it reads
//! no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How a run ended, as far as the time of the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// It gave its samples.
    Success,
    /// Its own error, timeout, or the deadline that came while the server worked on it.
    Failure,
    /// The role lacks a right.
    Denied,
    /// It gave more than there is room for.
    TooMuch,
    /// Sessions ended while it ran.
    EndedSession,
}

/// The last run of a query, and how often it has failed in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuerySchedule {
    last: Option<(Instant, RunResult)>,
    failures: u32,
}

/// What was refused for want of a right is tried again after this long: with any usual interval of
/// scrapes a GRANT counts within five minutes.
const DENIED: Duration = Duration::from_secs(4 * 60);
/// What was too much once is not tried again for this long at least.
const TOO_MUCH: Duration = Duration::from_secs(60);
/// What ends sessions is not tried again for this long, then for twice as long each time.
const ENDED_SESSION: Duration = Duration::from_secs(60);
/// A query without an interval that fails in a row waits this long before its third run, then twice
/// as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause of a query without an interval.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A query with an interval that fails in a row waits up to this many intervals …
const MOST_INTERVALS: u32 = 8;
/// … but no longer than this, unless its interval is longer.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);

impl QuerySchedule {
    /// Takes note of a run. `at` is when it ended; the next one counts from there, whatever the
    /// result was.
    pub fn record(&mut self, at: Instant, result: RunResult) {
        self.failures = match result {
            RunResult::Success => 0,
            RunResult::Failure
            | RunResult::Denied
            | RunResult::TooMuch
            | RunResult::EndedSession => self.failures.saturating_add(1),
        };
        self.last = Some((at, result));
    }

    /// As if it had never run.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Forgets failures, so that it is due; a success still waits for its interval.
    pub fn retry(&mut self) {
        if self.failures > 0 {
            self.reset();
        }
    }

    /// Whether it may run at `now`. `interval` is what it must wait for between two runs; `None` or
    /// zero runs it at each scrape.
    #[must_use]
    pub fn is_due(&self, now: Instant, interval: Option<Duration>) -> bool {
        self.last
            .is_none_or(|(at, _)| now.saturating_duration_since(at) >= self.pause(interval))
    }

    /// How long it waits after its last run.
    fn pause(&self, interval: Option<Duration>) -> Duration {
        let interval = interval.unwrap_or_default();
        match self.last {
            None => Duration::ZERO,
            Some((_, RunResult::Success)) => interval,
            Some((_, RunResult::Denied)) => DENIED,
            Some((_, RunResult::TooMuch)) => interval.max(TOO_MUCH),
            Some((_, RunResult::EndedSession)) => {
                let longer = doubled(ENDED_SESSION, self.failures.saturating_sub(1));
                longer.min(LONGEST_INTERVAL).max(interval)
            }
            Some((_, RunResult::Failure)) if interval.is_zero() => match self.failures {
                // One failure may be a coincidence.
                0 | 1 => Duration::ZERO,
                more => doubled(FIRST_PAUSE, more - 2).min(LONGEST_PAUSE),
            },
            Some((_, RunResult::Failure)) => {
                let most = interval
                    .saturating_mul(MOST_INTERVALS)
                    .min(LONGEST_INTERVAL);
                doubled(interval, self.failures.saturating_sub(1)).min(most.max(interval))
            }
        }
    }
}

/// Twice as long, so many times.
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(20))
}

#[cfg(test)]
mod tests {
    use super::RunResult::{Denied, EndedSession, Failure, Success, TooMuch};
    use super::*;

    /// Runs as soon as it is due, and says after how many seconds each run came, for results in
    /// turn.
    fn pauses(interval: Option<u64>, results: &[RunResult]) -> Vec<u64> {
        let interval = interval.map(Duration::from_secs);
        let mut schedule = QuerySchedule::default();
        let mut now = Instant::now();
        assert!(schedule.is_due(now, interval), "what never ran is due");
        let mut pauses = Vec::new();
        for result in results {
            schedule.record(now, *result);
            let mut seconds = 0;
            while !schedule.is_due(now + Duration::from_secs(seconds), interval) {
                seconds += 1;
                assert!(seconds < 100_000);
            }
            pauses.push(seconds);
            now += Duration::from_secs(seconds);
        }
        pauses
    }

    #[test]
    fn the_interval_holds_whatever_the_result_was_and_grows_with_failures_in_a_row() {
        let many = [Failure; 9];
        for (interval, results, expected) in [
            (None, &[Success, Success][..], &[0, 0][..]),
            (Some(0), &[Success, Failure, Failure], &[0, 0, 2]),
            (None, &many, &[0, 2, 4, 8, 16, 32, 60, 60, 60]),
            (None, &[Failure, Success, Failure, Failure], &[0, 0, 0, 2]),
            (Some(60), &[Success, Failure, Success], &[60, 60, 60]),
            (Some(60), &many[..6], &[60, 120, 240, 480, 480, 480]),
            (Some(1_800), &many[..3], &[1_800, 3_600, 3_600]),
            (Some(3_600), &many[..3], &[3_600, 3_600, 3_600]),
            (Some(7_200), &many[..2], &[7_200, 7_200]),
            (None, &[Denied, Denied], &[240, 240]),
            (Some(60), &[Denied, Success], &[240, 60]),
            (Some(3_600), &[Denied, Success], &[240, 3_600]),
            (None, &[TooMuch, TooMuch, Success], &[60, 60, 0]),
            (Some(300), &[TooMuch], &[300]),
        ] {
            let found = pauses(interval, results);
            assert_eq!(found, expected, "{interval:?} {results:?}");
        }
    }

    #[test]
    fn a_retry_forgets_failures_and_leaves_successes_alone() {
        let (now, hour) = (Instant::now(), Some(Duration::from_secs(3_600)));
        let mut schedule = QuerySchedule::default();
        for result in [Denied, Failure, TooMuch] {
            schedule.record(now, result);
            assert!(!schedule.is_due(now, hour), "{result:?}");
            schedule.retry();
            assert!(schedule.is_due(now, hour), "{result:?}");
        }
        schedule.record(now, Success);
        schedule.retry();
        assert!(!schedule.is_due(now, hour));
    }

    #[test]
    fn what_ends_sessions_waits_a_minute_and_longer_each_time() {
        let hour = Duration::from_secs(3600);
        let mut schedule = QuerySchedule::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            schedule.record(now, EndedSession);
            let pause = schedule.pause(None);
            assert!(!schedule.is_due(now + pause - Duration::from_millis(1), None));
            pauses.push(pause.as_secs() / 60);
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(schedule.pause(Some(hour * 2)), hour * 2);
        schedule.record(now, Success);
        assert!(schedule.is_due(now, None));
    }

    #[test]
    fn years_of_failures_do_not_overflow() {
        let mut schedule = QuerySchedule::default();
        let now = Instant::now();
        schedule.failures = u32::MAX - 1;
        schedule.record(now, Failure);
        schedule.record(now, Failure);
        assert!(schedule.is_due(now + LONGEST_PAUSE, None));
        assert!(!schedule.is_due(now, Some(Duration::MAX)));
    }
}
