//! What a collection will not change, and the room that it leaves.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Collector, basis};
use crate::catalog::SETTINGS;
use crate::postgres::{Mode, QueryError, Room, RunResult, Session, SettingsSamples};
use crate::scrape::collected::Early;
use crate::scrape::plan::Plan;
use crate::scrape::settings::ScrapeSettings;

impl Collector {
    /// What a collection that begins now will not change, if the server is as it was.
    pub(super) fn early(
        &self,
        plan: &Plan,
        now: Instant,
        walk: bool,
        session: &Session,
        settings: &ScrapeSettings,
    ) -> Early {
        let mut early = Early {
            catalog: Some(Arc::clone(plan.catalog())),
            ..Early::default()
        };
        for slot in plan.slots() {
            if slot.is_due(now, settings.interval) {
                early.open.extend(slot.families());
            } else {
                early.queries.extend(slot.samples().cloned());
            }
        }
        if walk {
            // It may find a new database.
            early.open.extend(plan.families_everywhere());
        }
        match self.has_settings(session) {
            true => early.settings = self.shown_settings(),
            false => early.settings_open = true,
        }
        early
    }

    /// Whether the settings at hand are this session's as they are now, or none are wanted, or not
    /// to be had for now. Behind a pooler each query may meet another session.
    pub(super) fn has_settings(&self, session: &Session) -> bool {
        let due = self.settings_schedule.is_due(Instant::now(), None);
        if !self.wants_settings() || !due {
            return true;
        }
        *session.mode() != Mode::Pooled
            && self
                .settings
                .as_ref()
                .is_some_and(|(of, _)| Some(*of) == basis(session))
    }

    /// Keeps what was said of the settings; `None` is no answer in time.
    pub(super) fn take_settings(
        &mut self,
        session: &Session,
        answer: Option<Result<SettingsSamples, QueryError>>,
    ) {
        if let Some(answer) = &answer {
            let result = match answer {
                Ok(_) => RunResult::Success,
                Err(QueryError::Denied(_)) => RunResult::Denied,
                Err(_) => RunResult::Failure,
            };
            self.settings_schedule.record(Instant::now(), result);
            self.ledger.enter_settings(answer.as_ref().err());
        }
        let samples = answer.and_then(Result::ok).map(Arc::new);
        self.settings = basis(session).zip(samples);
    }

    /// They stand in no catalogue, but are left out by name like any collector.
    pub(super) fn wants_settings(&self) -> bool {
        !self
            .target
            .collectors
            .exclude
            .iter()
            .any(|name| name == SETTINGS)
    }

    /// The settings, unless they alone are more than the target may show.
    pub(super) fn shown_settings(&self) -> Option<Arc<SettingsSamples>> {
        let (_, samples) = self.settings.as_ref().filter(|_| self.wants_settings())?;
        let fits = self
            .target
            .sample_limit
            .is_none_or(|limit| samples.len() <= limit);
        fits.then(|| Arc::clone(samples))
    }

    /// What the samples that will be collected may not exceed: the limit, less what stays.
    pub(super) fn room(
        &self,
        plan: &Plan,
        now: Instant,
        session: &Session,
        settings: &ScrapeSettings,
    ) -> Room {
        let Some(limit) = self.target.sample_limit else {
            return Room::new(None);
        };
        let stay = plan
            .slots()
            .filter(|slot| !slot.is_due(now, settings.interval));
        let stay = stay
            .filter_map(|slot| slot.samples())
            .map(|one| one.samples());
        // Those that are asked for take theirs as they come.
        let known = self.shown_settings().filter(|_| self.has_settings(session));
        let known = known.map_or(0, |settings| settings.len());
        Room::new(Some(limit.saturating_sub(stay.sum::<usize>() + known)))
    }
}
