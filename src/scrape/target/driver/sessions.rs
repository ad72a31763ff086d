//! What becomes of a session: a new one is looked over and chosen by the server that it has
//! reached, one that does not answer is drained, one that ends is replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::attempts::SECOND;
use super::{GOODBYE, SilentSession, TargetDriver};
use crate::model::TargetErrorKind;
use crate::postgres::{ServerIdentity, Session};
use crate::scrape::target::attempt::{DrainResult, Draining};
use crate::scrape::target::event::{AttemptSlot, DownCause, MOMENT, TargetEvent};
use crate::scrape::target::identity::{OldSession, SessionChoice, TRIES};
use crate::targets::TargetError;

/// How long a backend that was left behind may take to be looked for before a scrape.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection that nobody needs is waited for.
const GONE: Duration = Duration::from_secs(60);

impl TargetDriver {
    /// Looks a new session over, so that the first scrape finds everything prepared.
    pub(super) async fn look_over(&mut self, mut session: Session) {
        let deadline = Instant::now() + self.target.timeouts.connect;
        if let Err(trouble) = session.ask_server_info(false, deadline).await.map(|_| ()) {
            return self.refuse_session(session, trouble);
        }
        let before = self.identities.shown().copied();
        let Some(mut session) = self.choose_session(session).await else {
            return;
        };
        if !self.give_up_draining(&session).await {
            return self.close_beside(session).await;
        }
        self.end_leaked_backend(&mut session).await;
        if let Err(trouble) = self.collector.ready(&mut session, deadline).await {
            return self.refuse_session(session, trouble);
        }
        self.adopt(session).await;
        let now = self.identities.shown();
        if before
            .zip(now)
            .is_some_and(|(one, other)| !one.is_same_server(other))
        {
            self.collector.databases().forget_silent();
        }
    }

    /// A new session is of no use.
    fn refuse_session(&mut self, session: Session, trouble: TargetError) {
        if self.session.is_some() || self.draining.is_some() {
            self.let_go(session);
            let cause = self.redact_cause(DownCause::Server(trouble));
            self.note_not_renewed(&cause);
            let abandoned = !self.collector.databases().is_over();
            return self.handle(TargetEvent::NotRenewed(cause, abandoned));
        }
        self.drain(session, false);
        self.mark_down(trouble);
    }

    pub(super) fn note_not_renewed(&mut self, cause: &DownCause) {
        debug!(server = %self.target.name, "the session was not renewed: {}", cause.message());
        self.stay_with_session();
    }

    /// All connections go to the address of the session again.
    pub(super) fn stay_with_session(&self) {
        if let Some(session) = self.session.get() {
            self.connector.prefer(session.peer());
        }
    }

    /// A new session takes the place of the one before it.
    async fn adopt(&mut self, session: Session) {
        self.connector.prefer(session.peer());
        let look_around =
            self.connector.has_alternatives() && !std::mem::replace(&mut self.looked_around, true);
        self.silent = SilentSession::default();
        self.collector.databases().close_kept();
        if let Some(old) = self.session.take_session() {
            self.close_beside(old).await;
        }
        self.show_up(&session);
        self.session.replace(session);
        let max_age = self.context.settings.borrow().session_max_age;
        self.handle(TargetEvent::Ready {
            max_age,
            look_around,
        });
    }

    /// Closes a session; a walk through the other databases waits for its end.
    async fn close_beside(&mut self, session: Session) {
        if let Err(end) = session.close(GOODBYE).await {
            self.collector.databases().wait_for(end);
        }
    }

    /// Ends a session whose state is unsure and that nobody needs, beside what comes next.
    fn let_go(&mut self, session: Session) {
        let end = tokio::spawn(async move {
            if let Ok(session) = session.settled(GONE).await {
                let _ = session.close(GONE).await;
            }
        });
        self.collector.databases().wait_for(end);
    }

    /// Waits, beside what comes, until the server has answered all it was asked. A server that
    /// does not answer is waited for instead of connected to again: that would be one connection
    /// more for as long as it sleeps.
    pub(super) fn drain(&mut self, session: Session, keep: bool) {
        let limit = (self.target.timeouts.query * 2).max(Duration::from_secs(60));
        self.silent = SilentSession {
            peer: session.peer(),
            backend: session.backend(),
            server: session.facts().map(|facts| facts.identity),
        };
        let guard = Arc::clone(&self.ended);
        self.draining = Some(Draining::new(session, keep, limit, guard));
        self.handle(TargetEvent::DrainBegan { keep });
    }

    /// A session has answered all it was asked, or was given up.
    pub(super) async fn finish_drain(&mut self, result: DrainResult) {
        // One that only asks yet whether the server answers is not needed.
        if let Some(attempt) = self.first.take_if(|attempt| attempt.began().is_none()) {
            attempt.abandon();
            self.handle(TargetEvent::AttemptGone(AttemptSlot::First));
        }
        let keep = self.draining.take().is_some_and(|draining| draining.keep);
        match result {
            Ok(session) if keep => {
                self.collector.note_drained();
                self.connector.prefer(session.peer());
                self.handle(TargetEvent::Drained);
                match self.machine.has_session() {
                    true => drop(self.session.replace(session)),
                    false => self.close_for_good(session).await,
                }
            }
            Ok(session) => {
                let _ = session.close(GOODBYE).await;
                self.handle(TargetEvent::Closed);
            }
            Err((leaked, trouble)) => {
                self.leaked = leaked.zip(self.silent.server);
                self.handle(TargetEvent::Closed);
                self.mark_down(trouble);
            }
        }
    }

    /// Ends a session that is not kept, and those of other databases.
    pub(super) async fn close_for_good(&mut self, session: Session) {
        let _ = session.close(GOODBYE).await;
        self.collector.close().await;
    }

    /// A session that does not answer is waited for no longer, when the new one has reached another
    /// server. On the same server it is still waited for, as long as its query may take there:
    /// returns false then, and the new session is not needed.
    /// One on the same server, which answers again, has a moment to end in order.
    async fn give_up_draining(&mut self, session: &Session) -> bool {
        let Some(mut draining) = self.draining.take() else {
            return true;
        };
        let server = session.facts().map(|facts| facts.identity);
        let same = self
            .silent
            .server
            .zip(server)
            .is_some_and(|(one, other)| one.is_same_server(&other));
        if same {
            match timeout(MOMENT, draining.ended()).await {
                Ok(Ok(old)) => self.close_beside(old).await,
                Ok(Err(_)) => self.leaked = self.silent.backend.zip(self.silent.server),
                Err(_) => {
                    self.draining = Some(draining);
                    let again_at = Instant::now() + SECOND;
                    self.handle(TargetEvent::DrainGoesOn { again_at });
                    return false;
                }
            }
        } else {
            draining.abandon();
        }
        self.handle(TargetEvent::Closed);
        self.collector.note_drained();
        true
    }

    /// Ends the backend of a session that was given up, if it is still there. A walk is left out
    /// meanwhile: it would be a third connection.
    async fn end_leaked_backend(&mut self, session: &mut Session) {
        let server = session.facts().map(|facts| facts.identity);
        // On another server the process of that number is somebody else's.
        self.leaked = self
            .leaked
            .filter(|(_, of)| server.is_some_and(|server| server.is_same_server(of)));
        if let Some((leaked, _)) = self.leaked {
            let until = Instant::now() + LOOK;
            let alive = session.end_leaked_backend(leaked, until).await;
            self.collector.hold_walk(alive);
            if !alive {
                self.leaked = None;
            }
        }
    }

    /// The same with the target's own session.
    pub(super) async fn end_leaked_before_collection(&mut self) {
        if self.leaked.is_some()
            && let Some(mut session) = self.session.take_session()
        {
            self.end_leaked_backend(&mut session).await;
            self.session.replace(session);
        }
    }

    /// What becomes of a new session, by the server that it has reached. `None`: it was closed.
    async fn choose_session(&mut self, session: Session) -> Option<Session> {
        let identity = session.facts().map(|facts| facts.identity)?;
        let old = match (self.session.is_some(), self.draining.is_some()) {
            (true, _) => OldSession::Alive,
            (false, true) => OldSession::Hung,
            (false, false) => OldSession::Gone,
        };
        let before = self.identities.shown().copied();
        self.identities.record(identity);
        let choice = self.identities.choose(identity, old);
        self.log_ambiguity();
        self.stay_with_session();
        if choice == SessionChoice::Adopt {
            self.log_server(before, identity);
            return Some(session);
        }
        let max_age = self.context.settings.borrow().session_max_age;
        self.handle(TargetEvent::SessionKept {
            max_age,
            try_again: choice == SessionChoice::TryAgain,
        });
        self.close_beside(session).await;
        None
    }

    fn log_server(&self, before: Option<ServerIdentity>, now: ServerIdentity) {
        match before {
            Some(before) if !before.is_same_server(&now) => info!(
                server = %self.target.name,
                "{} leads to another server: {now}; before it was: {before}",
                self.target.address
            ),
            _ => debug!(server = %self.target.name, "session with the server: {now}"),
        }
    }

    /// The server ended a session between two scrapes, as it may with those that are idle. It is
    /// down only if there is no other to be had.
    pub(super) fn note_idle_end(&mut self) {
        let Some(session) = self.session.take_session() else {
            return;
        };
        let ended = session.trouble().cloned().unwrap_or_else(session_ended);
        let ended = self.target.redact_error(ended);
        if ended.kind == TargetErrorKind::UnrequestedData {
            // We ended it, and the next one would be flooded at once.
            return self.mark_lost(ended);
        }
        self.log_end(&ended);
        self.handle(TargetEvent::EndedIdle);
    }

    /// The session ended in use.
    pub(super) fn mark_lost(&mut self, ended: TargetError) {
        let cause = self.redact_cause(DownCause::Server(ended));
        self.show_down(&cause);
        self.handle(TargetEvent::Lost(cause));
    }

    /// There is no session, and this is why.
    pub(super) fn mark_down(&mut self, trouble: TargetError) {
        let cause = self.redact_cause(DownCause::Server(trouble));
        self.show_down(&cause);
        self.handle(TargetEvent::Down(cause));
    }

    /// After a collection: where the connections of its walk have led.
    pub(super) fn record_reached(&mut self) {
        let reached = self.collector.databases().take_reached();
        let facts = self.session.get().and_then(Session::facts);
        let Some(own) = facts.map(|facts| facts.identity) else {
            return;
        };
        if self
            .identities
            .shown()
            .is_some_and(|shown| !shown.is_same_server(&own))
        {
            self.identities.follow_pooler(own);
        }
        let mut elsewhere = false;
        for started in reached {
            let other = ServerIdentity {
                started,
                ..ServerIdentity::default()
            };
            let same = own.is_same_server(&other);
            self.identities.record(if same { own } else { other });
            elsewhere |= !same;
        }
        self.log_ambiguity();
        if elsewhere && !self.identities.is_ambiguous() {
            // The name may have been moved.
            self.handle(TargetEvent::RenewAt(Instant::now()));
        }
    }

    /// Logs, when it is not as it was, that the name leads to different servers in turn.
    fn log_ambiguity(&mut self) {
        let ambiguous = self.identities.other().map(|other| {
            let shown = self.identities.shown().copied().unwrap_or_default();
            format!(
                "{} leads to different servers in turn, and one of them is shown ({shown}), not \
                 the other ({other}); make a target for each server, by a name or address of its \
                 own",
                self.target.address
            )
        });
        let tries = if ambiguous.is_some() { TRIES } else { 1 };
        self.collector.set_walk_tries(tries);
        match (&self.ambiguous, &ambiguous) {
            (None, Some(message)) => warn!(server = %self.target.name, "ambiguous: {message}"),
            (Some(_), None) => info!(
                server = %self.target.name,
                "{} leads to one server again", self.target.address
            ),
            _ => {}
        }
        if self.ambiguous != ambiguous {
            self.ambiguous.clone_from(&ambiguous);
            self.health.update(|health| health.ambiguous = ambiguous);
        }
    }
}

/// What is said of a session that ended without a word.
pub(super) fn session_ended() -> TargetError {
    TargetError {
        kind: TargetErrorKind::ConnectionLost,
        message: "the session ended".to_owned(),
    }
}
