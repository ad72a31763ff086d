//! A profile, step by step, between the scrapes.

use super::{IN_FLIGHT, TargetDriver, past};
use crate::model::TargetErrorKind;
use crate::postgres::Session;
use crate::scrape::target::event::TargetEvent;
use crate::targets::TargetError;

impl TargetDriver {
    /// Takes the next step of the profile that is under way.
    pub(super) async fn take_profile_step(&mut self) {
        let Some(mut profiling) = self.profiling.take() else {
            return self.handle(TargetEvent::ProfileEnded);
        };
        if profiling.is_over() {
            profiling.answer(Some(self.no_answer()));
            return self.handle(TargetEvent::ProfileEnded);
        }
        let Some(session) = self.session.get_mut() else {
            self.profiling = Some(profiling);
            return self.handle(TargetEvent::Closed);
        };
        let cancelled = self.cancelled.clone();
        let done = tokio::select! {
            done = self.collector.profile_step(session, &mut profiling) => Some(done),
            () = self.context.end.clone().reached() => None,
            () = past(&cancelled, IN_FLIGHT) => None,
        };
        let Some(done) = done else {
            self.handle(TargetEvent::ProfileEnded);
            return self.stop_session().await;
        };
        self.handle(TargetEvent::Returned);
        let ended = self.session.get().and_then(Session::trouble).cloned();
        let trouble = match ended {
            Some(ended) => {
                self.session.take_session();
                self.mark_lost(ended.clone());
                Some(ended)
            }
            None if self.collector.must_drain() => {
                if let Some(session) = self.session.take_session() {
                    self.drain(session, true);
                }
                Some(self.no_answer())
            }
            None if done.is_ok() && !profiling.steps.is_empty() => {
                self.profiling = Some(profiling);
                return;
            }
            None => done.err(),
        };
        profiling.answer(trouble.map(|error| self.target.redact_error(error)));
        self.handle(TargetEvent::ProfileEnded);
    }

    /// Answers a profile that has no session, and will have none in time.
    pub(super) fn answer_profile(&mut self, trouble: Option<TargetError>) {
        if let Some(profiling) = self.profiling.take() {
            let trouble = trouble.unwrap_or_else(|| self.no_answer());
            profiling.answer(Some(trouble));
        }
    }

    fn no_answer(&self) -> TargetError {
        TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!("{}: no answer in time", self.target.address),
        }
    }
}
