//! When to try again: later each time, and never two servers at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::jitter::random_fraction;
use crate::model::TargetErrorKind;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// A login that is refused is tried less often: each try stands in the server's log, and some
/// servers lock the account of somebody who tries too often.
const LONGEST_IF_REFUSED: Duration = Duration::from_secs(60);

/// Doubles from a quarter of a second to ten seconds, or a minute where the login was refused, each
/// time between a half and all of it.
#[derive(Debug)]
pub(in crate::scrape) struct Backoff {
    step: Duration,
    until: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            step: FIRST,
            until: None,
        }
    }
}

impl Backoff {
    /// After a failure.
    pub(in crate::scrape) fn next(&mut self, reason: TargetErrorKind) {
        let longest = match reason {
            TargetErrorKind::AuthenticationFailed => LONGEST_IF_REFUSED,
            _ => LONGEST,
        };
        let half = self.step.min(longest) / 2;
        self.until = Some(Instant::now() + half + half.mul_f64(random_fraction()));
        self.step = (self.step * 2).min(longest);
    }

    /// After a success.
    pub(in crate::scrape) fn reset(&mut self) {
        *self = Self::default();
    }

    /// After the loss of what worked: the first step again.
    pub(in crate::scrape) fn begin_again(&mut self, reason: TargetErrorKind) {
        self.step = FIRST;
        self.next(reason);
    }

    /// No attempt is made before that time, whatever is known.
    pub(in crate::scrape) fn hold(&mut self, time: Duration) {
        self.until = Some(Instant::now() + time);
    }

    /// Whether a new attempt may be made.
    pub(in crate::scrape) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// When it may be made.
    pub(in crate::scrape) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }
}

/// A server that floods its sessions: it connects well and must be let be all the same.
#[derive(Debug, Default)]
pub(in crate::scrape) struct FloodHistory {
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
    pub(in crate::scrape) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// It was flooded and ended. How long the server is let be.
    pub(in crate::scrape) fn flooded(&mut self) -> Duration {
        let pause = FLOOD.saturating_mul(1 << self.number.min(8));
        self.number += 1;
        self.connected = None;
        pause.min(LONGEST_FLOOD)
    }

    /// Whether it was not the first one: that was told.
    pub(in crate::scrape) fn is_told(&self) -> bool {
        self.number > 1
    }

    /// Whether a flood may come again.
    pub(in crate::scrape) fn are_expected(&self) -> bool {
        self.number > 0
    }

    /// All is well: true once, when that shows that floods are over.
    pub(in crate::scrape) fn calmed(&mut self) -> bool {
        let calm = self.connected.is_some_and(|at| at.elapsed() >= CALM);
        calm && std::mem::take(&mut self.number) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_floods_is_let_be_for_longer_each_time_until_it_is_calm() {
        let mut floods = FloodHistory::default();
        let seconds = [10, 20, 40, 80, 160, 300, 300];
        for (number, expected) in seconds.into_iter().enumerate() {
            floods.connected();
            tokio::time::advance(CALM / 2).await;
            assert!(!floods.calmed());
            assert_eq!(floods.flooded(), Duration::from_secs(expected));
            assert_eq!(floods.is_told(), number > 0);
        }
        floods.connected();
        tokio::time::advance(CALM).await;
        assert!(floods.calmed() && !floods.calmed() && !floods.are_expected());
        assert_eq!(floods.flooded(), FLOOD);
    }

    /// The pauses between so many failures, in seconds, each at its longest and rounded up.
    fn pauses(reason: TargetErrorKind, count: usize) -> Vec<u64> {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..count {
            let step = backoff.step;
            backoff.next(reason);
            let pause = backoff.until() - Instant::now();
            assert!(pause <= step.max(FIRST), "{pause:?}");
            pauses.push(backoff.step.as_secs());
        }
        pauses
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_tried_at_most_once_a_minute_and_a_dead_server_every_ten_seconds() {
        let refused = pauses(TargetErrorKind::AuthenticationFailed, 12);
        assert_eq!(refused.last(), Some(&60));
        assert_eq!(
            pauses(TargetErrorKind::ConnectionRefused, 12).last(),
            Some(&10)
        );
        let mut backoff = Backoff::default();
        for _ in 0..12 {
            backoff.next(TargetErrorKind::AuthenticationFailed);
        }
        // Another trouble, such as a restart, is not waited out at that pace.
        backoff.next(TargetErrorKind::NotReady);
        assert!(backoff.until() - Instant::now() <= LONGEST);
    }
}
