//! What was found out about a server at a login or a session before, so that the next one does not
//! find it out again, at the cost of a line in the server's log.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After this it is tried again: what stands at the address may have changed.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

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
