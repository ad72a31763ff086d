//! When to ask a server to cancel what a session runs. Pure: it reads no clock.

use std::time::Duration;

use tokio::time::Instant;

/// The requests for one statement that does not end: the first at once, then few.
///
/// A server that is frozen, overloaded or behind a broken network takes each of them as one
/// connection more, and the second has nothing to add to the first: so they are spaced, and end.
#[derive(Debug)]
pub(super) struct CancelPace {
    /// Requests since the server last answered something.
    sent: usize,
    next: Option<Instant>,
}

/// How long after the request before it each of them follows: 5, 20 and 60 s after the first.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(40),
];
/// A cancel ends one statement. The next one has this long to end by itself.
const NEXT_STATEMENT: Duration = Duration::from_millis(20);

impl CancelPace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            next: Some(now),
        }
    }

    /// When to send the next request; `None` is never.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A request was sent.
    pub(super) fn record_sent(&mut self, now: Instant) {
        self.next = PAUSES.get(self.sent).map(|pause| now + *pause);
        self.sent += 1;
    }

    /// The server answered a statement and works on the next one.
    pub(super) fn record_answer(&mut self, now: Instant) {
        self.sent = 0;
        self.next = Some(now + NEXT_STATEMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_does_not_end_is_cancelled_four_times_within_a_minute_and_no_more() {
        let begun = Instant::now();
        let mut pace = CancelPace::new(begun);
        let mut at = Vec::new();
        while let Some(next) = pace.next() {
            at.push((next - begun).as_secs());
            pace.record_sent(next);
        }
        assert_eq!(at, [0, 5, 20, 60]);
    }

    #[test]
    fn each_statement_behind_it_has_a_moment_and_then_a_request_of_its_own() {
        let begun = Instant::now();
        let mut pace = CancelPace::new(begun);
        pace.record_sent(begun);
        let answered = begun + Duration::from_millis(3);
        pace.record_answer(answered);
        assert_eq!(pace.next(), Some(answered + NEXT_STATEMENT));
        // Quick ones need none.
        pace.record_answer(answered + Duration::from_millis(5));
        let next = answered + Duration::from_millis(5) + NEXT_STATEMENT;
        assert_eq!(pace.next(), Some(next));
        pace.record_sent(next);
        assert_eq!(pace.next(), Some(next + PAUSES[0]));
    }
}
