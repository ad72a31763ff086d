//! When to try again: later each time, and never two servers at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::TargetErrorKind;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// A login that is refused is tried less often: each try stands in the server's log, and some
/// servers lock the account of somebody who tries too often.
const LONGEST_IF_REFUSED: Duration = Duration::from_secs(60);

/// Doubles from a quarter of a second to ten seconds, or a minute where the login was refused, each
/// time between a half and all of it. It reads no clock.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
    until: Option<Instant>,
    /// A number from 0 to 1.
    jitter: fn() -> f64,
}

impl Backoff {
    pub(crate) fn new(jitter: fn() -> f64) -> Self {
        Self {
            step: FIRST,
            until: None,
            jitter,
        }
    }

    /// After a failure.
    pub(crate) fn next(&mut self, reason: TargetErrorKind, now: Instant) {
        let longest = match reason {
            TargetErrorKind::AuthenticationFailed => LONGEST_IF_REFUSED,
            _ => LONGEST,
        };
        let half = self.step.min(longest) / 2;
        self.until = Some(now + half + half.mul_f64((self.jitter)()));
        self.step = (self.step * 2).min(longest);
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.jitter);
    }

    /// After the loss of what worked: the first step again.
    pub(crate) fn begin_again(&mut self, reason: TargetErrorKind, now: Instant) {
        self.step = FIRST;
        self.next(reason, now);
    }

    /// No attempt is made before that time, whatever is known.
    pub(crate) fn hold(&mut self, time: Duration, now: Instant) {
        self.until = Some(now + time);
    }

    /// Whether a new attempt may be made.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When it may be made; `None` is at once.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// A server that floods its sessions: it connects well and must be let be all the same.
#[derive(Debug, Default)]
pub(crate) struct FloodHistory {
    /// In a row.
    number: u32,
    connected: Option<Instant>,
}

/// After a flood a server is let be for so long, and twice as long after the next one.
const FLOOD: Duration = Duration::from_secs(10);
const LONGEST_FLOOD: Duration = Duration::from_secs(300);
/// A session that lasts this long says that the flood is over.
const CALM: Duration = Duration::from_secs(60);

impl FloodHistory {
    /// There is a session.
    pub(crate) fn record_session(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// It was flooded and ended. How long the server is let be.
    pub(crate) fn record_flood(&mut self) -> Duration {
        let pause = FLOOD.saturating_mul(1 << self.number.min(8));
        self.number += 1;
        self.connected = None;
        pause.min(LONGEST_FLOOD)
    }

    /// Whether it was not the first one: that was logged.
    pub(crate) fn is_known(&self) -> bool {
        self.number > 1
    }

    /// Whether a flood may come again.
    pub(crate) fn are_expected(&self) -> bool {
        self.number > 0
    }

    /// All is well: true once, when that shows that floods are over.
    pub(crate) fn is_calm(&mut self, now: Instant) -> bool {
        let calm = self.connected.is_some_and(|at| now - at >= CALM);
        calm && std::mem::take(&mut self.number) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_floods_is_let_be_for_longer_each_time_until_it_is_calm() {
        let mut floods = FloodHistory::default();
        let mut now = Instant::now();
        let seconds = [10, 20, 40, 80, 160, 300, 300];
        for (number, expected) in seconds.into_iter().enumerate() {
            floods.record_session(now);
            now += CALM / 2;
            assert!(!floods.is_calm(now));
            assert_eq!(floods.record_flood(), Duration::from_secs(expected));
            assert_eq!(floods.is_known(), number > 0);
        }
        floods.record_session(now);
        now += CALM;
        assert!(floods.is_calm(now) && !floods.is_calm(now) && !floods.are_expected());
        assert_eq!(floods.record_flood(), FLOOD);
    }

    /// The pauses between so many failures, in milliseconds.
    fn pauses(reason: TargetErrorKind, count: usize, jitter: fn() -> f64) -> Vec<u128> {
        let mut backoff = Backoff::new(jitter);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..count {
            backoff.next(reason, now);
            let until = backoff.until(now).expect("a pause");
            assert!(!backoff.is_over(now) && backoff.is_over(until));
            pauses.push((until - now).as_millis());
            now = until;
        }
        pauses
    }

    #[test]
    fn a_dead_server_is_tried_every_ten_seconds_in_the_end() {
        let longest = pauses(TargetErrorKind::ConnectionRefused, 8, || 1.0);
        assert_eq!(longest, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        let shortest = pauses(TargetErrorKind::ConnectionRefused, 8, || 0.0);
        assert_eq!(shortest, [125, 250, 500, 1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn a_refused_login_is_tried_once_a_minute_in_the_end() {
        let refused = pauses(TargetErrorKind::AuthenticationFailed, 12, || 1.0);
        assert_eq!(refused.last(), Some(&60_000));
        let mut backoff = Backoff::new(|| 1.0);
        let now = Instant::now();
        for _ in 0..12 {
            backoff.next(TargetErrorKind::AuthenticationFailed, now);
        }
        // Another trouble, such as a restart, is not waited out at that pace.
        backoff.next(TargetErrorKind::NotReady, now);
        assert_eq!(backoff.until(now), Some(now + LONGEST));
        backoff.begin_again(TargetErrorKind::NotReady, now);
        assert_eq!(backoff.until(now), Some(now + FIRST));
        backoff.reset();
        assert_eq!(backoff.until(now), None);
    }
}
