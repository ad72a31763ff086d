//! One other database: the connection, what runs over it, and its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::DatabaseCollection;
use super::abandoned::{AbandonedConnection, GONE, OpeningSession};
use super::request::{DatabaseRequest, DatabaseResult, Stopwatch, is_due};
use crate::model::TargetErrorKind;
use crate::postgres::{Mode, PipelineRequest, QueryError, QueryOutcome, ScheduledQuery, Session};
use crate::scrape::target::query_log::QueryLog;
use crate::scrape::target::silence::ServerSilence;
use crate::targets::{DatabaseProblem, MissingDatabase, TargetError};

/// How long a connection that was given up is waited for behind a pooler: shorter than the next
/// database waits for it.
const GONE_FROM_POOLER: Duration = Duration::from_millis(300);

/// Why there is no session.
enum NoDatabaseSession {
    /// The exporter's own limit is reached.
    NoPlace,
    /// The login did not end in time, and goes on.
    Late,
    Refused(TargetError),
}

impl DatabaseCollection {
    /// Asks what is due in a database, until the request's deadline, over as many connections as it
    /// may take to reach the target's server.
    pub(crate) async fn collect_database(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
        mut watch: Option<&mut Stopwatch>,
    ) -> DatabaseResult {
        for _ in 0..request.tries.max(1) {
            let watch = watch.as_deref_mut();
            let result = self
                .collect_once(database, slots, request, query_log, watch)
                .await;
            let may_go_on = self.abandoned.is_none() && !request.deadline.is_over();
            if result != DatabaseResult::OtherServer {
                return result;
            }
            if !may_go_on {
                break;
            }
        }
        let address = &self.connector.target.address;
        let message = format!(
            "{address} led to a different server than the session of the target; this database has \
             no samples until all sessions reach the same server"
        );
        // It is not the database that is to be left alone: the next walk may reach it.
        query_log.record_missed(
            slots.iter().filter(|slot| is_due(slot, request)),
            DatabaseProblem::ConnectionFailed,
        );
        for slot in slots.iter_mut().filter(|slot| is_due(slot, request)) {
            slot.miss(QueryError::Server(message.clone()));
        }
        DatabaseResult::OtherServer
    }

    async fn collect_once(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
        watch: Option<&mut Stopwatch>,
    ) -> DatabaseResult {
        let due: Vec<bool> = slots.iter().map(|slot| is_due(slot, request)).collect();
        let known = self.kept.contains_key(database);
        let begun = Instant::now();
        let mut session = match self.session_of(database, request).await {
            Ok(session) => session,
            Err(NoDatabaseSession::NoPlace) => return DatabaseResult::NoPlace,
            Err(NoDatabaseSession::Late) => {
                let took = begun.elapsed();
                let message =
                    format!("the login did not end within its share of the deadline, {took:.1?}");
                self.fail_late(database, slots, &message, request, query_log);
                return DatabaseResult::Failed;
            }
            Err(NoDatabaseSession::Refused(trouble)) => {
                let problem = problem_of(trouble.kind);
                query_log.count_refusal();
                self.fail(
                    database,
                    slots,
                    problem,
                    &trouble.message,
                    (request, query_log),
                );
                return match is_of_server(trouble.kind) {
                    true => DatabaseResult::ServerFailed,
                    false => DatabaseResult::Failed,
                };
            }
        };
        if self.proven.remove(database) {
            session.trust();
        }
        if let Err(trouble) = session.prepare(slots, request.deadline.at()).await {
            self.give_up(database, session);
            return match trouble.kind {
                TargetErrorKind::NotReady | TargetErrorKind::ConnectionLost => {
                    self.broke(database, slots, &trouble, request, query_log)
                }
                _ => self.cut_off(database, slots, begun, request, query_log),
            };
        }
        let (complete, started) = match watch {
            None => run(&mut session, slots, request).await,
            Some(watch) => {
                watch.connect = (!known).then(|| begun.elapsed());
                run_apart(&mut session, slots, request, watch).await
            }
        };
        self.reached.extend(started.filter(|_| !known));
        if started.is_some_and(|started| started != request.server.started) {
            // What came is another server's: as if it had not run.
            for (slot, _) in slots.iter_mut().zip(due).filter(|(_, due)| *due) {
                slot.forget();
                slot.take_fresh();
            }
            if complete && session.trouble().is_none() {
                let left = request.deadline.at() - Instant::now();
                self.bid_goodbye(database, session, left).await;
            } else {
                self.give_up(database, session);
            }
            return DatabaseResult::OtherServer;
        }
        if let Some(trouble) = session.trouble().cloned() {
            self.give_up(database, session);
            return self.broke(database, slots, &trouble, request, query_log);
        }
        if !complete {
            self.give_up(database, session);
            return self.cut_off(database, slots, begun, request, query_log);
        }
        self.turns.record_speed(database, false);
        self.answered(database);
        self.proven.insert(database.to_owned());
        if *session.mode() == Mode::Kept {
            self.kept.insert(database.to_owned(), session);
            return DatabaseResult::Answered;
        }
        let left = request.deadline.at() - Instant::now();
        self.bid_goodbye(database, session, left).await;
        DatabaseResult::Answered
    }

    /// Its share of the deadline is over. If nothing of it was answered it is left alone for a
    /// while; else what held it up waits by itself.
    fn cut_off(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        begun: Instant,
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) -> DatabaseResult {
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
            return DatabaseResult::Answered;
        }
        let took = begun.elapsed();
        let message = format!(
            "it did not answer within its share of the deadline, {took:.1?}; it is slow, or one of \
             its catalogues is locked"
        );
        self.fail_late(database, slots, &message, request, query_log);
        DatabaseResult::Failed
    }

    /// It did not answer within its share. It is left alone for a while only if that was a share to
    /// judge it by: with a short scrape timeout each of many databases has little.
    fn fail_late(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        message: &str,
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) {
        self.turns.record_speed(database, true);
        let problem = DatabaseProblem::TooSlow;
        if self.turns.record_late(database, request.share) {
            return self.fail(database, slots, problem, message, (request, query_log));
        }
        query_log.record_missed(slots.iter().filter(|slot| is_due(slot, request)), problem);
        for slot in slots.iter_mut().filter(|slot| is_due(slot, request)) {
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
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) -> DatabaseResult {
        self.replacement.record_end(trouble.kind);
        if self.replacement.is_due {
            return DatabaseResult::Failed;
        }
        let done =
            |slot: &ScheduledQuery| slot.is_fresh() && matches!(slot.outcome, QueryOutcome::Done);
        if !slots.iter().any(done) {
            let problem = DatabaseProblem::ConnectionFailed;
            self.fail(
                database,
                slots,
                problem,
                &trouble.message,
                (request, query_log),
            );
        }
        match is_of_server(trouble.kind) {
            true => DatabaseResult::ServerFailed,
            false => DatabaseResult::Failed,
        }
    }

    /// What was due in it and has not run shows nothing; it is left alone for a while.
    fn fail(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        problem: DatabaseProblem,
        message: &str,
        (request, query_log): (DatabaseRequest<'_>, &mut QueryLog),
    ) {
        // It may hold what the server said, which is shown and logged from here.
        let message = self.connector.target.redact(message);
        let message = message.as_str();
        query_log.record_missed(slots.iter().filter(|slot| is_due(slot, request)), problem);
        let error = match problem {
            DatabaseProblem::TooSlow => QueryError::Deadline(message.to_owned()),
            _ => QueryError::Server(message.to_owned()),
        };
        for slot in slots.iter_mut().filter(|slot| is_due(slot, request)) {
            slot.miss(error.clone());
        }
        let is_news = self
            .turns
            .record_failure(database, Instant::now(), problem, message);
        if is_news {
            let server = &self.connector.target.name;
            warn!(
                server = %server, database, reason = problem.as_str(),
                "no samples of this database; the exporter retries later and less often: {message}"
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
        request: DatabaseRequest<'_>,
    ) -> Result<Session, NoDatabaseSession> {
        if let Some(mut session) = self.kept.remove(database)
            && session.is_alive()
        {
            return Ok(session);
        }
        let target = &self.connector.target;
        let mode = match request.mode {
            Mode::Pooled => Mode::Pooled,
            // The session of the target's own database counts as one.
            _ if self.kept.len() + 1 < target.session_databases
                && self.context.limiter.has_room() =>
            {
                Mode::Kept
            }
            _ => Mode::Once,
        };
        let permits = tokio::select! {
            permits = self.context.limiter.for_another_database() => permits,
            () = request.deadline.passed() => None,
        };
        let permits = permits.ok_or(NoDatabaseSession::NoPlace)?;
        self.next_session += 1;
        self.counters.connections.add(1);
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let name = database.to_owned();
        let mut opening = OpeningSession(Some(Box::pin(async move {
            Session::open(&connector, &name, id, mode, permits).await
        })));
        tokio::select! {
            opened = opening.ended() => opened.map_err(NoDatabaseSession::Refused),
            () = request.deadline.passed() => {
                if *request.mode == Mode::Pooled {
                    // A pooler notices that its client is gone.
                    opening.abandon();
                    return Err(NoDatabaseSession::Late);
                }
                let login_port = self.connector.login_port();
                self.abandoned = opening.give_up().map(|closed| AbandonedConnection {
                    closed,
                    database: database.to_owned(),
                    login_port,
                    silence: ServerSilence::default(),
                });
                Err(NoDatabaseSession::Late)
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
        let abandoned = tokio::spawn(async move {
            if let Ok(session) = session.settled(limit).await {
                let _ = session.close(GONE).await;
            }
        });
        self.abandoned = Some(AbandonedConnection {
            closed: abandoned,
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
    request: DatabaseRequest<'_>,
) -> (bool, Option<i64>) {
    let mut due: Vec<&mut ScheduledQuery> = slots
        .iter_mut()
        .filter(|slot| is_due(slot, request))
        .collect();
    ask(session, &mut due, request).await
}

/// The same one after the other, timed.
async fn run_apart(
    session: &mut Session,
    slots: &mut [ScheduledQuery],
    request: DatabaseRequest<'_>,
    watch: &mut Stopwatch,
) -> (bool, Option<i64>) {
    let mut started = None;
    for (at, slot) in slots.iter_mut().enumerate() {
        if !is_due(slot, request) {
            continue;
        }
        let begun = Instant::now();
        let (complete, reached) = ask(session, &mut [slot], request).await;
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
    request: DatabaseRequest<'_>,
) -> (bool, Option<i64>) {
    let late = request.deadline.passed();
    let ask = PipelineRequest {
        started: true,
        ..PipelineRequest::default()
    };
    let answer = session
        .run(slots, ask, request.shared, &mut |_| {}, late)
        .await;
    (answer.complete, answer.started)
}
