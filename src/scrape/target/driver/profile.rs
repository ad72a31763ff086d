//! A profile, step by step, between the scrapes.

use tokio::time::{Instant, sleep_until};

use super::{CANCEL, CHECK, GOODBYE, IN_FLIGHT, TargetDriver, past};
use crate::model::TargetErrorKind;
use crate::scrape::profile::{ProfileRequest, ProfileRun};
use crate::targets::TargetError;

impl TargetDriver {
    /// Begins a profile; its steps follow.
    pub(in crate::scrape) fn begin_profile(&mut self, request: ProfileRequest) {
        self.profiling = Some(ProfileRun::new(request, self.target.address.to_string()));
    }

    /// Whether a step could be taken now.
    pub(in crate::scrape) fn can_profile(&self) -> bool {
        self.profiling.is_some() && self.session.is_some()
    }

    /// Ends a profile that has no session and will have none in time.
    pub(in crate::scrape) fn end_profile_without_session(&mut self, late: bool) {
        if self.profiling.is_none() || self.session.is_some() {
            return;
        }
        let over = self.profiling.as_ref().is_some_and(ProfileRun::is_over);
        let trouble = self.known_trouble(late);
        if over || trouble.is_some() {
            let trouble = trouble.unwrap_or_else(|| self.no_answer());
            self.answer_profile(Some(trouble));
        }
    }

    /// Takes the next step of the profile that is under way.
    pub(in crate::scrape) async fn profile_step(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let Some(mut profiling) = self.profiling.take() else {
            self.session = Some(session);
            return;
        };
        if profiling.is_over() {
            profiling.answer(Some(self.no_answer()));
            self.session = Some(session);
            return;
        }
        let cancelled = self.cancelled.clone();
        let done = tokio::select! {
            done = self.collector.profile_step(&mut session, &mut profiling) => Some(done),
            () = self.context.end.clone().reached() => None,
            () = past(&cancelled, IN_FLIGHT) => None,
        };
        self.check_at = Instant::now() + CHECK;
        let Some(done) = done else {
            if let Ok(session) = session.settled(CANCEL).await {
                let _ = session.close(GOODBYE).await;
            }
            return;
        };
        if let Some(trouble) = session.trouble().cloned() {
            self.session = Some(session);
            self.lost();
            return profiling.answer(Some(trouble));
        }
        if self.collector.must_drain() {
            self.begin_drain(session, true);
            return profiling.answer(Some(self.no_answer()));
        }
        self.session = Some(session);
        match done {
            Ok(()) if !profiling.steps.is_empty() => self.profiling = Some(profiling),
            done => profiling.answer(done.err()),
        }
    }

    fn answer_profile(&mut self, trouble: Option<TargetError>) {
        if let Some(profiling) = self.profiling.take() {
            profiling.answer(trouble);
        }
    }

    fn no_answer(&self) -> TargetError {
        TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!("{}: no answer in time", self.target.address),
        }
    }
}

/// Completes at the deadline of a profile that waits for a session.
pub(in crate::scrape) async fn over(profiling: &Option<ProfileRun>) {
    match profiling {
        Some(profiling) => sleep_until(profiling.request.deadline).await,
        None => std::future::pending().await,
    }
}
