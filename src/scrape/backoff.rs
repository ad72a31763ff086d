//! When to try again: later each time, and never two servers at once.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from a quarter of a second to ten seconds, each time between a half and all of it.
#[derive(Debug)]
pub(super) struct Backoff {
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
    pub(super) fn next(&mut self) {
        let half = self.step / 2;
        self.until = Some(Instant::now() + half + half.mul_f64(fraction()));
        self.step = (self.step * 2).min(LONGEST);
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// After the loss of what worked: the first step again.
    pub(super) fn begin_again(&mut self) {
        self.step = FIRST;
        self.next();
    }

    /// Whether a new attempt may be made.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// When it may be made.
    pub(super) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }
}

/// Anything from 0 to 1.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the servers only try in step.
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
