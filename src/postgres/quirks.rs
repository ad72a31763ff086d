//! What was found out about a server at a login or a session before, so that the next one does not
//! find it out again, at the cost of a line in the server's log.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::schedule::{QuerySchedule, RunResult};

/// After this it is tried again: what stands at the address may have changed.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The time of a login is doubled so often at most.
const MOST_DOUBLINGS: u32 = 5;

/// Ways in which a server, or what stands before it, differs from a plain one.
#[derive(Debug, Default)]
pub(super) struct ServerQuirks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Startup options are refused.
    no_options: Option<Instant>,
    /// The role is let in without TLS alone.
    no_tls: Option<Instant>,
    /// A transaction may not span messages, as in PgBouncer's statement pooling.
    no_transactions: Option<Instant>,
    refused_settings: BTreeSet<&'static str>,
    rights_asked: Option<Instant>,
    /// When the extensions may be asked for again after they could not be listed.
    extensions: QuerySchedule,
    untold_extensions: bool,
    /// Logins in a row that were given up without an answer.
    given_up: u32,
}

impl ServerQuirks {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether startup options are refused.
    pub(super) fn refuses_options(&self) -> bool {
        is_fresh(self.known().no_options)
    }

    /// A login with them failed, and one without did not.
    pub(super) fn note_refused_options(&self) {
        self.known().no_options = Some(Instant::now());
    }

    /// Whether the role is let in without TLS alone.
    pub(super) fn refuses_tls(&self) -> bool {
        is_fresh(self.known().no_tls)
    }

    /// A login with TLS failed, and one without did not, or also did now.
    pub(super) fn note_refused_tls(&self, refused: bool) {
        self.known().no_tls = refused.then(Instant::now);
    }

    /// Whether a transaction has to be one message.
    pub(super) fn refuses_transactions(&self) -> bool {
        is_fresh(self.known().no_transactions)
    }

    /// A session ended at the start of a transaction.
    pub(super) fn note_refused_transactions(&self) {
        self.known().no_transactions = Some(Instant::now());
    }

    /// Settings that are refused.
    pub(super) fn refused_settings(&self) -> Vec<&'static str> {
        self.known().refused_settings.iter().copied().collect()
    }

    /// One more of them.
    pub(super) fn note_refused_setting(&self, name: &'static str) {
        self.known().refused_settings.insert(name);
    }

    /// Whether the extensions may be asked for.
    pub(super) fn lists_extensions(&self) -> bool {
        self.known().extensions.is_due(Instant::now(), None)
    }

    /// The extensions were listed, or could not be. Returns whether that is the first failure since
    /// they were.
    pub(super) fn note_extensions(&self, listed: bool) -> bool {
        let mut known = self.known();
        let first = !listed && !known.untold_extensions;
        known.untold_extensions = !listed;
        known.extensions.reset();
        if !listed {
            // They take no part in what is shown but by their names, which seldom change.
            let now = Instant::now();
            known.extensions.record(now, RunResult::TooMuch);
        }
        first
    }

    /// How long a login may take now. One that is given up leaves its backend behind, which does not
    /// look at its socket while it waits for a lock; another would come on top. Each in a row gets
    /// twice the time of the one before it.
    pub(super) fn login_patience(&self, first: Duration) -> Duration {
        first * (1 << self.known().given_up.min(MOST_DOUBLINGS))
    }

    /// A login was given up without an answer, or had one.
    pub(super) fn note_login(&self, given_up: bool) {
        let known = &mut self.known().given_up;
        *known = if given_up { known.saturating_add(1) } else { 0 };
    }

    /// Whether it is time to look what else the role may do; then not again for a while.
    pub(super) fn rights_are_due(&self) -> bool {
        let asked = &mut self.known().rights_asked;
        let due = !is_fresh(*asked);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }
}

fn is_fresh(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < REMEMBERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_that_are_given_up_get_longer_each_time_until_one_is_answered() {
        let quirks = ServerQuirks::default();
        let first = Duration::from_secs(600);
        let mut took = Vec::new();
        for _ in 0..8 {
            took.push(quirks.login_patience(first).as_secs() / 600);
            quirks.note_login(true);
        }
        assert_eq!(took, [1, 2, 4, 8, 16, 32, 32, 32]);
        quirks.note_login(false);
        assert_eq!(quirks.login_patience(first), first);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_out_is_tried_again_after_an_hour() {
        let quirks = ServerQuirks::default();
        assert!(!quirks.refuses_options() && !quirks.refuses_tls());
        quirks.note_refused_options();
        quirks.note_refused_tls(true);
        assert!(quirks.rights_are_due() && !quirks.rights_are_due());
        tokio::time::advance(REMEMBERED - Duration::from_secs(1)).await;
        assert!(quirks.refuses_options() && quirks.refuses_tls());
        assert!(!quirks.rights_are_due());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!quirks.refuses_options() && !quirks.refuses_tls());
        assert!(quirks.rights_are_due());
        quirks.note_refused_tls(true);
        quirks.note_refused_tls(false);
        assert!(!quirks.refuses_tls());
    }
}
