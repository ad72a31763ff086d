//! How the target is: told to whoever looks, and logged when it changes.

use std::time::SystemTime;

use tracing::{info, warn};

use super::Worker;
use crate::postgres::{Mode, Session};
use crate::scrape::collected::Collected;
use crate::scrape::flight::Order;
use crate::targets::Trouble;

impl Worker {
    pub(super) fn refuse(&mut self, order: Order, trouble: Trouble) {
        self.counters.fail(trouble.reason);
        self.health.update(|health| {
            health.active = false;
            health.trouble = Some(trouble.clone());
        });
        order.answer(self.collector.nothing(trouble));
    }

    pub(super) fn well(&mut self, session: &Session) {
        if !std::mem::replace(&mut self.greeted, true) && self.trouble.is_none() {
            info!(server = %self.target.name, address = %self.target.address, "connected");
        }
        self.tell(None);
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

    pub(super) fn down(&mut self, trouble: Trouble) {
        self.backoff.next(trouble.reason);
        self.health.update(|health| {
            health.active = false;
            health.trouble = Some(trouble.clone());
        });
        self.tell(Some(trouble));
    }

    /// Remembers how the target is, and logs it when it is not as it was.
    pub(super) fn tell(&mut self, trouble: Option<Trouble>) {
        let reason = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| trouble.reason);
        if reason(&self.trouble) != reason(&trouble) {
            match (&self.trouble, &trouble) {
                (_, Some(new)) => warn!(
                    server = %self.target.name,
                    reason = new.reason.as_str(),
                    "down: {}", new.message
                ),
                (Some(old), None) => {
                    info!(server = %self.target.name, "up again after: {}", old.message);
                }
                (None, None) => {}
            }
        }
        self.trouble = trouble;
    }

    pub(super) fn report(&self, collected: &Collected, session: &Session) {
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
            health.trouble.clone_from(&collected.trouble);
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
            health.left_out.clone_from(&collected.left_out);
            health.missing.clone_from(&collected.missing);
        });
    }
}
