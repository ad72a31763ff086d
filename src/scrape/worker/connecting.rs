//! From no session to one that is ready, and what follows when it is lost.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{CHECK, Worker};
use crate::model::Reason;
use crate::postgres::{Mode, Session};
use crate::scrape::beside::{Attempt, in_turn};
use crate::targets::Trouble;

impl Worker {
    /// Begins to connect. Without an order that waits nobody queues for a connection: `None` then
    /// when there is none.
    pub(super) fn connect(&mut self, until: Option<Instant>) -> Option<Attempt> {
        let places = self.commons.places.clone();
        let free = places.free();
        if free.is_none() && until.is_none() {
            self.crowded = true;
            self.check_at = Instant::now() + CHECK;
            return None;
        }
        self.next_session += 1;
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let counters = Arc::clone(&self.counters);
        let (begun, began) = watch::channel(None);
        let (turns, hurry) = (self.commons.turns.clone(), Arc::new(Notify::new()));
        let told = Arc::clone(&hurry);
        let result = Box::pin(async move {
            let turn = match until {
                Some(_) => None,
                None => turns.next(&told).await,
            };
            let open = async move {
                let permits = match (free, until) {
                    (Some(permits), _) => permits,
                    (None, until) => {
                        let until = until.unwrap_or_else(Instant::now);
                        let permits = timeout_at(until, places.for_session()).await;
                        permits.ok().flatten().ok_or_else(no_connection_left)?
                    }
                };
                begun.send_replace(Some(Instant::now()));
                counters.connections.add(1);
                let database = &connector.target.database;
                Session::open(&connector, database, id, Mode::Kept, permits).await
            };
            in_turn(turn, open).await
        });
        Some(Attempt {
            result,
            hurry,
            began,
            late: false,
        })
    }

    /// Looks the new session over, so that the first scrape finds everything prepared.
    pub(super) async fn connected(&mut self, result: Result<Session, Trouble>) {
        self.check_at = Instant::now() + CHECK;
        let ready = match result {
            Ok(mut session) => {
                let deadline = Instant::now() + self.target.timeouts.connect;
                if let Some(orphan) = self.orphan.take() {
                    let alive = session.end_orphan(orphan, deadline).await;
                    self.collector.hold_walk(alive);
                }
                match self.collector.ready(&mut session, deadline).await {
                    Ok(()) => Ok(session),
                    Err(trouble) => {
                        self.settle(session, false);
                        Err(trouble)
                    }
                }
            }
            Err(trouble) => Err(trouble),
        };
        match ready {
            Ok(session) => {
                self.well(&session);
                self.session = Some(session);
            }
            Err(trouble) => self.down(trouble),
        }
    }

    pub(super) fn lost(&mut self) {
        let trouble = self
            .session
            .take()
            .and_then(|session| session.trouble().cloned());
        let trouble = trouble.unwrap_or_else(|| Trouble {
            reason: Reason::ConnectionLost,
            message: "the session ended".to_owned(),
        });
        let reason = trouble.reason;
        self.down(trouble);
        // A server that restarts is back soon, and one that is not costs one attempt.
        self.backoff.begin_again(reason);
    }
}

fn no_connection_left() -> Trouble {
    Trouble {
        reason: Reason::TooManyConnections,
        message: "max_connections of the exporter is used up; raise it".to_owned(),
    }
}
