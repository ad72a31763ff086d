//! What a pipeline puts into its outbox, and what the server then has to answer.

use std::io;
use std::sync::Arc;

use super::batch::JobGroup;
use super::charset::Charset;
use super::connection::Connection;
use super::error::QueryError;
use super::job::PipelineJob;
use super::session_settings::SessionSettings;
use super::statement::Mode;
use super::value::Encoding;

/// The first jobs of a list, sent before the others under a Sync of their own: how the columns of
/// each come.
#[derive(Debug)]
pub(super) struct SentAhead {
    pub(super) extensions: bool,
    pub(super) databases: bool,
    pub(super) jobs: Vec<Arc<[Encoding]>>,
}

/// What the server was sent and has to answer, in that order.
#[derive(Debug)]
pub(super) enum PendingReply {
    /// Ends with its completion; how its columns come.
    Job(usize, Arc<[Encoding]>, Charset),
    /// A simple query: ends when the server is ready for the next.
    Whole(usize, Charset),
    /// Settings by simple query, and whether they have to hold.
    Setting(bool),
    Sync,
}

impl PendingReply {
    /// The job that it belongs to.
    pub(super) fn job(&self) -> Option<usize> {
        match self {
            PendingReply::Job(at, ..) | PendingReply::Whole(at, _) => Some(*at),
            PendingReply::Setting(_) | PendingReply::Sync => None,
        }
    }
}

/// Writes the messages of one run.
pub(super) struct RequestWriter<'a> {
    pub connection: &'a mut Connection,
    pub settings: &'a SessionSettings,
    pub mode: Mode,
    /// The number of the session.
    pub session: u64,
    /// The database's encoding.
    pub database: Charset,
    pub replies: Vec<PendingReply>,
}

impl RequestWriter<'_> {
    /// Takes note of what was sent already.
    pub(super) fn add_sent(&mut self, ahead: SentAhead) {
        let charset = self.charset(false);
        let job = |(at, encodings)| PendingReply::Job(at, encodings, charset);
        self.replies
            .extend(ahead.jobs.into_iter().enumerate().map(job));
        self.replies.push(PendingReply::Sync);
    }

    /// Puts the jobs of a group, with the settings around them. One that cannot be put has ended.
    pub(super) fn put_group(&mut self, group: &JobGroup, jobs: &mut [&mut dyn PipelineJob]) {
        if let Some(before) = &group.before {
            self.put_settings(before, true);
        }
        for batch in &group.batches {
            let mut any = false;
            for &at in batch {
                match self.put_job(at, &*jobs[at], group) {
                    Ok(reply) => {
                        any |= matches!(reply, PendingReply::Job(..));
                        self.replies.push(reply);
                    }
                    Err(error) => jobs[at].finish(Err(QueryError::Server(error.to_string()))),
                }
            }
            if any {
                self.connection.sync();
                self.replies.push(PendingReply::Sync);
            }
        }
        if let Some(after) = &group.after {
            self.put_settings(after, true);
        }
    }

    fn put_job(
        &mut self,
        at: usize,
        job: &dyn PipelineJob,
        group: &JobGroup,
    ) -> io::Result<PendingReply> {
        let charset = self.charset(group.raw);
        let in_transaction = !job.is_builtin() && group.before.is_some();
        if self.mode != Mode::Pooled || in_transaction {
            let put = job.statement().put(self.session, self.connection.outbox());
            return put.map(|encodings| PendingReply::Job(at, encodings, charset));
        }
        let sql = &job.statement().sql;
        let text = if job.is_builtin() {
            // One simple query of several statements is one transaction, so that SET LOCAL ends
            // with it and a pooler keeps us on one server meanwhile (PostgreSQL, "Simple Query").
            self.settings.pooled(group.raw) + sql
        } else {
            // Statement pooling, where a transaction may not span messages.
            self.settings
                .in_one_message(sql, group.raw)
                .ok_or_else(|| {
                    io::Error::other(
                        "the pooler takes no transactions, and a query has to be one statement \
                         there; take the semicolon out",
                    )
                })?
        };
        self.connection.query(&text)?;
        Ok(PendingReply::Whole(at, charset))
    }

    /// Puts settings; `required` is whether what follows may not run without them.
    pub(super) fn put_settings(&mut self, settings: &str, required: bool) {
        // These texts are ours and hold no zero byte.
        if self.connection.query(settings).is_ok() {
            self.replies.push(PendingReply::Setting(required));
        }
    }

    /// How text comes.
    fn charset(&self, raw: bool) -> Charset {
        match raw || self.database == Charset::Any {
            true => self.database,
            false => Charset::Utf8,
        }
    }
}
