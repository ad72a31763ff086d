//! A request is answered: by a collection, by what is known already, or by nobody.

use std::time::Duration;

use tokio::time::Instant;

use super::{IN_FLIGHT, TargetDriver, past};
use crate::model::TargetErrorKind;
use crate::postgres::Session;
use crate::scrape::target::event::{AfterCollection, CollectionEnd, TargetEvent};
use crate::scrape::target::session_guard::end_session;
use crate::targets::TargetError;

/// How long a server may take to say that it is there.
const CHECKED: Duration = Duration::from_secs(3);

impl TargetDriver {
    /// Collects, and answers the request. Returns whether the task goes on: a collection that runs
    /// when it is to end has a while.
    pub(super) async fn collect(&mut self, replacements: u32) -> bool {
        let started = Instant::now();
        self.end_leaked_before_collection().await;
        let (Some(session), Some(request)) = (self.session.get_mut(), self.request.as_ref()) else {
            self.handle(TargetEvent::Closed);
            return true;
        };
        let cancelled = self.cancelled.clone();
        let collected = tokio::select! {
            collected = Box::pin(self.collector.collect(session, request)) => collected,
            () = self.context.end.clone().reached() => {
                self.stop_session().await;
                self.request = None;
                return true;
            }
            () = past(&cancelled, IN_FLIGHT) => {
                // In-flight scrapes finish, within what the edge grants them.
                self.stop_session().await;
                return false;
            }
        };
        // A server may repeat a secret in what it says: it goes no further than this.
        let redact = |error: Option<&TargetError>| {
            error.map(|error| self.target.redact_error(error.clone()))
        };
        let end = CollectionEnd {
            replacements,
            trouble: redact(collected.trouble.as_ref()),
            ended: redact(self.session.get().and_then(Session::trouble)),
            must_drain: self.collector.must_drain(),
        };
        self.record_reached();
        let (trouble, ended) = (end.trouble.clone(), end.ended.clone());
        let view = self.view();
        let after = self.machine.record_collection(end, Instant::now(), &view);
        if after == AfterCollection::Replace {
            self.session.take_session();
            if let Some(ended) = ended {
                self.log_end(&ended);
            }
            return true;
        }
        let mut collected = collected;
        collected.duration = started.elapsed();
        self.show_collection(&collected);
        if let Some(request) = self.request.take() {
            if let Some(trouble) = &trouble {
                self.counters.fail(trouble.kind);
            } else if request.was_missed() {
                // It came too late for all who waited.
                self.counters.fail(TargetErrorKind::Timeout);
            }
            request.answer(collected);
        }
        match after {
            AfterCollection::Replace | AfterCollection::Keep => {}
            AfterCollection::Lost => {
                self.session.take_session();
                if let Some(ended) = ended {
                    self.show_down(&ended.into());
                }
            }
            AfterCollection::Drain => {
                if let Some(session) = self.session.take_session() {
                    self.drain(session, true);
                }
            }
            AfterCollection::Close => self.close_unkept().await,
        }
        self.log_notices();
        true
    }

    /// The query is cancelled, so that the server sees an orderly end.
    pub(super) async fn stop_session(&mut self) {
        if let Some(session) = self.session.take_session() {
            end_session(session).await;
        }
        self.handle(TargetEvent::Closed);
    }

    /// Ends a session that is not to be kept.
    pub(super) async fn close_unkept(&mut self) {
        if let Some(session) = self.session.take_session() {
            self.close_for_good(session).await;
        }
        self.handle(TargetEvent::Closed);
    }

    /// Asks a server that nobody has scraped for a while how it is.
    pub(super) async fn check(&mut self) {
        let Some(mut session) = self.session.take_session() else {
            return self.handle(TargetEvent::Closed);
        };
        let deadline = Instant::now() + CHECKED.min(self.target.timeouts.connect);
        let asked = session.ask_server_info(false, deadline).await.map(|_| ());
        match asked {
            Ok(()) => {
                self.show_up(&session);
                self.session.replace(session);
                self.handle(TargetEvent::Checked);
            }
            Err(_) if session.trouble().is_some() => {
                self.session.replace(session);
                self.note_idle_end();
            }
            Err(trouble) => {
                self.drain(session, true);
                self.mark_down(trouble);
            }
        }
    }

    /// Answers the request with what is known already.
    pub(super) fn refuse_request(&mut self, trouble: TargetError) {
        let Some(request) = self.request.take() else {
            return;
        };
        let trouble = self.target.redact_error(trouble);
        self.counters.fail(trouble.kind);
        self.show_trouble(&trouble);
        request.answer(self.collector.nothing(trouble));
    }

    /// Nobody waits any more, and whoever waited had nothing.
    pub(super) fn expire_request(&mut self, trouble: Option<TargetError>) {
        let trouble = trouble.unwrap_or_else(|| TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!(
                "{}: no answer before the scrape's deadline",
                self.target.address
            ),
        });
        self.refuse_request(trouble);
    }
}
