//! From no session to one that is looked over: attempts to connect, first, second and elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::TargetDriver;
use crate::postgres::{Mode, Session};
use crate::scrape::single_flight::SharedDeadline;
use crate::scrape::target::attempt::{ConnectAttempt, no_session};
use crate::scrape::target::connect_queue::{ConnectQueue, in_turn};
use crate::scrape::target::event::{AttemptSlot, DownCause, MOMENT, TargetEvent};
use crate::scrape::target::silence::ServerSilence;
use crate::targets::Address;

/// An attempt that a server has not let in is left alone for this long.
pub(super) const SECOND: Duration = Duration::from_secs(30);

impl TargetDriver {
    /// Begins to connect. Where nobody waits, nobody queues for a connection.
    pub(super) fn connect(&mut self) {
        let waits = self.request.as_ref().map(|one| one.deadline().clone());
        let profiled = self.profiling.as_ref().map(|one| one.request.deadline);
        let until = waits.or(profiled.map(SharedDeadline::fixed));
        let limiter = self.context.limiter.clone();
        let free = limiter.free();
        if free.is_none() && until.is_none() {
            return self.handle(TargetEvent::NoPlace);
        }
        self.connector.allow_avoided();
        self.next_session += 1;
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let counters = Arc::clone(&self.counters);
        let (begun, began) = watch::channel(None);
        let (turns, hurry) = (self.context.turns.clone(), Arc::new(Notify::new()));
        let hurried = Arc::clone(&hurry);
        let result = Box::pin(async move {
            let turn = match &until {
                Some(_) => None,
                None => turns.next(&hurried).await,
            };
            let open = async move {
                let permits = match (free, until) {
                    (Some(permits), _) => permits,
                    (None, until) => {
                        let until = until.unwrap_or_else(|| SharedDeadline::fixed(Instant::now()));
                        let permits = tokio::select! {
                            permits = limiter.for_session() => permits,
                            () = until.passed() => None,
                        };
                        permits.ok_or(DownCause::NoPlace)?
                    }
                };
                begun.send_replace(Some(Instant::now()));
                counters.connections.add(1);
                let database = &connector.target.database;
                let opened = Session::open(&connector, database, id, Mode::Kept, permits).await;
                opened.map_err(DownCause::Server)
            };
            in_turn(turn, open).await
        });
        let guard = Arc::clone(&self.ended);
        self.first = Some(ConnectAttempt::new(result, hurry, began, guard));
        self.handle(TargetEvent::AttemptStarted(AttemptSlot::First));
    }

    /// Begins to connect beside the session, in turn with other targets, unless that would be a
    /// third connection.
    pub(super) fn begin_renewal(&mut self) {
        if !self.collector.databases().is_over() {
            return self.handle(TargetEvent::RenewAt(Instant::now() + MOMENT));
        }
        let looks_around = self.connector.has_alternatives()
            && !self.identities.is_undecided()
            && !self.identities.is_ambiguous();
        if looks_around {
            // To see whether the other addresses are those of another server.
            let peer = self.session.get().and_then(Session::peer);
            self.connector.avoid(peer, false);
        }
        let turns = Some(self.context.renewal_turns.clone());
        self.first = Some(self.connect_beside(turns, None));
        self.handle(TargetEvent::AttemptStarted(AttemptSlot::First));
    }

    /// Begins to connect beside a session, or beside an attempt that began at `first`, that does
    /// not answer: to another address of the name, if it has one by now. To the same address only
    /// when that is no third connection to one server; an attempt has some time more before, for a
    /// server that hangs is not to be knocked at twice. And when the address answers again while the
    /// connections to it do not: then it is another server's.
    pub(super) fn connect_elsewhere(&mut self, slot: AttemptSlot, first: Option<Instant>) {
        let third = !self.collector.databases().is_over();
        let early = first.is_some_and(|first| first.elapsed() < SECOND);
        let only_elsewhere = third || early;
        if only_elsewhere && matches!(self.target.address, Address::Unix { .. }) {
            return self.handle(TargetEvent::NoOtherWay);
        }
        self.connector.avoid(self.silent.peer, only_elsewhere);
        let silence = self.collector.databases().silence();
        let silent = silence.filter(|_| third).zip(self.silent.peer);
        let attempt = Some(self.connect_beside(None, silent));
        match slot {
            AttemptSlot::First => self.first = attempt,
            AttemptSlot::Second => self.second = attempt,
        }
        self.handle(TargetEvent::AttemptStarted(slot));
    }

    fn connect_beside(
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
        let guard = Arc::clone(&self.ended);
        ConnectAttempt::new(result, Arc::new(Notify::new()), began, guard)
    }

    /// An attempt has come to its end. Where there was a second one, that goes on if this failed.
    pub(super) async fn finish_attempt(
        &mut self,
        slot: AttemptSlot,
        result: Result<Session, DownCause>,
    ) {
        let other = match slot {
            AttemptSlot::First => {
                self.first = self.second.take();
                self.first.is_some()
            }
            AttemptSlot::Second => {
                self.second = None;
                self.first.is_some()
            }
        };
        match result {
            Ok(session) => {
                if let Some(attempt) = self.first.take().filter(|_| other) {
                    self.leave(attempt);
                }
                self.handle(TargetEvent::Connected);
                self.look_over(session).await;
            }
            Err(cause) => {
                let cause = self.redact_cause(cause);
                if slot == AttemptSlot::First {
                    self.record_failure(&cause);
                }
                let abandoned = !self.collector.databases().is_over();
                self.handle(TargetEvent::ConnectFailed(slot, cause, abandoned));
            }
        }
    }

    /// An attempt takes longer than it may.
    pub(super) fn note_late(&mut self, slot: AttemptSlot) {
        let cause = DownCause::Server(no_session(&self.target));
        if slot == AttemptSlot::First && !self.session.is_some() {
            self.silent.peer = self.connector.dialed();
            self.show_down(&cause);
        }
        self.handle(TargetEvent::AttemptLate(slot, cause));
    }

    /// Leaves an attempt to itself; a walk through the other databases waits for its end.
    pub(super) fn leave(&mut self, attempt: ConnectAttempt) {
        self.stay_with_session();
        if let Some(end) = attempt.leave() {
            self.collector.databases().wait_for(end);
        }
    }

    /// An attempt failed: where there is no session beside it, the target is down.
    fn record_failure(&mut self, cause: &DownCause) {
        match self.session.is_some() || self.draining.is_some() {
            true => self.note_not_renewed(cause),
            false => self.show_down(cause),
        }
    }
}
