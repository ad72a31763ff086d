//! A visit to one other database: the connection, what runs over it, and its end.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::leftover::Opening;
use super::{Errand, GONE, GONE_FROM_POOLER, Leftover, Stopwatch, Walker, is_due};
use crate::model::TargetErrorKind;
use crate::postgres::{Mode, PipelineRequest, QueryError, QueryOutcome, ScheduledQuery, Session};
use crate::scrape::ledger::Ledger;
use crate::scrape::silence::ServerSilence;
use crate::targets::{DatabaseProblem, MissingDatabase, TargetError};

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It answered, all of it or in part.
    Answered,
    /// This database could not be asked; another one may be.
    Failed,
    /// The server cannot be reached: no other database can be asked either.
    ServerFailed,
    /// The exporter has no connection left for it.
    NoPlace,
    /// The connection reached another server than the target's session: nothing of it is shown.
    OtherServer,
}

/// Why there is no session.
enum NoSession {
    /// The exporter's own limit is reached.
    NoPlace,
    /// The login did not end in time, and goes on.
    Late,
    Refused(TargetError),
}

impl Walker {
    /// Asks what is due in a database, until the errand's deadline, over as many connections as it
    /// may take to reach the target's server.
    pub(super) async fn visit(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        errand: Errand<'_>,
        ledger: &mut Ledger,
        mut watch: Option<&mut Stopwatch>,
    ) -> Visit {
        for _ in 0..errand.tries.max(1) {
            let watch = watch.as_deref_mut();
            let visit = self
                .visit_once(database, slots, errand, ledger, watch)
                .await;
            let may_go_on = self.leftover.is_none() && !errand.deadline.is_over();
            if visit != Visit::OtherServer {
                return visit;
            }
            if !may_go_on {
                break;
            }
        }
        let address = &self.connector.target.address;
        let message = format!(
            "{address} led to another server than the one that is shown; nothing is shown of this \
             database until all sessions reach one server"
        );
        // It is not the database that is to be left alone: the next walk may reach it.
        ledger.enter_missed(
            slots.iter().filter(|slot| is_due(slot, errand)),
            DatabaseProblem::ConnectionFailed,
        );
        for slot in slots.iter_mut().filter(|slot| is_due(slot, errand)) {
            slot.miss(QueryError::Server(message.clone()));
        }
        Visit::OtherServer
    }

    async fn visit_once(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        errand: Errand<'_>,
        ledger: &mut Ledger,
        watch: Option<&mut Stopwatch>,
    ) -> Visit {
        let due: Vec<bool> = slots.iter().map(|slot| is_due(slot, errand)).collect();
        let known = self.kept.contains_key(database);
        let begun = Instant::now();
        let mut session = match self.session_of(database, errand).await {
            Ok(session) => session,
            Err(NoSession::NoPlace) => return Visit::NoPlace,
            Err(NoSession::Late) => {
                let took = begun.elapsed();
                let message =
                    format!("the login did not end within its share of the deadline, {took:.1?}");
                self.fail_late(database, slots, &message, errand, ledger);
                return Visit::Failed;
            }
            Err(NoSession::Refused(trouble)) => {
                let problem = problem_of(trouble.kind);
                ledger.count_refusal();
                self.fail(database, slots, problem, &trouble.message, (errand, ledger));
                return match is_of_server(trouble.kind) {
                    true => Visit::ServerFailed,
                    false => Visit::Failed,
                };
            }
        };
        if self.proven.remove(database) {
            session.trust();
        }
        if let Err(trouble) = session.prepare(slots, errand.deadline.at()).await {
            self.give_up(database, session);
            return match trouble.kind {
                TargetErrorKind::NotReady | TargetErrorKind::ConnectionLost => {
                    self.broke(database, slots, &trouble, errand, ledger)
                }
                _ => self.cut_off(database, slots, begun, errand, ledger),
            };
        }
        let (complete, started) = match watch {
            None => run(&mut session, slots, errand).await,
            Some(watch) => {
                watch.connect = (!known).then(|| begun.elapsed());
                run_apart(&mut session, slots, errand, watch).await
            }
        };
        self.reached.extend(started.filter(|_| !known));
        if started.is_some_and(|started| started != errand.server.started) {
            // What came is another server's: as if it had not run.
            for (slot, _) in slots.iter_mut().zip(due).filter(|(_, due)| *due) {
                slot.forget();
                slot.take_fresh();
            }
            if complete && session.trouble().is_none() {
                let left = errand.deadline.at() - Instant::now();
                self.bid_goodbye(database, session, left).await;
            } else {
                self.give_up(database, session);
            }
            return Visit::OtherServer;
        }
        if let Some(trouble) = session.trouble().cloned() {
            self.give_up(database, session);
            return self.broke(database, slots, &trouble, errand, ledger);
        }
        if !complete {
            self.give_up(database, session);
            return self.cut_off(database, slots, begun, errand, ledger);
        }
        self.turns.record_speed(database, false);
        self.answered(database);
        self.proven.insert(database.to_owned());
        if *session.mode() == Mode::Kept {
            self.kept.insert(database.to_owned(), session);
            return Visit::Answered;
        }
        let left = errand.deadline.at() - Instant::now();
        self.bid_goodbye(database, session, left).await;
        Visit::Answered
    }

    /// Its share of the deadline is over. If nothing of it was answered it is left alone for a
    /// while; else what held it up waits by itself.
    fn cut_off(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        begun: Instant,
        errand: Errand<'_>,
        ledger: &mut Ledger,
    ) -> Visit {
        self.turns.record_speed(database, true);
        let ended = |slot: &&ScheduledQuery| {
            slot.is_fresh() && !matches!(slot.outcome, QueryOutcome::Running)
        };
        let (done, failed): (Vec<&ScheduledQuery>, Vec<&ScheduledQuery>) = slots
            .iter()
            .filter(ended)
            .partition(|slot| matches!(slot.outcome, QueryOutcome::Done));
        if done.len() > failed.len() {
            self.answered(database);
            return Visit::Answered;
        }
        let took = begun.elapsed();
        let message = format!(
            "it did not answer within its share of the deadline, {took:.1?}; it is slow, or one of \
             its catalogues is locked"
        );
        self.fail_late(database, slots, &message, errand, ledger);
        Visit::Failed
    }

    /// It did not answer within its share. It is left alone for a while only if that was a share to
    /// judge it by: with a short scrape timeout each of many databases has little.
    fn fail_late(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        message: &str,
        errand: Errand<'_>,
        ledger: &mut Ledger,
    ) {
        self.turns.record_speed(database, true);
        let problem = DatabaseProblem::TooSlow;
        if self.turns.record_late(database, errand.share) {
            return self.fail(database, slots, problem, message, (errand, ledger));
        }
        ledger.enter_missed(slots.iter().filter(|slot| is_due(slot, errand)), problem);
        for slot in slots.iter_mut().filter(|slot| is_due(slot, errand)) {
            slot.miss(QueryError::Deadline(message.to_owned()));
        }
        self.late.push(MissingDatabase {
            name: database.to_owned(),
            problem,
            message: message.to_owned(),
        });
        debug!(
            server = %self.connector.target.name, database,
            "no samples of this database in this scrape; it comes last in the next: {message}"
        );
    }

    /// The session broke while it was asked. If nothing was answered, and no other session takes its
    /// place, it is left alone for a while.
    fn broke(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        trouble: &TargetError,
        errand: Errand<'_>,
        ledger: &mut Ledger,
    ) -> Visit {
        self.replacement.record_end(trouble.kind);
        if self.replacement.is_due {
            return Visit::Failed;
        }
        let done =
            |slot: &ScheduledQuery| slot.is_fresh() && matches!(slot.outcome, QueryOutcome::Done);
        if !slots.iter().any(done) {
            let problem = DatabaseProblem::ConnectionFailed;
            self.fail(database, slots, problem, &trouble.message, (errand, ledger));
        }
        match is_of_server(trouble.kind) {
            true => Visit::ServerFailed,
            false => Visit::Failed,
        }
    }

    /// What was due in it and has not run shows nothing; it is left alone for a while.
    fn fail(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        problem: DatabaseProblem,
        message: &str,
        (errand, ledger): (Errand<'_>, &mut Ledger),
    ) {
        ledger.enter_missed(slots.iter().filter(|slot| is_due(slot, errand)), problem);
        let error = match problem {
            DatabaseProblem::TooSlow => QueryError::Deadline(message.to_owned()),
            _ => QueryError::Server(message.to_owned()),
        };
        for slot in slots.iter_mut().filter(|slot| is_due(slot, errand)) {
            slot.miss(error.clone());
        }
        let is_news = self
            .turns
            .record_failure(database, Instant::now(), problem, message);
        if is_news {
            let server = &self.connector.target.name;
            warn!(
                server = %server, database, reason = problem.as_str(),
                "no samples of this database, which is tried again later and less often: {message}"
            );
        }
    }

    fn answered(&mut self, database: &str) {
        if self.turns.record_success(database) {
            info!(server = %self.connector.target.name, database, "this database answers again");
        }
    }

    async fn session_of(
        &mut self,
        database: &str,
        errand: Errand<'_>,
    ) -> Result<Session, NoSession> {
        if let Some(mut session) = self.kept.remove(database)
            && session.is_alive()
        {
            return Ok(session);
        }
        let target = &self.connector.target;
        let mode = match errand.mode {
            Mode::Pooled => Mode::Pooled,
            // The session of the target's own database counts as one.
            _ if self.kept.len() + 1 < target.session_databases
                && self.commons.places.has_room() =>
            {
                Mode::Kept
            }
            _ => Mode::Once,
        };
        let permits = tokio::select! {
            permits = self.commons.places.for_another_database() => permits,
            () = errand.deadline.passed() => None,
        };
        let permits = permits.ok_or(NoSession::NoPlace)?;
        self.next_session += 1;
        self.counters.connections.add(1);
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let name = database.to_owned();
        let mut opening = Opening(Some(Box::pin(async move {
            Session::open(&connector, &name, id, mode, permits).await
        })));
        tokio::select! {
            opened = opening.ended() => opened.map_err(NoSession::Refused),
            () = errand.deadline.passed() => {
                if *errand.mode == Mode::Pooled {
                    // A pooler notices that its client is gone.
                    opening.abandon();
                    return Err(NoSession::Late);
                }
                let login_port = self.connector.login_port();
                self.leftover = opening.give_up().map(|closed| Leftover {
                    closed,
                    database: database.to_owned(),
                    login_port,
                    silence: ServerSilence::default(),
                });
                Err(NoSession::Late)
            }
        }
    }

    /// Ends a connection whose state is unsure, beside what comes next.
    fn give_up(&mut self, database: &str, session: Session) {
        // A pooler notices that its client is gone; a server does not, and goes on counting it.
        let limit = match session.mode() {
            Mode::Pooled => GONE_FROM_POOLER,
            Mode::Kept | Mode::Once => GONE,
        };
        let leftover = tokio::spawn(async move {
            if let Ok(session) = session.settled(limit).await {
                let _ = session.close(GONE).await;
            }
        });
        self.leftover = Some(Leftover {
            closed: leftover,
            database: database.to_owned(),
            login_port: None,
            silence: ServerSilence::default(),
        });
    }
}

/// What the refusal of a login says of the database.
fn problem_of(reason: TargetErrorKind) -> DatabaseProblem {
    match reason {
        TargetErrorKind::AuthenticationFailed => DatabaseProblem::NotAllowed,
        TargetErrorKind::TooManyConnections => DatabaseProblem::ConnectionLimit,
        TargetErrorKind::Timeout => DatabaseProblem::TooSlow,
        _ => DatabaseProblem::ConnectionFailed,
    }
}

/// Whether such a refusal is one of the server as a whole, whatever the database.
fn is_of_server(reason: TargetErrorKind) -> bool {
    matches!(
        reason,
        TargetErrorKind::ConnectionRefused
            | TargetErrorKind::NameNotResolved
            | TargetErrorKind::TlsFailed
            | TargetErrorKind::NotReady
    )
}

/// Runs all that is due at once. Returns whether everything answered, and when the server was
/// started.
async fn run(
    session: &mut Session,
    slots: &mut [ScheduledQuery],
    errand: Errand<'_>,
) -> (bool, Option<i64>) {
    let mut due: Vec<&mut ScheduledQuery> = slots
        .iter_mut()
        .filter(|slot| is_due(slot, errand))
        .collect();
    ask(session, &mut due, errand).await
}

/// The same one after the other, timed.
async fn run_apart(
    session: &mut Session,
    slots: &mut [ScheduledQuery],
    errand: Errand<'_>,
    watch: &mut Stopwatch,
) -> (bool, Option<i64>) {
    let mut started = None;
    for (at, slot) in slots.iter_mut().enumerate() {
        if !is_due(slot, errand) {
            continue;
        }
        let begun = Instant::now();
        let (complete, reached) = ask(session, &mut [slot], errand).await;
        watch.runs.insert(at, begun.elapsed());
        started = started.or(reached);
        if !complete {
            return (false, started);
        }
    }
    (true, started)
}

async fn ask(
    session: &mut Session,
    slots: &mut [&mut ScheduledQuery],
    errand: Errand<'_>,
) -> (bool, Option<i64>) {
    let late = errand.deadline.passed();
    let ask = PipelineRequest {
        started: true,
        ..PipelineRequest::default()
    };
    let answer = session
        .run(slots, ask, errand.shared, &mut |_| {}, late)
        .await;
    (answer.complete, answer.started)
}
