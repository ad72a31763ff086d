//! Another session in the place of one that is old, that does not answer, or that may have reached
//! another server than its name leads to now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::connect::DownCause;
use super::{GOODBYE, TargetDriver};
use crate::jitter::random_fraction;
use crate::model::TargetErrorKind;
use crate::postgres::{LeakedBackend, Mode, ServerIdentity, Session};
use crate::scrape::target::connect_queue::{ConnectAttempt, ConnectQueue, MOMENT, in_turn};
use crate::scrape::target::identity::{OldSession, SessionChoice, TRIES};
use crate::scrape::target::silence::ServerSilence;
use crate::targets::Address;

/// A session that has no answer for so many scrapes is given up for another one.
const UNANSWERED: u32 = 2;
/// A renewal that failed is tried again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// A reload lets the sessions of all targets be renewed between these two times.
const AFTER_RELOAD: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
/// However often it is reloaded, a reload renews a session once in this time.
const RELOADS: Duration = Duration::from_secs(60);
/// An attempt that a server has not let in is left alone for this long.
const SECOND: Duration = Duration::from_secs(30);
/// How long a backend that was left behind may take to be looked for before a scrape.
const LOOK: Duration = Duration::from_secs(1);
/// How long a connection that nobody needs is waited for.
const GONE: Duration = Duration::from_secs(60);

/// A session, or an attempt to connect, that does not answer.
#[derive(Debug, Default)]
pub(in crate::scrape) struct UnansweredSession {
    /// Scrapes that got nothing for it.
    pub scrapes: u32,
    /// Where it leads.
    pub peer: Option<SocketAddr>,
    /// What serves it there.
    pub backend: Option<LeakedBackend>,
    /// The server.
    pub server: Option<ServerIdentity>,
    /// Another session reached the same server: not tried again before.
    pub again_at: Option<Instant>,
    /// How long an order waits for a renewal that is under way.
    pub renewal_until: Option<Instant>,
}

impl TargetDriver {
    /// Whether it is time for another session.
    pub(in crate::scrape) fn renewal_is_due(&self) -> bool {
        self.may_renew() && self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether there is a session that another may take the place of.
    pub(in crate::scrape) fn may_renew(&self) -> bool {
        self.session.is_some() && self.profiling.is_none() && self.keeps_session()
    }

    /// After a reload: all targets, one by one.
    pub(in crate::scrape) fn renew_after_reload(&mut self) {
        let now = Instant::now();
        let [first, last] = AFTER_RELOAD;
        let from = self.reloaded_at.map_or(now, |last| now.max(last + RELOADS));
        let at = from + first + (last - first).mul_f64(random_fraction());
        self.reloaded_at = Some(from);
        self.renew_at = Some(self.renew_at.map_or(at, |before| before.min(at)));
    }

    /// Tries again some time later.
    pub(in crate::scrape) fn renew_later(&mut self) {
        self.renew_at = Some(Instant::now() + AGAIN);
    }

    /// Begins to connect beside the session, in turn with other targets. `None` when that would be
    /// a third connection.
    pub(in crate::scrape) fn begin_renewal(&mut self) -> Option<ConnectAttempt> {
        if !self.collector.databases().is_over() {
            self.renew_at = Some(Instant::now() + MOMENT);
            return None;
        }
        if self.looks_around() {
            // To see whether the other addresses are those of another server.
            self.connector.avoid(self.peer(), false);
        }
        Some(self.attempt(Some(self.context.renewal_turns.clone()), None))
    }

    /// Whether the next renewal goes to another address of the name than the session.
    fn looks_around(&self) -> bool {
        self.connector.has_alternatives()
            && !self.identities.is_undecided()
            && !self.identities.is_ambiguous()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.session.as_ref().and_then(Session::peer)
    }

    /// All connections go to the address of the session again.
    pub(in crate::scrape) fn stay_with_session(&self) {
        if let Some(session) = &self.session {
            self.connector.prefer(session.peer());
        }
    }

    /// Whether what does not answer has had its time.
    pub(in crate::scrape) fn looks_again(&self) -> bool {
        let waits = self
            .unanswered
            .again_at
            .is_some_and(|at| Instant::now() < at);
        self.unanswered.scrapes >= UNANSWERED && self.backoff.is_over() && !waits
    }

    /// Begins to connect beside a session, or beside an attempt that began at `first`, that does
    /// not answer: to another address of the name, if it has one by now. To the same address only
    /// when that is no third connection to one server; an attempt has some time more before, for a
    /// server that hangs is not to be knocked at twice. And when the address answers again while the
    /// connections to it do not: then it is another server's.
    pub(in crate::scrape) fn connect_elsewhere(
        &mut self,
        first: Option<Instant>,
    ) -> Option<ConnectAttempt> {
        let third = !self.collector.databases().is_over();
        let early = first.is_some_and(|first| first.elapsed() < SECOND);
        let only_elsewhere = third || early;
        if only_elsewhere && matches!(self.target.address, Address::Unix { .. }) {
            self.backoff.next(TargetErrorKind::Timeout);
            return None;
        }
        self.connector.avoid(self.unanswered.peer, only_elsewhere);
        let silence = self.collector.databases().silence();
        let silent = silence.filter(|_| third).zip(self.unanswered.peer);
        Some(self.attempt(None, silent))
    }

    fn attempt(
        &mut self,
        turns: Option<ConnectQueue>,
        silent: Option<(ServerSilence, SocketAddr)>,
    ) -> ConnectAttempt {
        self.next_session += 1;
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let (counters, limiter) = (Arc::clone(&self.counters), self.context.limiter.clone());
        let (begun, began) = watch::channel(None);
        let result = Box::pin(async move {
            let turn = match turns {
                Some(turns) => turns.next(&Notify::new()).await,
                None => None,
            };
            if let Some((silence, peer)) = silent
                && silence.is_over(&connector, peer).await
            {
                connector.avoid(Some(peer), false);
            }
            let open = async move {
                let permits = limiter.free().ok_or(DownCause::NoPlace)?;
                begun.send_replace(Some(Instant::now()));
                let before = connector.dials();
                let database = &connector.target.database;
                let opened = Session::open(&connector, database, id, Mode::Kept, permits).await;
                // A name without another address led to no connection.
                if opened.is_ok() || connector.dials() != before {
                    counters.connections.add(1);
                }
                opened.map_err(DownCause::Server)
            };
            in_turn(turn, open).await
        });
        ConnectAttempt {
            result,
            hurry: Arc::new(Notify::new()),
            began,
            late: false,
        }
    }

    /// Whether an order that could be carried out has to wait for the renewal that is under way:
    /// its connection and that of a walk would be one too many. One that takes long is left to
    /// itself, and a walk waits for its end.
    pub(in crate::scrape) fn waits_for_renewal(
        &mut self,
        connecting: &mut Option<ConnectAttempt>,
    ) -> bool {
        let Some(attempt) = connecting.take() else {
            return false;
        };
        let now = Instant::now();
        let until = *self.unanswered.renewal_until.get_or_insert(now + MOMENT);
        if attempt.has_begun() && now < until {
            *connecting = Some(attempt);
            return true;
        }
        self.unanswered.renewal_until = None;
        if attempt.has_begun() {
            self.renew_later();
        }
        self.leave(attempt);
        false
    }

    /// Leaves an attempt to itself: a server that counts it sees an orderly end.
    pub(in crate::scrape) fn leave(&mut self, attempt: ConnectAttempt) {
        self.stay_with_session();
        if !attempt.has_begun() {
            return;
        }
        let end = tokio::spawn(async move {
            if let (Ok(session), _) = attempt.result.await {
                let _ = session.close(GONE).await;
            }
        });
        self.collector.databases().wait_for(end);
    }

    /// Ends a session whose state is unsure and that nobody needs, beside what comes next.
    pub(in crate::scrape) fn let_go(&mut self, session: Session) {
        let end = tokio::spawn(async move {
            if let Ok(session) = session.settled(GONE).await {
                let _ = session.close(GONE).await;
            }
        });
        self.collector.databases().wait_for(end);
    }

    /// Ends the backend of a session that was given up, if it is still there. A walk is left out
    /// meanwhile: it would be a third connection.
    pub(in crate::scrape) async fn end_leaked_backend(&mut self, session: &mut Session) {
        let server = session.facts().map(|facts| facts.identity);
        // On another server the process of that number is somebody else's.
        self.leaked = self
            .leaked
            .filter(|(_, of)| server.is_some_and(|server| server.is_same_server(of)));
        if let Some((leaked, _)) = self.leaked {
            let alive = session
                .end_leaked_backend(leaked, Instant::now() + LOOK)
                .await;
            self.collector.hold_walk(alive);
            if !alive {
                self.leaked = None;
            }
        }
    }

    /// What becomes of a new session, by the server that it has reached. `None`: it was closed.
    pub(in crate::scrape) async fn choose_session(&mut self, session: Session) -> Option<Session> {
        let identity = session.facts().map(|facts| facts.identity)?;
        let old = match (&self.session, &self.draining) {
            (Some(_), _) => OldSession::Alive,
            (None, Some(_)) => OldSession::Hung,
            (None, None) => OldSession::Gone,
        };
        let before = self.identities.shown().copied();
        self.identities.record(identity);
        let choice = self.identities.choose(identity, old);
        self.tell_ambiguity();
        self.stay_with_session();
        match choice {
            SessionChoice::Adopt => {
                self.note_server(before, identity);
                return Some(session);
            }
            SessionChoice::TryAgain => self.renew_at = Some(Instant::now()),
            SessionChoice::KeepOld => self.plan_renewal(),
        }
        if let Err(end) = session.close(GOODBYE).await {
            self.collector.databases().wait_for(end);
        }
        None
    }

    fn note_server(&self, before: Option<ServerIdentity>, now: ServerIdentity) {
        match before {
            Some(before) if !before.is_same_server(&now) => info!(
                server = %self.target.name,
                "{} leads to another server: {now}; before it was: {before}",
                self.target.address
            ),
            _ => debug!(server = %self.target.name, "session with the server: {now}"),
        }
    }

    /// A session that does not answer is waited for no longer, when the new one has reached another
    /// server. On the same server it is still waited for, as long as its query may take there:
    /// returns false then, and the new session is not needed.
    /// One on the same server, which answers again, has a moment to end in order.
    pub(in crate::scrape) async fn give_up_settling(&mut self, session: &Session) -> bool {
        let Some((keep, mut draining)) = self.draining.take() else {
            return true;
        };
        let server = session.facts().map(|facts| facts.identity);
        let same = self
            .unanswered
            .server
            .zip(server)
            .is_some_and(|(one, other)| one.is_same_server(&other));
        if same {
            match timeout(MOMENT, &mut draining).await {
                Ok(Ok(old)) => {
                    if let Err(end) = old.close(GOODBYE).await {
                        self.collector.databases().wait_for(end);
                    }
                }
                Ok(Err(_)) => {
                    self.leaked = self.unanswered.backend.zip(self.unanswered.server);
                }
                Err(_) => {
                    self.draining = Some((keep, draining));
                    self.unanswered.again_at = Some(Instant::now() + SECOND);
                    return false;
                }
            }
        }
        self.draining_since = None;
        self.collector.settled();
        true
    }

    /// A new session takes the place of the one before it.
    pub(in crate::scrape) async fn take_place(&mut self, session: &Session) {
        self.connector.prefer(session.peer());
        self.plan_renewal();
        if self.connector.has_alternatives() && !std::mem::replace(&mut self.looked_around, true) {
            // Whether they lead to one server is known early.
            let soon = Instant::now() + AFTER_RELOAD[0];
            self.renew_at = Some(self.renew_at.map_or(soon, |at| at.min(soon)));
        }
        self.unanswered = UnansweredSession::default();
        self.collector.databases().close_kept();
        if let Some(old) = self.session.take()
            && let Err(end) = old.close(GOODBYE).await
        {
            self.collector.databases().wait_for(end);
        }
    }

    /// The session lives from three quarters of `session_max_age` to all of it, so that those of
    /// targets that began together are not renewed together.
    fn plan_renewal(&mut self) {
        let age = self.context.settings.borrow().session_max_age;
        let at =
            (!age.is_zero()).then(|| Instant::now() + age.mul_f64(0.75 + random_fraction() / 4.0));
        // One that a reload asked for, and that is still to come, stays.
        let asked = self.renew_at.filter(|asked| *asked > Instant::now());
        self.renew_at = match (at, asked) {
            (Some(at), Some(asked)) => Some(at.min(asked)),
            (at, asked) => at.or(asked),
        };
    }

    /// After a collection: where the connections of its walk have led.
    pub(in crate::scrape) fn record_reached(&mut self, session: &Session) {
        let reached = self.collector.databases().take_reached();
        let Some(own) = session.facts().map(|facts| facts.identity) else {
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
        self.tell_ambiguity();
        if elsewhere && !self.identities.is_ambiguous() {
            // The name may have been moved.
            self.renew_at = Some(Instant::now());
        }
    }

    /// Tells, when it is not as it was, that the name leads to different servers in turn.
    fn tell_ambiguity(&mut self) {
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
