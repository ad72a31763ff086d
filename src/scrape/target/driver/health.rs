//! How the target is: told to whoever looks, and logged when it changes.

use std::time::SystemTime;

use tracing::{debug, info, warn};

use super::TargetDriver;
use super::connect::DownCause;
use crate::model::TargetErrorKind;
use crate::postgres::{Mode, Session};
use crate::scrape::collection_result::CollectionResult;
use crate::scrape::single_flight::CollectRequest;
use crate::targets::TargetError;

impl TargetDriver {
    pub(in crate::scrape) fn refuse_request(
        &mut self,
        request: CollectRequest,
        trouble: TargetError,
    ) {
        let trouble = self.target.redact_error(trouble);
        if request.claim_failure() {
            self.counters.fail(trouble.kind);
        }
        self.health.update(|health| {
            health.active = false;
            health.trouble = Some(trouble.clone());
        });
        request.answer(self.collector.nothing(trouble));
    }

    pub(in crate::scrape) fn mark_up(&mut self, session: &Session) {
        if !std::mem::replace(&mut self.greeted, true) && self.trouble.is_none() {
            info!(server = %self.target.name, address = %self.target.address, "connected");
        }
        self.log_state(None);
        self.backoff.reset();
        let facts = session.facts();
        self.health.update(|health| {
            health.active = true;
            health.trouble = None;
            health.version = facts.map(|facts| facts.version);
            health.role = facts.map(|facts| facts.role);
            health.pooled = *session.mode() == Mode::Pooled;
        });
    }

    pub(in crate::scrape) fn mark_down(&mut self, cause: impl Into<DownCause>) {
        let cause = match cause.into() {
            DownCause::NoPlace => DownCause::NoPlace,
            DownCause::Server(trouble) => self.target.redact_error(trouble).into(),
        };
        if !cause.is_no_place() {
            self.backoff.next(cause.reason());
        }
        self.health.update(|health| {
            health.active = false;
            health.trouble = Some(cause.to_trouble());
        });
        self.log_state(Some(cause));
    }

    /// Tells once that the server ends sessions: each is replaced, and costs nobody a scrape.
    pub(in crate::scrape) fn note_ended(&mut self, trouble: &TargetError) {
        if !std::mem::replace(&mut self.told_ended, true) {
            info!(
                server = %self.target.name,
                reason = trouble.kind.as_str(),
                "the server ended the session: {}; it is replaced whenever that happens",
                trouble.message
            );
        }
    }

    /// Remembers how the target is, and logs it when it is not as it was.
    pub(in crate::scrape) fn log_state(&mut self, trouble: Option<DownCause>) {
        let reason = |cause: &Option<DownCause>| cause.as_ref().map(DownCause::reason);
        if trouble.is_none() && self.floods.calmed() {
            info!(server = %self.target.name, "no longer sends what was not asked for");
        }
        if reason(&self.trouble) != reason(&trouble) {
            match (&self.trouble, &trouble) {
                (_, Some(new)) if new.is_no_place() => {
                    debug!(server = %self.target.name, "not scraped: {}", new.message());
                }
                (Some(old), None) if old.is_no_place() => {}
                // Each time it is let in it begins anew; that was told.
                (_, Some(new))
                    if new.reason() == TargetErrorKind::UnrequestedData
                        && self.floods.is_told() =>
                {
                    debug!(server = %self.target.name, "down again: {}", new.message());
                }
                (Some(old), None)
                    if old.reason() == TargetErrorKind::UnrequestedData
                        && self.floods.are_expected() =>
                {
                    debug!(server = %self.target.name, "connected again after: {}", old.message());
                }
                (_, Some(new)) => warn!(
                    server = %self.target.name,
                    reason = new.reason().as_str(),
                    "down: {}", new.message()
                ),
                (Some(old), None) => {
                    info!(server = %self.target.name, "up again after: {}", old.message());
                }
                (None, None) => {}
            }
        }
        self.trouble = trouble;
    }

    pub(in crate::scrape) fn report(&self, collected: &CollectionResult, session: &Session) {
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
            health.pooled = *session.mode() == Mode::Pooled;
            health.denied.clone_from(&collected.denied);
            health.excess_rights.clone_from(&collected.excess_rights);
            health.left_out.clone_from(&collected.left_out);
            health.missing.clone_from(&collected.missing);
        });
    }
}
