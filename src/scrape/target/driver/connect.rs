//! From no session to one that is ready, and what follows when it is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::debug;

use super::{CHECK, GOODBYE, TargetDriver};
use crate::model::TargetErrorKind;
use crate::postgres::{Mode, Session};
use crate::scrape::single_flight::SharedDeadline;
use crate::scrape::target::connect_queue::{ConnectAttempt, in_turn};
use crate::targets::TargetError;

/// A server that has two connections and answers over none is looked for this often, at first.
const PAUSE: Duration = Duration::from_secs(2);
/// For so long: each time it may have one connection more to take and to end once it goes on.
const OFTEN: Duration = Duration::from_secs(60);

impl TargetDriver {
    /// Begins to connect. Without an order that waits nobody queues for a connection: `None` then
    /// when there is none.
    pub(in crate::scrape) fn connect(
        &mut self,
        until: Option<SharedDeadline>,
    ) -> Option<ConnectAttempt> {
        let limiter = self.context.limiter.clone();
        let free = limiter.free();
        if free.is_none() && until.is_none() {
            self.crowded = true;
            self.check_at = Instant::now() + CHECK;
            return None;
        }
        self.unanswered.scrapes = 0;
        self.connector.allow_avoided();
        self.next_session += 1;
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let counters = Arc::clone(&self.counters);
        let (begun, began) = watch::channel(None);
        let (turns, hurry) = (self.context.turns.clone(), Arc::new(Notify::new()));
        let told = Arc::clone(&hurry);
        let result = Box::pin(async move {
            let turn = match &until {
                Some(_) => None,
                None => turns.next(&told).await,
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
        Some(ConnectAttempt {
            result,
            hurry,
            began,
            late: false,
        })
    }

    /// Looks the new session over, so that the first scrape finds everything prepared.
    pub(in crate::scrape) async fn connected(&mut self, result: Result<Session, DownCause>) {
        self.check_at = Instant::now() + CHECK;
        let beside = self.session.is_some() || self.draining.is_some();
        let mut session = match result {
            Ok(session) => session,
            Err(cause) if beside => return self.not_renewed(&cause),
            Err(cause) => return self.mark_down(cause),
        };
        let deadline = Instant::now() + self.target.timeouts.connect;
        if let Err(trouble) = session.ask_server_info(false, deadline).await.map(|_| ()) {
            if beside {
                self.let_go(session);
                return self.not_renewed(&trouble.into());
            }
            self.begin_drain(session, false);
            return self.mark_down(trouble);
        }
        let before = self.identities.shown().copied();
        let Some(mut session) = self.choose_session(session).await else {
            return;
        };
        if !self.give_up_settling(&session).await {
            if let Err(end) = session.close(GOODBYE).await {
                self.collector.databases().wait_for(end);
            }
            return;
        }
        self.end_leaked_backend(&mut session).await;
        match self.collector.ready(&mut session, deadline).await {
            Ok(()) => {
                self.take_place(&session).await;
                let now = self.identities.shown();
                if before
                    .zip(now)
                    .is_some_and(|(one, other)| !one.is_same_server(other))
                {
                    self.collector.databases().forget_silent();
                }
                self.floods.connected();
                self.mark_up(&session);
                self.used = 0;
                self.session = Some(session);
            }
            Err(trouble) if self.session.is_some() => {
                self.let_go(session);
                self.not_renewed(&trouble.into());
            }
            Err(trouble) => {
                self.begin_drain(session, false);
                self.mark_down(trouble);
            }
        }
    }

    /// There is no session beside the one that was to be renewed, or that does not answer.
    fn not_renewed(&mut self, cause: &DownCause) {
        debug!(server = %self.target.name, "the session was not renewed: {}", cause.message());
        if self.session.is_some() {
            self.stay_with_session();
            self.renew_later();
        } else if !self.collector.databases().is_over()
            && self
                .draining_since
                .is_some_and(|since| since.elapsed() < OFTEN)
        {
            self.backoff.hold(PAUSE);
        } else {
            self.backoff.next(cause.reason());
        }
    }

    /// The server ended a session between two scrapes, as it may with those that are idle. It is
    /// down only if there is no other to be had.
    pub(in crate::scrape) fn ended_idle(&mut self) {
        let trouble = self.session.as_ref().and_then(Session::trouble);
        if trouble.is_some_and(|trouble| trouble.kind == TargetErrorKind::UnrequestedData) {
            // We ended it, and the next one would be flooded at once.
            return self.lost();
        }
        let session = self.session.take();
        if let Some(trouble) = session.as_ref().and_then(Session::trouble) {
            self.note_ended(trouble);
        }
        // One after the other would end so, with nobody the wiser.
        self.on_demand |= self.used == 0;
        self.backoff.begin_again(TargetErrorKind::NotReady);
    }

    pub(in crate::scrape) fn lost(&mut self) {
        let trouble = self
            .session
            .take()
            .and_then(|session| session.trouble().cloned());
        let trouble = trouble.unwrap_or_else(|| TargetError {
            kind: TargetErrorKind::ConnectionLost,
            message: "the session ended".to_owned(),
        });
        let pause =
            (trouble.kind == TargetErrorKind::UnrequestedData).then(|| self.floods.flooded());
        let reason = trouble.kind;
        self.mark_down(trouble);
        match pause {
            // It would be let in, and flooded again.
            Some(pause) => self.backoff.hold(pause),
            // A server that restarts is back soon, and one that is not costs one attempt.
            None => self.backoff.begin_again(reason),
        }
    }
}

/// Why a target has no session.
#[derive(Clone, Debug)]
pub(in crate::scrape) enum DownCause {
    /// All connections of the exporter are in use. Nothing is wrong with the server, and that
    /// connections are short is logged for all servers together.
    NoPlace,
    /// The server, or the way to it.
    Server(TargetError),
}

impl DownCause {
    pub(in crate::scrape) fn reason(&self) -> TargetErrorKind {
        match self {
            DownCause::NoPlace => TargetErrorKind::TooManyConnections,
            DownCause::Server(trouble) => trouble.kind,
        }
    }

    pub(in crate::scrape) fn message(&self) -> &str {
        match self {
            DownCause::NoPlace => "max_connections of the exporter is used up; raise it",
            DownCause::Server(trouble) => &trouble.message,
        }
    }

    pub(in crate::scrape) fn is_no_place(&self) -> bool {
        matches!(self, DownCause::NoPlace)
    }

    pub(in crate::scrape) fn to_trouble(&self) -> TargetError {
        TargetError {
            kind: self.reason(),
            message: self.message().to_owned(),
        }
    }
}

impl From<TargetError> for DownCause {
    fn from(trouble: TargetError) -> Self {
        DownCause::Server(trouble)
    }
}
