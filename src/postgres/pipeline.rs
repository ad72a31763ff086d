//! Many statements in one go: all are sent before the first answer is read, and those that belong
//! together stand under one Sync (PostgreSQL, "Pipelining").
//!
//! Under one Sync the server begins and ends one transaction, answers in few packets, and reads its
//! statistics once. It also skips what follows a statement that fails; that is sent again, so that
//! an error stays the error of its query alone.

use std::sync::Arc;

use super::batch::{BatchClass, BatchRules, JobGroup};
use super::charset::Charset;
use super::connection::Connection;
use super::connector::Connector;
use super::error::QueryError;
use super::job::{JobState, PipelineJob, UnfinishedJobs};
use super::login::{CancelKey, LoggedIn};
use super::prepare::PreparedStatements;
use super::replies::{ReplyReader, ReplyUse, RowBuffers};
use super::request::{PendingReply, RequestWriter, SentAhead};
use super::session_settings::SessionSettings;
use super::simple_query::execute;
use super::statement::{Mode, Prepared};
use crate::model::TargetErrorKind;

/// A connection that is logged in, with all that decides how statements are sent over it.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub connection: Connection,
    pub connector: Arc<Connector>,
    pub key: CancelKey,
    pub mode: Mode,
    /// The database's encoding.
    pub charset: Charset,
    /// What the session is set to.
    pub settings: SessionSettings,
    pub statements: PreparedStatements,
    /// Not all queries are known to answer in time.
    pub careful: bool,
    /// Settings that go out with the first queries, and whether they have to hold.
    pub greeting: Vec<(String, bool)>,
    pub buffers: RowBuffers,
}

impl Pipeline {
    /// Over what is logged in, without settings yet. `id` is the number of the session.
    pub(super) fn new(connector: &Arc<Connector>, id: u64, mode: Mode, login: LoggedIn) -> Self {
        let timeouts = connector.target.timeouts;
        // Such a database holds any bytes. Asked for UTF-8 the server would refuse a row with a bad
        // one; they are escaped here instead.
        let raw = login.charset == Charset::Any;
        let refused = connector.quirks.refused_settings();
        Self {
            connection: login.connection,
            connector: Arc::clone(connector),
            key: login.key,
            mode,
            charset: login.charset,
            settings: SessionSettings::new(timeouts, raw, login.major, &refused),
            statements: PreparedStatements::new(id),
            careful: true,
            greeting: Vec::new(),
            buffers: RowBuffers::default(),
        }
    }

    /// The number of the session.
    pub(super) fn session(&self) -> u64 {
        self.statements.session()
    }

    /// What decides how jobs are sent.
    pub(super) fn rules(&self) -> BatchRules<'_> {
        let pooled = self.mode == Mode::Pooled;
        BatchRules {
            settings: &self.settings,
            mode: self.mode,
            careful: self.careful,
            whole_transactions: pooled && self.connector.quirks.refuses_transactions(),
        }
    }

    /// Sends one simple query and waits until it is done.
    ///
    /// # Errors
    /// What the server said.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), QueryError> {
        execute(&mut self.connection, sql).await
    }

    /// Prepares all of them, as [`PreparedStatements::prepare_all`] does.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn prepare_all(
        &mut self,
        statements: &mut [&mut Prepared],
        path: Option<&[String; 2]>,
    ) -> Result<Vec<Result<(), QueryError>>, QueryError> {
        let connection = &mut self.connection;
        self.statements
            .prepare_all(connection, statements, path)
            .await
    }

    /// Runs one question of our own.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn ask(&mut self, job: &mut dyn PipelineJob) -> Result<(), QueryError> {
        let (mut states, batch_classes) = ([JobState::default()], [BatchClass::default()]);
        self.run(None, &mut [job], &mut states, &batch_classes)
            .await
    }

    /// Runs all, of which the first were sent `ahead`.
    ///
    /// # Errors
    /// The session broke. Every job has ended then.
    pub(super) async fn run(
        &mut self,
        mut ahead: Option<SentAhead>,
        jobs: &mut [&mut dyn PipelineJob],
        states: &mut [JobState],
        batch_classes: &[BatchClass],
    ) -> Result<(), QueryError> {
        let sent = ahead.as_ref().map_or(0, |ahead| ahead.jobs.len());
        let mut left: Vec<usize> = (sent..jobs.len()).collect();
        let mut renewed = Vec::new();
        while ahead.is_some() || !left.is_empty() {
            let groups = self.rules().group(&left, states, batch_classes);
            let unfinished = self
                .run_groups(ahead.take(), jobs, states, &groups, &renewed)
                .await?;
            left = unfinished.skipped;
            let mut stale = unfinished.stale;
            if stale.is_empty() {
                continue;
            }
            if unfinished.forgot {
                // One after the other would be found to be unknown.
                let id = self.session();
                let held =
                    |at: &usize| !renewed.contains(at) && jobs[*at].statement().is_held_in(id);
                stale.extend(left.extract_if(.., |at| held(at)));
            }
            match self.prepare_anew(&stale, jobs).await {
                Ok(ready) => left.extend(ready),
                Err(error) => {
                    for at in left.into_iter().chain(stale) {
                        jobs[at].finish(Err(error.clone()));
                    }
                    return Err(error);
                }
            }
            left.sort_unstable();
            renewed.extend(stale);
        }
        Ok(())
    }

    /// Runs all jobs in `groups`, after those that were sent `ahead`. Returns those that are to be
    /// run again: they were skipped because one before them failed, have a second try, as `states`
    /// then tells, or are stale. One of `renewed` was prepared anew already: when it is stale once
    /// more, it is sent without a name.
    ///
    /// # Errors
    /// The session broke. Every job has ended then.
    async fn run_groups(
        &mut self,
        ahead: Option<SentAhead>,
        jobs: &mut [&mut dyn PipelineJob],
        states: &mut [JobState],
        groups: &[JobGroup],
        renewed: &[usize],
    ) -> Result<UnfinishedJobs, QueryError> {
        let session = self.session();
        let mut request = RequestWriter {
            connection: &mut self.connection,
            settings: &self.settings,
            mode: self.mode,
            session,
            database: self.charset,
            replies: Vec::new(),
        };
        if let Some(ahead) = ahead {
            request.add_sent(ahead);
        }
        for (greeting, required) in std::mem::take(&mut self.greeting) {
            request.put_settings(&greeting, required);
        }
        for group in groups {
            request.put_group(group, jobs);
        }
        let replies = request.replies;
        let mut reader = ReplyReader::new(jobs, states, &replies, renewed, session, self.charset);
        let Err(mut error) = self.read_replies(&mut reader).await else {
            return Ok(reader.into_unfinished());
        };
        // A transaction of a user's query, as the pooler that ends the session for it has it.
        if self.mode == Mode::Pooled
            && let QueryError::Lost(message, reason) = &mut error
            && *reason == TargetErrorKind::ServerError
            // All but our own queries, which are one message each.
            && reader
                .open_replies()
                .iter()
                .any(|reply| !matches!(reply, PendingReply::Whole(..)))
        {
            self.connector.quirks.note_refused_transactions();
            *reason = TargetErrorKind::NotReady;
            message.push_str("; users' queries are sent as one message each from now on");
        }
        reader.end_all(&error);
        self.connection.end_with(error.clone().into_target_error());
        Err(error)
    }

    async fn read_replies(&mut self, reader: &mut ReplyReader<'_, '_>) -> Result<(), QueryError> {
        let lost = |error: std::io::Error| QueryError::lost(&error);
        let connection = &mut self.connection;
        connection.expect();
        while reader.is_waiting() {
            let message = connection.next().await.map_err(lost)?;
            let length = message.cut.unwrap_or(message.whole.len());
            match reader.handle_message(message, &mut self.buffers)? {
                ReplyUse::Used => {}
                ReplyUse::Wasted => connection.waste(length).map_err(lost)?,
                ReplyUse::Unwanted(job) => {
                    connection.waste(length).map_err(lost)?;
                    let stopping = &mut reader.stopping;
                    stopping.more(job, length, &self.connector, &self.key).await;
                }
            }
        }
        Ok(())
    }

    /// Prepares the statements of these jobs anew, with their columns as they are now. Returns
    /// those that are to be sent again.
    ///
    /// # Errors
    /// The session broke.
    async fn prepare_anew(
        &mut self,
        stale: &[usize],
        jobs: &mut [&mut dyn PipelineJob],
    ) -> Result<Vec<usize>, QueryError> {
        let mut ready = Vec::new();
        for own in [true, false] {
            let (mut places, mut statements) = (Vec::new(), Vec::new());
            for (at, job) in jobs.iter_mut().enumerate() {
                if !stale.contains(&at) || job.is_builtin() != own {
                    continue;
                }
                match job.renew() {
                    Some(statement) => {
                        places.push(at);
                        statements.push(statement);
                    }
                    None => ready.push(at),
                }
            }
            if statements.is_empty() {
                continue;
            }
            let around = self.settings.around_users_prepare();
            let path = (!own).then_some(&around);
            self.prepare_all(&mut statements, path).await?;
            // One that cannot be prepared is sent without a name, which tells what is wrong.
            ready.extend(places);
        }
        Ok(ready)
    }
}
