//! Limits how often the status or the events of one target are written. Pure.
//!
//! A server that fails in another way each time must not write to etcd each time: writes are spaced,
//! a few may follow each other, and from then on they come seldom. A request that failed is tried
//! again later each time.

use std::time::Duration;

use tokio::time::Instant;

/// The limits of writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteLimits {
    /// The time between two writes.
    pub spacing: Duration,
    /// How many writes may follow each other with that spacing.
    pub burst: u32,
    /// After that, one write is allowed in each such period.
    pub refill: Duration,
}

/// Of the status of a target.
pub(super) const STATUS: WriteLimits = WriteLimits {
    spacing: Duration::from_secs(5),
    burst: 12,
    refill: Duration::from_secs(30),
};

/// Of the events of a target.
pub(super) const EVENTS: WriteLimits = WriteLimits {
    spacing: Duration::ZERO,
    burst: 12,
    refill: Duration::from_secs(300),
};

/// The time between two writes when only a text has changed.
const TEXT: Duration = Duration::from_secs(300);
/// The first pause after a failure, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// Limits the writes of one target.
#[derive(Debug)]
pub(super) struct WriteLimiter {
    limits: WriteLimits,
    last: Option<Instant>,
    /// How many writes were left at `counted`.
    left: u32,
    counted: Option<Instant>,
    failures: u32,
    /// The earliest next write, after a failure.
    retry: Option<Instant>,
}

impl WriteLimiter {
    pub(super) fn new(limits: WriteLimits) -> Self {
        Self {
            limits,
            last: None,
            left: limits.burst,
            counted: None,
            failures: 0,
            retry: None,
        }
    }

    /// How many writes are left now, and since when.
    fn writes_left(&self, now: Instant) -> (u32, Instant) {
        let since = self.counted.unwrap_or(now);
        let more = now.duration_since(since).as_secs() / self.limits.refill.as_secs().max(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let left = self.left.saturating_add(more);
        match left >= self.limits.burst {
            true => (self.limits.burst, now),
            false => (left, since + self.limits.refill * more),
        }
    }

    /// Whether a write is allowed now.
    pub(super) fn may_write(&self, now: Instant) -> bool {
        let spaced = self
            .last
            .is_none_or(|last| now.duration_since(last) >= self.limits.spacing);
        spaced && self.retry.is_none_or(|at| at <= now) && self.writes_left(now).0 > 0
    }

    /// Whether a write is allowed now in which only a text has changed.
    pub(super) fn may_write_text(&self, now: Instant) -> bool {
        let spaced = self
            .last
            .is_none_or(|last| now.duration_since(last) >= TEXT);
        spaced && self.may_write(now)
    }

    /// Records that a write begins.
    pub(super) fn record_start(&mut self, now: Instant) {
        let (left, counted) = self.writes_left(now);
        self.left = left.saturating_sub(1);
        self.counted = Some(counted);
        self.last = Some(now);
    }

    /// Records that a write succeeded.
    pub(super) fn record_success(&mut self) {
        self.failures = 0;
        self.retry = None;
    }

    /// Records that a write failed. `jitter` from 0 to 1 spreads those that failed together.
    pub(super) fn record_failure(&mut self, now: Instant, jitter: f64) {
        let pause = FIRST_RETRY * 2_u32.saturating_pow(self.failures);
        let half = pause.min(LONGEST_RETRY) / 2;
        self.failures = (self.failures + 1).min(16);
        self.retry = Some(now + half + half.mul_f64(jitter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_all_the_time_is_written_seldom() {
        let begin = Instant::now();
        let mut limiter = WriteLimiter::new(STATUS);
        let mut at = Vec::new();
        for second in 0..3_600 {
            let now = begin + Duration::from_secs(second);
            if limiter.may_write(now) {
                limiter.record_start(now);
                limiter.record_success();
                at.push(second);
            }
        }
        assert_eq!(at[..4], [0, 5, 10, 15]);
        assert!(at.len() <= 12 + 3_600 / 30, "{}", at.len());
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 5));
        // After a quiet while it is as at first.
        let later = begin + Duration::from_secs(9_000);
        assert_eq!(limiter.writes_left(later).0, 12);
        // A text alone waits for five minutes.
        assert!(!limiter.may_write_text(begin + Duration::from_secs(at[at.len() - 1] + 299)));
        assert!(limiter.may_write_text(later));
    }

    #[test]
    fn what_fails_is_tried_later_each_time() {
        let mut now = Instant::now();
        let mut limiter = WriteLimiter::new(STATUS);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            limiter.record_start(now);
            limiter.record_failure(now, 1.0);
            let retry = limiter.retry.unwrap();
            assert!(!limiter.may_write(now + Duration::from_secs(1)));
            pauses.push((retry - now).as_secs());
            now = retry;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        limiter.record_success();
        assert!(limiter.may_write(now));
    }
}
