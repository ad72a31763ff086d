//! Many statements in one go: all are sent before the first answer is read, and those that belong
//! together stand under one Sync (PostgreSQL, "Pipelining").
//!
//! Under one Sync the server begins and ends one transaction, answers in few packets, and reads its
//! statistics once. It also skips what follows a statement that fails; that is sent again, so that
//! an error stays the error of its query alone. And it holds the answers back until the Sync, so
//! that what has not proved quick has one of its own (see `run`).

use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::charset::Charset;
use super::connection::without_zero;
use super::error::{QueryError, ServerError};
use super::job_state::JobState;
use super::result_cancel::ResultCancel;
use super::row::Fields;
use super::session::Session;
use super::statement::{Mode, Prepared, columns};
use super::value::Encoding;
use crate::model::TargetErrorKind;

/// So many statements are prepared under one Sync: few round trips, and no long transaction.
const PREPARED_TOGETHER: usize = 64;

/// A statement, and what becomes of its answer.
pub(super) trait PipelineJob: Send {
    /// What is run.
    fn statement(&self) -> &Prepared;
    /// The statement, to be prepared anew before it is sent again. `None` where it is sent without
    /// a name from now on.
    fn renew(&mut self) -> Option<&mut Prepared>;
    /// Whether it is one of ours, that names every schema.
    fn is_builtin(&self) -> bool {
        true
    }
    /// Forgets what came: it is run again, from now on with text as the database holds it if `raw`.
    fn restart(&mut self, raw: bool);
    /// Takes one row; `scratch` is used again for the next. After an error it gets no more.
    fn row(&mut self, fields: Fields<'_>, scratch: &mut Vec<u8>) -> Result<(), QueryError>;
    /// It gives nothing, though its rows may still come; it ends with that error.
    fn stop(&mut self, _error: &QueryError) {}
    /// It ended, so or so; called once.
    fn finish(&mut self, result: Result<(), QueryError>);
}

/// Jobs, by their places in a list, that share settings.
#[derive(Debug, Default)]
pub(super) struct JobGroup {
    /// What is set before.
    pub before: Option<String>,
    /// Each is under one Sync.
    pub batches: Vec<Vec<usize>>,
    /// What is set after.
    pub after: Option<String>,
    /// Text comes as the database holds it.
    pub raw: bool,
}

/// The first jobs of a list, sent before the others under a Sync of their own: how the columns of
/// each come.
#[derive(Debug)]
pub(super) struct SentAhead {
    pub(super) extensions: bool,
    pub(super) databases: bool,
    pub(super) jobs: Vec<Arc<[Encoding]>>,
}

/// Jobs, by their places in a list, that have not ended.
#[derive(Debug, Default)]
pub(super) struct UnfinishedJobs {
    /// Skipped, because one before them failed, or to be sent without a name.
    pub skipped: Vec<usize>,
    /// Their prepared statement may be out of date.
    pub stale: Vec<usize>,
    /// The session lost a statement that it held: others may be gone as well.
    pub forgot: bool,
}

impl UnfinishedJobs {
    fn skip(&mut self, job: usize, states: &mut [JobState]) {
        states[job].put_off();
        self.skipped.push(job);
    }

    fn stale(&mut self, job: usize, states: &mut [JobState]) {
        states[job].put_off();
        self.stale.push(job);
    }
}

/// What the server was sent and has to answer, in that order.
#[derive(Debug)]
enum PendingReply {
    /// Ends with its completion; how its columns come.
    Job(usize, Arc<[Encoding]>, Charset),
    /// A simple query: ends when the server is ready for the next.
    Whole(usize, Charset),
    /// Settings by simple query, and whether they have to hold.
    Setting(bool),
    Sync,
}

impl Session {
    /// Runs all jobs in `groups`, after those that were sent `ahead`. Returns those that are to be
    /// run again: they were skipped because one before them failed, have a second try, as `states`
    /// then tells, or are stale. One of `renewed` was prepared anew already: when it is stale once
    /// more, it is sent without a name.
    ///
    /// # Errors
    /// The session broke. Every job has ended then.
    pub(super) async fn run_pipeline(
        &mut self,
        ahead: Option<SentAhead>,
        jobs: &mut [&mut dyn PipelineJob],
        states: &mut [JobState],
        groups: &[JobGroup],
        renewed: &[usize],
    ) -> Result<UnfinishedJobs, QueryError> {
        let mut replies = Vec::new();
        if let Some(SentAhead { jobs, .. }) = ahead {
            let charset = self.charset_of(false);
            let job = |(at, encodings)| PendingReply::Job(at, encodings, charset);
            replies.extend(jobs.into_iter().enumerate().map(job));
            replies.push(PendingReply::Sync);
        }
        for (greeting, required) in std::mem::take(&mut self.greeting) {
            self.send_settings(&greeting, required, &mut replies);
        }
        for group in groups {
            self.send_group(group, jobs, &mut replies);
        }
        let mut left = UnfinishedJobs::default();
        let mut at = 0;
        let answered = self.read_replies(jobs, states, &replies, &mut at, &mut left, renewed);
        match answered.await {
            Ok(()) => Ok(left),
            Err(mut error) => {
                // A transaction of a user's query, as the pooler that ends the session for it has it.
                if self.mode == Mode::Pooled
                    && let QueryError::Lost(message, reason) = &mut error
                    && *reason == TargetErrorKind::ServerError
                    // All but our own queries, which are one message each.
                    && replies[at..].iter().any(|reply| !matches!(reply, PendingReply::Whole(..)))
                {
                    self.connector.quirks.note_refused_transactions();
                    *reason = TargetErrorKind::NotReady;
                    message.push_str("; users' queries are sent as one message each from now on");
                }
                let open = replies[at..].iter().filter_map(|reply| match reply {
                    PendingReply::Job(at, ..) | PendingReply::Whole(at, _) => Some(*at),
                    PendingReply::Setting(_) | PendingReply::Sync => None,
                });
                for job in left.skipped.into_iter().chain(left.stale).chain(open) {
                    jobs[job].finish(Err(error.clone()));
                }
                let suspect = replies[..replies.len().min(at + 1)].iter().rev();
                let suspect = suspect.filter_map(|reply| match reply {
                    PendingReply::Job(at, ..) | PendingReply::Whole(at, _) => Some(*at),
                    PendingReply::Setting(_) | PendingReply::Sync => None,
                });
                if let (Some(at), QueryError::Lost(_, TargetErrorKind::NotReady)) =
                    (suspect.into_iter().next(), &error)
                {
                    states[at].ended_session = true;
                }
                self.end_with(error.clone().into_target_error());
                Err(error)
            }
        }
    }

    fn send_group(
        &mut self,
        group: &JobGroup,
        jobs: &mut [&mut dyn PipelineJob],
        replies: &mut Vec<PendingReply>,
    ) {
        if let Some(before) = &group.before {
            self.send_settings(before, true, replies);
        }
        let charset = self.charset_of(group.raw);
        for batch in &group.batches {
            let mut any = false;
            for &at in batch {
                let job = &mut jobs[at];
                let whole = job.is_builtin() || group.before.is_none();
                let sent = if self.mode == Mode::Pooled && !job.is_builtin() && whole {
                    // Statement pooling, where a transaction may not span messages.
                    let sql = &job.statement().sql;
                    match self.settings.in_one_message(sql, group.raw) {
                        Some(text) => self
                            .connection
                            .query(&text)
                            .map(|()| PendingReply::Whole(at, charset)),
                        None => Err(std::io::Error::other(
                            "the pooler takes no transactions, and a query has to be one statement \
                             there; take the semicolon out",
                        )),
                    }
                } else if self.mode == Mode::Pooled && whole {
                    // One simple query of several statements is one transaction, so that SET LOCAL
                    // ends with it and a pooler keeps us on one server meanwhile (PostgreSQL,
                    // "Simple Query").
                    let settings = self.settings.pooled(group.raw);
                    let text = format!("{settings}{}", job.statement().sql);
                    self.connection
                        .query(&text)
                        .map(|()| PendingReply::Whole(at, charset))
                } else {
                    any = true;
                    let put = job.statement().put(self.id, self.connection.outbox());
                    put.map(|encodings| PendingReply::Job(at, encodings, charset))
                };
                match sent {
                    Ok(reply) => replies.push(reply),
                    Err(error) => job.finish(Err(QueryError::Server(error.to_string()))),
                }
            }
            if any {
                self.connection.sync();
                replies.push(PendingReply::Sync);
            }
        }
        if let Some(after) = &group.after {
            self.send_settings(after, true, replies);
        }
    }

    /// How text comes.
    fn charset_of(&self, raw: bool) -> Charset {
        match raw || self.charset == Charset::Any {
            true => self.charset,
            false => Charset::Utf8,
        }
    }

    fn send_settings(&mut self, settings: &str, required: bool, replies: &mut Vec<PendingReply>) {
        // These texts are ours and hold no zero byte.
        if self.connection.query(settings).is_ok() {
            replies.push(PendingReply::Setting(required));
        }
    }

    async fn read_replies(
        &mut self,
        jobs: &mut [&mut dyn PipelineJob],
        states: &mut [JobState],
        replies: &[PendingReply],
        at: &mut usize,
        left: &mut UnfinishedJobs,
        renewed: &[usize],
    ) -> Result<(), QueryError> {
        let Self {
            id,
            connection,
            field_ranges,
            scratch,
            charset: database,
            connector,
            key,
            ..
        } = self;
        let lost = |error: std::io::Error| QueryError::lost(&error);
        connection.expect();
        let mut stopping = ResultCancel::default();
        // Whether the part that is being answered has brought rows: a stale statement has not.
        let mut begun = false;
        // What became of the part that is being answered, and whether it is run again.
        let mut failed: Option<QueryError> = None;
        let mut again = false;
        while let Some(reply) = replies.get(*at) {
            let message = connection.next().await.map_err(lost)?;
            let length = message.cut.unwrap_or(message.whole.len());
            match (message.kind, reply) {
                (b'D', PendingReply::Job(job, ..) | PendingReply::Whole(job, _))
                    if failed.is_some() =>
                {
                    connection.waste(length).map_err(lost)?;
                    stopping.more(*job, length, connector, key).await;
                }
                (b'D', PendingReply::Job(job, ..) | PendingReply::Whole(job, _)) => {
                    let (encodings, charset): (&[Encoding], _) = match reply {
                        PendingReply::Job(_, encodings, charset) => (encodings, *charset),
                        PendingReply::Whole(_, charset) => (&[], *charset),
                        PendingReply::Setting(_) | PendingReply::Sync => return Err(malformed()),
                    };
                    begun = true;
                    let row = match message.cut {
                        Some(length) => Err(QueryError::TooLarge(format!(
                            "a row has {length} bytes; let the query return less, or raise \
                             message_limit"
                        ))),
                        None => {
                            let fields = Fields::read(message.body(), field_ranges, encodings);
                            let fields = fields.ok_or_else(malformed)?.in_charset(charset);
                            jobs[*job].row(fields, scratch)
                        }
                    };
                    if let Err(error) = row {
                        jobs[*job].stop(&error);
                        failed = Some(error);
                    }
                }
                // The end of a statement; an empty one has its own.
                (b'C' | b'I', PendingReply::Job(job, ..)) => {
                    jobs[*job].finish(failed.take().map_or(Ok(()), Err));
                    begun = false;
                    *at += 1;
                }
                (b'E', reply) => {
                    let said = ServerError::read(message.whole);
                    let error = said.of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        return Err(error);
                    }
                    match reply {
                        PendingReply::Job(job, ..) => {
                            let begun = std::mem::take(&mut begun);
                            let earlier = failed.take();
                            let stale = said.may_be_stale()
                                && !begun
                                && jobs[*job].statement().is_held_in(*id);
                            if stopping.hits(*job, &error) {
                                // It was cancelled in place of another.
                                jobs[*job].restart(states[*job].raw);
                                left.skip(*job, states);
                            } else if let Some(earlier) = earlier {
                                jobs[*job].finish(Err(earlier));
                            } else if stale && !renewed.contains(job) {
                                left.stale(*job, states);
                                left.forgot |= said.has_lost_statement();
                            } else if stale {
                                // It is no use to prepare it. Without a name it is never stale.
                                if let Some(statement) = jobs[*job].renew() {
                                    statement.refuse(*id);
                                }
                                left.skip(*job, states);
                            } else if states[*job].try_again(&said, *database) {
                                jobs[*job].restart(states[*job].raw);
                                left.skip(*job, states);
                            } else {
                                jobs[*job].finish(Err(error));
                            }
                            *at += 1;
                            while let Some(PendingReply::Job(job, ..)) = replies.get(*at) {
                                left.skip(*job, states);
                                *at += 1;
                            }
                        }
                        PendingReply::Whole(job, _) if stopping.hits(*job, &error) => again = true,
                        PendingReply::Whole(job, _) if failed.is_none() => {
                            again = states[*job].try_again(&said, *database);
                            failed = Some(error);
                        }
                        PendingReply::Whole(..) | PendingReply::Setting(_) | PendingReply::Sync => {
                            failed.get_or_insert(error);
                        }
                    }
                }
                (b'Z', PendingReply::Whole(job, _)) => {
                    let failed = failed.take();
                    if std::mem::take(&mut again) {
                        jobs[*job].restart(states[*job].raw);
                        left.skip(*job, states);
                    } else {
                        jobs[*job].finish(failed.map_or(Ok(()), Err));
                    }
                    *at += 1;
                }
                (b'Z', PendingReply::Setting(required)) => {
                    // What follows would run without its limits.
                    if let Some(error) = failed.take().filter(|_| *required) {
                        let reason = match error {
                            // A user's query can set a timeout that its own end runs into.
                            QueryError::Timeout(_) => TargetErrorKind::NotReady,
                            _ => TargetErrorKind::ServerError,
                        };
                        let message = format!("the server refused a setting: {error}");
                        return Err(QueryError::Lost(message, reason));
                    }
                    *at += 1;
                }
                (b'Z', PendingReply::Sync) => {
                    failed = None;
                    *at += 1;
                }
                // It waits for rows that we do not have.
                (b'G', _) => {
                    let message = "a query waits for data, as COPY FROM STDIN does".to_owned();
                    return Err(QueryError::Lost(message, TargetErrorKind::ServerError));
                }
                (b'Z', PendingReply::Job(..)) => return Err(malformed()),
                // ParseComplete, BindComplete, RowDescription, notices and the like; and rows of
                // COPY, which nobody wants.
                _ => connection.waste(length).map_err(lost)?,
            }
        }
        Ok(())
    }

    /// Sends one simple query and waits until it is done.
    ///
    /// # Errors
    /// What the server said.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), QueryError> {
        let lost = |error: std::io::Error| QueryError::lost(&error);
        self.connection.query(sql).map_err(lost)?;
        let mut failed = None;
        loop {
            let message = self.connection.next().await.map_err(lost)?;
            let length = message.cut.unwrap_or(message.whole.len());
            match message.kind {
                b'E' => {
                    let error = ServerError::read(message.whole).of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        self.end_with(error.clone().into_target_error());
                        return Err(error);
                    }
                    // Before the last stands what a scrape left.
                    if self.connection.owed() == 1 {
                        failed.get_or_insert(error);
                    }
                }
                b'Z' if self.connection.owed() == 0 => return failed.map_or(Ok(()), Err),
                // Notices, and what a scrape left.
                _ => self.connection.waste(length).map_err(lost)?,
            }
        }
    }

    /// Prepares all of them; `path` is set meanwhile, where there is one. The error of each is its
    /// own. Where one waits for a lock until its timeout those behind it are refused with the same
    /// error, for most would wait as long: each is sent without a name when it is run.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn prepare_all(
        &mut self,
        statements: &mut [&mut Prepared],
        path: Option<&[String; 2]>,
    ) -> Result<Vec<Result<(), QueryError>>, QueryError> {
        // Nobody wants these any more.
        let out = self.connection.outbox();
        self.statements.retain(|(name, wanted)| {
            let keep = wanted.strong_count() > 0;
            keep || frontend::close(b'S', name, out).is_err()
        });
        let mut results = vec![Ok(()); statements.len()];
        match self
            .prepare_in_batches(statements, &mut results, path)
            .await
        {
            Ok(()) => Ok(results),
            Err(error) => {
                self.end_with(error.clone().into_target_error());
                Err(error)
            }
        }
    }

    async fn prepare_in_batches(
        &mut self,
        statements: &mut [&mut Prepared],
        results: &mut [Result<(), QueryError>],
        path: Option<&[String; 2]>,
    ) -> Result<(), QueryError> {
        if let Some([before, _]) = path {
            self.set_for_prepare(before).await?;
        }
        let mut done = 0;
        while done < statements.len() {
            let until = statements.len().min(done + PREPARED_TOGETHER);
            let failed = self.prepare_batch(&mut statements[done..until]).await?;
            let Some((at, error)) = failed else {
                done = until;
                continue;
            };
            let at = done + at;
            let waited = matches!(error, QueryError::LockTimeout(_) | QueryError::Timeout(_));
            done = if waited { statements.len() } else { at + 1 };
            for refused in at..done {
                statements[refused].refuse(self.id);
                results[refused] = Err(error.clone());
            }
        }
        match path {
            Some([_, after]) => self.set_for_prepare(after).await,
            None => Ok(()),
        }
    }

    /// Prepares them under one Sync. The first that fails ends it: its place, and its error. Those
    /// before it are held then, and the server has skipped those behind it.
    async fn prepare_batch(
        &mut self,
        statements: &mut [&mut Prepared],
    ) -> Result<Option<(usize, QueryError)>, QueryError> {
        self.connection.expect();
        let first = self.next_statement;
        let mut failed = None;
        let mut sent = 0;
        for statement in statements.iter() {
            let name = name(&self.statement_prefix, first + sent as u64);
            let put = without_zero(&statement.sql).and_then(|()| {
                let out: &mut BytesMut = self.connection.outbox();
                frontend::parse(&name, &statement.sql, [], out)?;
                frontend::describe(b'S', &name, out)
            });
            if let Err(error) = put {
                failed = Some((sent, QueryError::Server(error.to_string())));
                break;
            }
            sent += 1;
        }
        self.next_statement += sent as u64;
        self.connection.sync();
        let mut at = 0;
        loop {
            let message = self.connection.next().await;
            let message = message.map_err(|error| QueryError::lost(&error))?;
            match message.kind {
                b'T' | b'n' if at < sent => {
                    let columns = match message.kind {
                        b'T' => columns(message.whole),
                        _ => Vec::new(),
                    };
                    let name = name(&self.statement_prefix, first + at as u64);
                    let wanted = statements[at].hold(self.id, &name, &columns);
                    self.statements.push((name, wanted));
                    at += 1;
                }
                b'E' => {
                    let error = ServerError::read(message.whole).of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        return Err(error);
                    }
                    failed = Some((at, error));
                    // The server skips what is left of it.
                    sent = at;
                }
                b'Z' if at < sent => return Err(malformed()),
                b'Z' => return Ok(failed),
                _ => {
                    let length = message.cut.unwrap_or(message.whole.len());
                    let wasted = self.connection.waste(length);
                    wasted.map_err(|error| QueryError::lost(&error))?;
                }
            }
        }
    }

    async fn set_for_prepare(&mut self, settings: &str) -> Result<(), QueryError> {
        self.execute(settings).await.map_err(|error| match error {
            lost @ QueryError::Lost(..) => lost,
            other => QueryError::Lost(other.to_string(), TargetErrorKind::ServerError),
        })
    }
}
fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{number}")
}

fn malformed() -> QueryError {
    let message = "the server's answer is not as its protocol has it".to_owned();
    QueryError::Lost(message, TargetErrorKind::ConnectionLost)
}
