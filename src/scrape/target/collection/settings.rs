//! The settings of a server, and the room that is left for its samples.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CollectionRunner, settings_key};
use crate::catalog::SETTINGS;
use crate::postgres::{
    Mode, QueryError, RunResult, SampleBudget, ScheduledQuery, ScrapeSession, SettingsSamples,
};
use crate::scrape::settings::ScrapeSettings;
use crate::scrape::target::plan::CollectionPlan;
use crate::targets::LeftOutReason;

impl CollectionRunner {
    /// Whether the settings at hand are this session's as they are now, or none are wanted, or not
    /// to be had for now. Behind a pooler each query may meet another session.
    pub(crate) fn has_settings(&self, session: &impl ScrapeSession) -> bool {
        let due = self.settings_schedule.is_due(Instant::now(), None);
        if !self.wants_settings() || !due {
            return true;
        }
        *session.mode() != Mode::Pooled
            && self
                .settings
                .as_ref()
                .is_some_and(|(of, _)| Some(*of) == settings_key(session))
    }

    /// Keeps what was said of the settings; `None` is no answer in time.
    pub(crate) fn take_settings(
        &mut self,
        session: &impl ScrapeSession,
        answer: Option<Result<SettingsSamples, QueryError>>,
    ) {
        if let Some(answer) = &answer {
            let result = match answer {
                Ok(_) => RunResult::Success,
                Err(QueryError::Denied(_)) => RunResult::Denied,
                Err(QueryError::TooLarge(_)) => RunResult::TooMuch,
                Err(_) => RunResult::Failure,
            };
            self.settings_schedule.record(Instant::now(), result);
            self.query_log.record_settings(answer.as_ref().err());
        }
        self.settings_too_large = match &answer {
            Some(Err(QueryError::TooLarge(message))) => Some(message.clone()),
            _ => None,
        };
        let samples = answer.and_then(Result::ok).map(Arc::new);
        if let Some(samples) = &samples {
            self.query_log.note_same_settings(samples.duplicates());
        }
        self.settings = settings_key(session).zip(samples);
    }

    /// They stand in no catalogue, but are left out by name like any collector.
    pub(crate) fn wants_settings(&self) -> bool {
        !self
            .target
            .collectors
            .exclude
            .iter()
            .any(|name| name == SETTINGS)
    }

    /// The settings, unless they alone are more than the target may show.
    pub(crate) fn shown_settings(&self) -> Option<Arc<SettingsSamples>> {
        let (_, samples) = self.settings.as_ref().filter(|_| self.wants_settings())?;
        let many = self
            .target
            .sample_limit
            .is_some_and(|limit| samples.len() > limit);
        let fits = !many && samples.size() <= self.target.limits.samples;
        fits.then(|| Arc::clone(samples))
    }

    /// Why they are more.
    pub(crate) fn settings_do_not_fit(&self, all: &SettingsSamples) -> (LeftOutReason, String) {
        match self.target.sample_limit {
            Some(limit) if all.len() > limit => (
                LeftOutReason::TooManySamples,
                QueryError::TooMany.to_string(),
            ),
            _ => (
                LeftOutReason::TooLarge,
                format!(
                    "the settings take more than {} bytes as text; raise target_bytes_limit \
                     (spec.bytesLimit of a PostgresTarget)",
                    self.target.limits.samples
                ),
            ),
        }
    }

    /// What the samples that will be collected may not exceed: the limits, less what stays.
    pub(crate) fn room(
        &self,
        plan: &CollectionPlan,
        now: Instant,
        session: &impl ScrapeSession,
        settings: &ScrapeSettings,
    ) -> SampleBudget {
        let stay = plan
            .slots()
            .filter(|slot| !slot.is_due(now, settings.interval));
        // Those that are asked for take theirs as they come.
        let known = self.shown_settings().filter(|_| self.has_settings(session));
        self.room_beside(stay, known.as_deref())
    }

    /// What may come beside what these show.
    pub(crate) fn room_beside<'a>(
        &self,
        slots: impl Iterator<Item = &'a ScheduledQuery>,
        settings: Option<&SettingsSamples>,
    ) -> SampleBudget {
        let room = SampleBudget::new(self.target.sample_limit, self.target.limits, &self.memory);
        for samples in slots.filter_map(ScheduledQuery::samples) {
            room.consume(samples.samples(), samples.text());
        }
        if let Some(settings) = settings {
            room.consume(settings.len(), settings.size());
        }
        room
    }
}
