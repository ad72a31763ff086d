//! Many statements in one go: all are sent before the first answer is read, and those that belong
//! together stand under one Sync (PostgreSQL, "Pipelining").
//!
//! Under one Sync the server begins and ends one transaction, answers in few packets, and reads its
//! statistics once. It also skips what follows a statement that fails; that is sent again, so that
//! an error stays the error of its query alone. And it holds the answers back until the Sync, so
//! that what has not proved quick has one of its own (see `run`).

use std::sync::Arc;

use bytes::BytesMut;

use super::error::{QueryError, ServerError};
use super::pipe::without_zero;
use super::row::Fields;
use super::session::Session;
use super::statement::{Mode, Prepared, columns};
use super::value::Encoding;
use crate::model::Reason;

/// A statement, and what becomes of its answer.
pub(super) trait Job: Send {
    /// What is run.
    fn statement(&self) -> &Prepared;
    /// The statement, to be prepared anew before it is sent again. `None` where it is sent without
    /// a name from now on.
    fn renew(&mut self) -> Option<&mut Prepared>;
    /// Whether it is one of ours, that names every schema.
    fn is_builtin(&self) -> bool {
        true
    }
    /// Takes one row; `scratch` is used again for the next. After an error it gets no more.
    fn row(&mut self, fields: Fields<'_>, scratch: &mut Vec<u8>) -> Result<(), QueryError>;
    /// It ended, so or so; called once.
    fn end(&mut self, result: Result<(), QueryError>);
}

/// Jobs, by their places in a list, that share settings.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// What is set before.
    pub before: Option<String>,
    /// Each is under one Sync.
    pub batches: Vec<Vec<usize>>,
    /// What is set after.
    pub after: Option<String>,
}

/// The first jobs of a list, sent before the others under a Sync of their own: how the columns of
/// each come.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) databases: bool,
    pub(super) jobs: Vec<Arc<[Encoding]>>,
}

/// Jobs, by their places in a list, that have not ended.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Skipped, because one before them failed, or to be sent without a name.
    pub skipped: Vec<usize>,
    /// Their prepared statement may be out of date.
    pub stale: Vec<usize>,
    /// The session lost a statement that it held: others may be gone as well.
    pub forgot: bool,
}

/// What the server was sent and has to answer, in that order.
#[derive(Debug)]
enum Part {
    /// Ends with its completion; how its columns come.
    Job(usize, Arc<[Encoding]>),
    /// A simple query: ends when the server is ready for the next.
    Whole(usize),
    /// Settings by simple query.
    Setting,
    Sync,
}

impl Session {
    /// Runs all jobs in `groups`, after those that were sent `ahead`. Returns those that are to be
    /// sent again. One of `renewed` was prepared anew already: when it is stale once more, it is sent
    /// without a name.
    ///
    /// # Errors
    /// The session broke. Every job has ended then.
    pub(super) async fn exchange(
        &mut self,
        ahead: Option<Ahead>,
        jobs: &mut [&mut dyn Job],
        groups: &[Group],
        renewed: &[usize],
    ) -> Result<Unfinished, QueryError> {
        let mut parts = Vec::new();
        if let Some(Ahead { jobs, .. }) = ahead {
            let job = |(at, encodings)| Part::Job(at, encodings);
            parts.extend(jobs.into_iter().enumerate().map(job));
            parts.push(Part::Sync);
        }
        if let Some(greeting) = self.greeting.take() {
            self.set(&greeting, &mut parts);
        }
        for group in groups {
            self.send(group, jobs, &mut parts);
        }
        let mut left = Unfinished::default();
        let mut at = 0;
        let answered = self.answers(jobs, &parts, &mut at, &mut left, renewed);
        match answered.await {
            Ok(()) => Ok(left),
            Err(error) => {
                let open = parts[at..].iter().filter_map(|part| match part {
                    Part::Job(at, _) | Part::Whole(at) => Some(*at),
                    Part::Setting | Part::Sync => None,
                });
                for job in left.skipped.into_iter().chain(left.stale).chain(open) {
                    jobs[job].end(Err(error.clone()));
                }
                self.end_with(error.clone().into_trouble());
                Err(error)
            }
        }
    }

    fn send(&mut self, group: &Group, jobs: &mut [&mut dyn Job], parts: &mut Vec<Part>) {
        if let Some(before) = &group.before {
            self.set(before, parts);
        }
        for batch in &group.batches {
            let mut any = false;
            for &at in batch {
                let job = &mut jobs[at];
                let sent = if self.mode == Mode::Pooled {
                    // One simple query of several statements is one transaction, so that SET LOCAL
                    // ends with it and a pooler keeps us on one server meanwhile (PostgreSQL,
                    // "Simple Query").
                    let settings = &self.pooled[usize::from(!job.is_builtin())];
                    let text = format!("{settings}{}", job.statement().sql);
                    self.pipe.query(&text).map(|()| Part::Whole(at))
                } else {
                    any = true;
                    let put = job.statement().put(self.id, self.pipe.outbox());
                    put.map(|encodings| Part::Job(at, encodings))
                };
                match sent {
                    Ok(part) => parts.push(part),
                    Err(error) => job.end(Err(QueryError::Server(error.to_string()))),
                }
            }
            if any {
                self.pipe.sync();
                parts.push(Part::Sync);
            }
        }
        if let Some(after) = &group.after {
            self.set(after, parts);
        }
    }

    fn set(&mut self, settings: &str, parts: &mut Vec<Part>) {
        // These texts are ours and hold no zero byte.
        if self.pipe.query(settings).is_ok() {
            parts.push(Part::Setting);
        }
    }

    async fn answers(
        &mut self,
        jobs: &mut [&mut dyn Job],
        parts: &[Part],
        at: &mut usize,
        left: &mut Unfinished,
        renewed: &[usize],
    ) -> Result<(), QueryError> {
        let Self {
            id,
            pipe,
            places,
            scratch,
            ..
        } = self;
        // Whether the part that is being answered has brought rows: it is not sent again then.
        let mut begun = false;
        // What became of the part that is being answered.
        let mut failed: Option<QueryError> = None;
        while let Some(part) = parts.get(*at) {
            let message = pipe
                .next()
                .await
                .map_err(|error| QueryError::lost(&error))?;
            match (message.kind, part) {
                (b'D', Part::Job(job, encodings)) => {
                    let fields = Fields::read(message.body(), places, encodings);
                    let fields = fields.ok_or_else(malformed)?;
                    begun = true;
                    if failed.is_none() {
                        failed = jobs[*job].row(fields, scratch).err();
                    }
                }
                (b'D', Part::Whole(job)) => {
                    let fields = Fields::read(message.body(), places, &[]);
                    let fields = fields.ok_or_else(malformed)?;
                    if failed.is_none() {
                        failed = jobs[*job].row(fields, scratch).err();
                    }
                }
                // The end of a statement; an empty one has its own.
                (b'C' | b'I', Part::Job(job, _)) => {
                    jobs[*job].end(failed.take().map_or(Ok(()), Err));
                    begun = false;
                    *at += 1;
                }
                (b'E', part) => {
                    let said = ServerError::read(message.whole);
                    let error = said.of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        return Err(error);
                    }
                    match part {
                        Part::Job(job, _) => {
                            let stale = said.may_be_stale()
                                && !std::mem::take(&mut begun)
                                && jobs[*job].statement().is_held_in(*id);
                            failed = None;
                            if stale && !renewed.contains(job) {
                                left.stale.push(*job);
                                left.forgot |= said.has_lost_statement();
                            } else if stale {
                                // It is no use to prepare it. Without a name it is never stale.
                                if let Some(statement) = jobs[*job].renew() {
                                    statement.refuse(*id);
                                }
                                left.skipped.push(*job);
                            } else {
                                jobs[*job].end(Err(error));
                            }
                            *at += 1;
                            while let Some(Part::Job(job, _)) = parts.get(*at) {
                                left.skipped.push(*job);
                                *at += 1;
                            }
                        }
                        Part::Whole(_) | Part::Setting | Part::Sync => {
                            failed.get_or_insert(error);
                        }
                    }
                }
                (b'Z', Part::Whole(job)) => {
                    jobs[*job].end(failed.take().map_or(Ok(()), Err));
                    *at += 1;
                }
                (b'Z', Part::Setting) => {
                    // What follows would run without its limits.
                    if let Some(error) = failed.take() {
                        let message = format!("the server refused a setting: {error}");
                        return Err(QueryError::Lost(message, Reason::ServerError));
                    }
                    *at += 1;
                }
                (b'Z', Part::Sync) => {
                    failed = None;
                    *at += 1;
                }
                // It waits for rows that we do not have.
                (b'G', _) => {
                    let message = "a query waits for data, as COPY FROM STDIN does".to_owned();
                    return Err(QueryError::Lost(message, Reason::ServerError));
                }
                (b'Z', Part::Job(..)) => return Err(malformed()),
                // ParseComplete, BindComplete, RowDescription, notices and the like.
                _ => {}
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
        self.pipe.query(sql).map_err(lost)?;
        let mut failed = None;
        loop {
            let message = self.pipe.next().await.map_err(lost)?;
            match message.kind {
                b'E' => {
                    let error = ServerError::read(message.whole).of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        self.end_with(error.clone().into_trouble());
                        return Err(error);
                    }
                    // Before the last stands what a scrape left.
                    if self.pipe.owed() == 1 {
                        failed.get_or_insert(error);
                    }
                }
                b'Z' if self.pipe.owed() == 0 => return failed.map_or(Ok(()), Err),
                _ => {}
            }
        }
    }

    /// Prepares all of them; `path` is set meanwhile, where there is one. The error of each is its
    /// own.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn prepare_all(
        &mut self,
        statements: &mut [&mut Prepared],
        path: Option<[&str; 2]>,
    ) -> Result<Vec<Result<(), QueryError>>, QueryError> {
        use postgres_protocol::message::frontend;
        let out = self.pipe.outbox();
        // Nobody wants these any more.
        self.statements.retain(|(name, wanted)| {
            let keep = wanted.strong_count() > 0;
            keep || frontend::close(b'S', name, out).is_err()
        });
        let mut settings = Vec::new();
        if let Some([before, _]) = path {
            self.set(before, &mut settings);
        }
        let first = self.next_statement;
        let mut results = Vec::with_capacity(statements.len());
        for statement in statements.iter() {
            let name = name(&self.statement_prefix, self.next_statement);
            self.next_statement += 1;
            let out: &mut BytesMut = self.pipe.outbox();
            let put = without_zero(&statement.sql)
                .and_then(|()| frontend::parse(&name, &statement.sql, [], out))
                .and_then(|()| frontend::describe(b'S', &name, out));
            results.push(put.map_err(|error| QueryError::Server(error.to_string())));
            self.pipe.sync();
        }
        if let Some([_, after]) = path {
            self.set(after, &mut settings);
        }
        let broke = self
            .described(first, statements, &mut results, path.is_some())
            .await;
        if let Err(error) = broke {
            self.end_with(error.clone().into_trouble());
            return Err(error);
        }
        Ok(results)
    }

    async fn described(
        &mut self,
        first: u64,
        statements: &mut [&mut Prepared],
        results: &mut [Result<(), QueryError>],
        with_path: bool,
    ) -> Result<(), QueryError> {
        let mut found = None;
        let (mut at, mut setting) = (0, with_path);
        while at < statements.len() || setting {
            let message = self.pipe.next().await;
            let message = message.map_err(|error| QueryError::lost(&error))?;
            match message.kind {
                b'T' if !setting => found = Some(columns(message.whole)),
                b'n' if !setting => found = Some(Vec::new()),
                b'E' => {
                    let error = ServerError::read(message.whole).of_query();
                    if setting || matches!(error, QueryError::Lost(..)) {
                        return Err(match error {
                            lost @ QueryError::Lost(..) => lost,
                            other => QueryError::Lost(other.to_string(), Reason::ServerError),
                        });
                    }
                    results[at] = Err(error);
                }
                b'Z' if setting => setting = false,
                b'Z' => {
                    let statement = &mut *statements[at];
                    match (&results[at], found.take()) {
                        (Ok(()), Some(columns)) => {
                            let name = name(&self.statement_prefix, first + at as u64);
                            let wanted = statement.hold(self.id, &name, &columns);
                            self.statements.push((name, wanted));
                        }
                        (Ok(()), None) => return Err(malformed()),
                        (Err(_), _) => statement.refuse(self.id),
                    }
                    at += 1;
                    // The way back from the path is answered after the last.
                    setting = with_path && at == statements.len();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{number}")
}

fn malformed() -> QueryError {
    let message = "the server's answer is not as its protocol has it".to_owned();
    QueryError::Lost(message, Reason::ConnectionLost)
}
