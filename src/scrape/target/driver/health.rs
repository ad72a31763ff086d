//! How the target is: shown to whoever looks, and logged when it changes.

use std::time::SystemTime;

use tracing::{debug, info, warn};

use super::TargetDriver;
use crate::postgres::{Mode, Session};
use crate::scrape::collection_result::CollectionResult;
use crate::scrape::target::event::{DownCause, StateNotice};
use crate::targets::TargetError;

impl TargetDriver {
    /// What came from the server holds no secret from here on.
    pub(super) fn redact_cause(&self, cause: DownCause) -> DownCause {
        match cause {
            DownCause::NoPlace => DownCause::NoPlace,
            DownCause::Server(trouble) => self.target.redact_error(trouble).into(),
        }
    }

    pub(super) fn show_up(&mut self, session: &Session) {
        if !std::mem::replace(&mut self.greeted, true) && !self.machine.is_down() {
            info!(server = %self.target.name, address = %self.target.address, "connected");
        }
        let facts = session.facts();
        self.health.update(|health| {
            health.active = true;
            health.trouble = None;
            health.version = facts.map(|facts| facts.version);
            health.role = facts.map(|facts| facts.role);
            health.pooled = *session.mode() == Mode::Pooled;
        });
    }

    pub(super) fn show_down(&self, cause: &DownCause) {
        let cause = self.redact_cause(cause.clone());
        self.show_trouble(&cause.to_trouble());
    }

    pub(super) fn show_trouble(&self, trouble: &TargetError) {
        let trouble = self.target.redact_error(trouble.clone());
        self.health.update(|health| {
            health.active = false;
            health.trouble = Some(trouble);
        });
    }

    pub(super) fn show_collection(&self, collected: &CollectionResult) {
        let samples = collected
            .queries
            .iter()
            .map(|query| query.samples())
            .sum::<usize>()
            + collected
                .settings
                .as_ref()
                .map_or(0, |settings| settings.len());
        let families = collected.queries.iter().map(|query| query.filled()).sum();
        let mode = self.session.get().map(Session::mode);
        let is_pooled = mode.is_some_and(|mode| *mode == Mode::Pooled);
        self.health.update(|health| {
            health.active = collected.active();
            let trouble = collected.trouble.clone();
            health.trouble = trouble.map(|one| self.target.redact_error(one));
            if let Some(facts) = &collected.facts {
                health.version = Some(facts.version);
                health.role = Some(facts.role);
            }
            health.last_scrape = Some(SystemTime::now());
            health.duration = collected.duration;
            health.families = families;
            health.samples = samples;
            health.pooled = is_pooled;
            health.denied.clone_from(&collected.denied);
            health.excess_rights.clone_from(&collected.excess_rights);
            health.left_out.clone_from(&collected.left_out);
            health.missing.clone_from(&collected.missing);
        });
    }

    /// Logs once that the server ends sessions: each is replaced, and costs nobody a scrape.
    pub(super) fn log_end(&mut self, ended: &TargetError) {
        if !std::mem::replace(&mut self.logged_end, true) {
            info!(
                server = %self.target.name,
                reason = ended.kind.as_str(),
                "the server ended the session: {}; it is replaced whenever that happens",
                ended.message
            );
        }
    }

    /// Logs how the target is, when it is not as it was.
    pub(super) fn log_notices(&mut self) {
        let server = &self.target.name;
        for notice in self.machine.take_notices() {
            match notice {
                StateNotice::FloodsOver => {
                    info!(server = %server, "the server no longer sends unrequested messages");
                }
                StateNotice::Down { cause, .. } if cause.is_no_place() => {
                    debug!(server = %server, "not scraped: {}", cause.message());
                }
                StateNotice::Down {
                    cause,
                    is_known: true,
                } => debug!(server = %server, "down again: {}", cause.message()),
                StateNotice::Down { cause, .. } => warn!(
                    server = %server,
                    reason = cause.reason().as_str(),
                    "down: {}", cause.message()
                ),
                StateNotice::Up {
                    cause,
                    is_known: true,
                } => debug!(server = %server, "connected again after: {}", cause.message()),
                StateNotice::Up { cause, .. } => {
                    info!(server = %server, "up again after: {}", cause.message());
                }
            }
        }
    }
}
