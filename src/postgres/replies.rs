//! Follows the answers of a pipeline, message by message: each goes to the job that it belongs to.
//! No I/O: what is to be done with the connection is returned.

use super::charset::Charset;
use super::connection::ServerMessage;
use super::error::{QueryError, ServerError, malformed};
use super::job::{JobState, PipelineJob, UnfinishedJobs};
use super::request::PendingReply;
use super::result_cancel::ResultCancel;
use super::row::{FieldRanges, Fields};
use super::value::Encoding;
use crate::model::TargetErrorKind;

/// Buffers that are used again for each row.
#[derive(Debug, Default)]
pub(super) struct RowBuffers {
    pub field_ranges: FieldRanges,
    scratch: Vec<u8>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyUse {
    /// Something was made of it.
    Used,
    /// It was of no use.
    Wasted,
    /// It is a row of this job, which takes no more.
    Unwanted(usize),
}

/// The answers of one run.
pub(super) struct ReplyReader<'a, 'j> {
    jobs: &'a mut [&'j mut dyn PipelineJob],
    states: &'a mut [JobState],
    replies: &'a [PendingReply],
    /// Jobs that were prepared anew already.
    renewed: &'a [usize],
    /// The number of the session.
    session: u64,
    /// The database's encoding.
    database: Charset,
    /// The reply that is being read.
    at: usize,
    /// It has brought rows: a stale statement has not.
    begun: bool,
    /// What became of it, and whether it is run again.
    failed: Option<QueryError>,
    again: bool,
    unfinished: UnfinishedJobs,
    pub(super) stopping: ResultCancel,
}

impl<'a, 'j> ReplyReader<'a, 'j> {
    /// For these `replies`, in that order.
    pub(super) fn new(
        jobs: &'a mut [&'j mut dyn PipelineJob],
        states: &'a mut [JobState],
        replies: &'a [PendingReply],
        renewed: &'a [usize],
        session: u64,
        database: Charset,
    ) -> Self {
        Self {
            jobs,
            states,
            replies,
            renewed,
            session,
            database,
            at: 0,
            begun: false,
            failed: None,
            again: false,
            unfinished: UnfinishedJobs::default(),
            stopping: ResultCancel::default(),
        }
    }

    /// Whether anything is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.at < self.replies.len()
    }

    /// What is still to come.
    pub(super) fn open_replies(&self) -> &[PendingReply] {
        &self.replies[self.at..]
    }

    /// The jobs that are to be run again.
    pub(super) fn into_unfinished(self) -> UnfinishedJobs {
        self.unfinished
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// The session broke.
    pub(super) fn handle_message(
        &mut self,
        message: ServerMessage<'_>,
        buffers: &mut RowBuffers,
    ) -> Result<ReplyUse, QueryError> {
        let Some(reply) = self.replies.get(self.at) else {
            return Err(malformed());
        };
        match (message.kind, reply) {
            (b'D', PendingReply::Job(job, ..) | PendingReply::Whole(job, _))
                if self.failed.is_some() =>
            {
                return Ok(ReplyUse::Unwanted(*job));
            }
            (b'D', PendingReply::Job(job, encodings, charset)) => {
                self.handle_row(*job, encodings, *charset, message, buffers)?;
            }
            (b'D', PendingReply::Whole(job, charset)) => {
                self.handle_row(*job, &[], *charset, message, buffers)?;
            }
            // The end of a statement; an empty one has its own.
            (b'C' | b'I', PendingReply::Job(job, ..)) => {
                self.jobs[*job].finish(self.failed.take().map_or(Ok(()), Err));
                self.begun = false;
                self.at += 1;
            }
            (b'E', reply) => self.handle_error(reply, &ServerError::read(message.whole))?,
            (b'Z', reply) => self.handle_ready(reply)?,
            // It waits for rows that we do not have.
            (b'G', _) => {
                let message = "a query waits for data, as COPY FROM STDIN does".to_owned();
                return Err(QueryError::Lost(message, TargetErrorKind::ServerError));
            }
            // ParseComplete, BindComplete, RowDescription, notices and the like; and rows of COPY,
            // which nobody wants.
            _ => return Ok(ReplyUse::Wasted),
        }
        Ok(ReplyUse::Used)
    }

    fn handle_row(
        &mut self,
        job: usize,
        encodings: &[Encoding],
        charset: Charset,
        message: ServerMessage<'_>,
        buffers: &mut RowBuffers,
    ) -> Result<(), QueryError> {
        self.begun = true;
        let row = match message.cut {
            Some(length) => Err(QueryError::TooLarge(format!(
                "a row has {length} bytes; let the query return less, or raise message_limit"
            ))),
            None => {
                let fields = Fields::read(message.body(), &mut buffers.field_ranges, encodings);
                let fields = fields.ok_or_else(malformed)?.in_charset(charset);
                self.jobs[job].row(fields, &mut buffers.scratch)
            }
        };
        if let Err(error) = row {
            self.jobs[job].stop(&error);
            self.failed = Some(error);
        }
        Ok(())
    }

    fn handle_error(&mut self, reply: &PendingReply, said: &ServerError) -> Result<(), QueryError> {
        let error = said.of_query();
        if matches!(error, QueryError::Lost(..)) {
            return Err(error);
        }
        match reply {
            PendingReply::Job(job, ..) => {
                self.fail_job(*job, said, error);
                self.at += 1;
                // The server skips what follows under the same Sync.
                while let Some(PendingReply::Job(job, ..)) = self.replies.get(self.at) {
                    self.unfinished.skip(*job, self.states);
                    self.at += 1;
                }
            }
            PendingReply::Whole(job, _) if self.stopping.hits(*job, &error) => self.again = true,
            PendingReply::Whole(job, _) if self.failed.is_none() => {
                self.again = self.states[*job].try_again(said, self.database);
                self.failed = Some(error);
            }
            PendingReply::Whole(..) | PendingReply::Setting(_) | PendingReply::Sync => {
                self.failed.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// The job whose statement failed ends with that, or is run once more.
    fn fail_job(&mut self, job: usize, said: &ServerError, error: QueryError) {
        let begun = std::mem::take(&mut self.begun);
        let earlier = self.failed.take();
        let own = &mut self.jobs[job];
        let stale = said.may_be_stale() && !begun && own.statement().is_held_in(self.session);
        if self.stopping.hits(job, &error) {
            // It was cancelled in place of another.
            own.restart(self.states[job].raw);
            self.unfinished.skip(job, self.states);
        } else if let Some(earlier) = earlier {
            own.finish(Err(earlier));
        } else if stale && !self.renewed.contains(&job) {
            self.unfinished.add_stale(job, self.states);
            self.unfinished.forgot |= said.has_lost_statement();
        } else if stale {
            // It is no use to prepare it. Without a name it is never stale.
            if let Some(statement) = own.renew() {
                statement.refuse(self.session);
            }
            self.unfinished.skip(job, self.states);
        } else if self.states[job].try_again(said, self.database) {
            own.restart(self.states[job].raw);
            self.unfinished.skip(job, self.states);
        } else {
            own.finish(Err(error));
        }
    }

    fn handle_ready(&mut self, reply: &PendingReply) -> Result<(), QueryError> {
        let failed = self.failed.take();
        match reply {
            PendingReply::Whole(job, _) if std::mem::take(&mut self.again) => {
                self.jobs[*job].restart(self.states[*job].raw);
                self.unfinished.skip(*job, self.states);
            }
            PendingReply::Whole(job, _) => self.jobs[*job].finish(failed.map_or(Ok(()), Err)),
            PendingReply::Setting(required) => {
                // What follows would run without its limits.
                if let Some(error) = failed.filter(|_| *required) {
                    let reason = match error {
                        // A user's query can set a timeout that its own end runs into.
                        QueryError::Timeout(_) => TargetErrorKind::NotReady,
                        _ => TargetErrorKind::ServerError,
                    };
                    let message = format!("the server refused a setting: {error}");
                    return Err(QueryError::Lost(message, reason));
                }
            }
            PendingReply::Sync => {}
            PendingReply::Job(..) => return Err(malformed()),
        }
        self.at += 1;
        Ok(())
    }

    /// The session broke: every job that has not ended does so with that error, and the one that
    /// the server was at when it said that it ends the session is marked.
    pub(super) fn end_all(self, error: &QueryError) {
        let open = self.replies[self.at..].iter();
        let open = open.filter_map(PendingReply::job);
        let UnfinishedJobs { skipped, stale, .. } = self.unfinished;
        for job in skipped.into_iter().chain(stale).chain(open) {
            self.jobs[job].finish(Err(error.clone()));
        }
        let sent = &self.replies[..self.replies.len().min(self.at + 1)];
        let suspect = sent.iter().rev().find_map(PendingReply::job);
        if let (Some(at), QueryError::Lost(_, TargetErrorKind::NotReady)) = (suspect, error) {
            self.states[at].ended_session = true;
        }
    }
}
