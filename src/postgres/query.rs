//! A chosen query, when it is due, and what it gave last.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::QueryError;
use super::sample_buffer::SampleBuffer;
use super::samples::QuerySamples;
use super::schedule::{QuerySchedule, RunResult};
use super::statement::Prepared;
use crate::catalog::{Chosen, ColumnKind};
use crate::exposition::render_label;
use crate::targets::LeftOutReason;

/// How the last run of a slot ended.
#[derive(Debug, Default)]
pub enum QueryOutcome {
    /// It was not run yet.
    #[default]
    Waiting,
    /// It is being run; still so after a collection when the deadline cut it off.
    Running,
    /// Its samples are shown.
    Done,
    /// It gave none.
    Failed(QueryError),
}

/// A query in one database of one server.
#[derive(Debug)]
pub struct ScheduledQuery {
    /// What runs.
    pub chosen: Chosen,
    /// How the last run ended.
    pub outcome: QueryOutcome,
    pub(super) prepared: Prepared,
    /// It was at work when a deadline came, and those behind it had no turn.
    pub(super) slow: bool,
    /// Its last run failed: what stands behind it under one Sync would be skipped.
    pub(super) failing: bool,
    /// Its text holds what the server cannot turn into UTF-8: it comes as the database holds it.
    pub(super) raw: bool,
    /// How many samples of its last run had the labels of another one of it.
    pub(super) duplicates: usize,
    /// It shows samples that were not compared with those of other slots yet.
    uncompared: bool,
    /// The session ended while the server worked on it, and it has not given its samples since.
    broke: bool,
    pub(super) buffer: SampleBuffer,
    /// It ran and nobody entered it yet.
    pub(super) fresh: bool,
    schedule: QuerySchedule,
    /// The rendered label `database`, empty where the query has one of its own.
    pub(super) database: Vec<u8>,
    /// The database it runs in.
    database_name: String,
    /// Columns whose text is cut: statements that other sessions run.
    pub(super) cut: Vec<bool>,
}

impl ScheduledQuery {
    /// A slot that has not run.
    #[must_use]
    pub fn new(chosen: Chosen, database: &str) -> Self {
        let query = chosen.query();
        let own = query
            .columns
            .iter()
            .any(|column| column.kind == ColumnKind::Label && column.name == "database");
        let mut label = Vec::new();
        if !own {
            render_label(&mut label, "database", database.as_bytes());
        }
        let cut = query
            .columns
            .iter()
            .map(|column| {
                column.kind == ColumnKind::Label
                    && (column.name == "query" || column.name.ends_with("_query"))
            })
            .collect();
        Self {
            prepared: Prepared::new(Arc::clone(&query.sql)),
            outcome: QueryOutcome::Waiting,
            slow: false,
            failing: false,
            raw: false,
            duplicates: 0,
            uncompared: false,
            broke: false,
            buffer: SampleBuffer::default(),
            fresh: false,
            schedule: QuerySchedule::default(),
            database: label,
            database_name: database.to_owned(),
            cut,
            chosen,
        }
    }

    /// Whether it is time to run again. `interval` overrides the one of a metric that has one.
    #[must_use]
    pub fn is_due(&self, now: Instant, interval: Option<Duration>) -> bool {
        let own = self.chosen.metric.interval;
        self.schedule
            .is_due(now, own.map(|own| interval.unwrap_or(own)))
    }

    /// The families that it fills, by index in the catalogue.
    pub fn families(&self) -> impl Iterator<Item = usize> {
        let columns = self.chosen.query().columns.iter();
        columns.filter_map(|column| column.kind.family())
    }

    /// The database it runs in.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database_name
    }

    /// What it shows.
    #[must_use]
    pub fn samples(&self) -> Option<&Arc<QuerySamples>> {
        self.buffer.shown()
    }

    /// How many samples of its last run were left out, because a row before had their labels.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Whether the query has a label `database` of its own, which may be the same in several
    /// databases.
    #[must_use]
    pub fn names_databases(&self) -> bool {
        self.database.is_empty()
    }

    /// Whether it shows samples that were not compared yet with those of other slots; once.
    pub fn take_uncompared(&mut self) -> bool {
        std::mem::take(&mut self.uncompared)
    }

    /// Leaves out what a row has in a column. Returns how many samples that were.
    pub fn drop_row(&mut self, column: usize, row: usize) -> usize {
        let shown = self.buffer.shown_mut();
        shown.map_or(0, |samples| samples.drop_row(column, row))
    }

    /// A run that succeeded: it shows these.
    pub(super) fn show(&mut self, samples: QuerySamples, duplicates: usize) {
        self.duplicates = duplicates;
        self.uncompared = true;
        self.buffer.show(samples);
        self.schedule.record(Instant::now(), RunResult::Success);
        self.prepared.accept();
        self.slow = false;
        self.broke = false;
        self.failing = false;
        self.outcome = QueryOutcome::Done;
    }

    /// A run that failed: it shows nothing, and waits for its next turn.
    pub(super) fn fail(&mut self, error: QueryError) {
        let result = match error {
            QueryError::Denied(_) => RunResult::Denied,
            _ => RunResult::Failure,
        };
        self.schedule.record(Instant::now(), result);
        self.failing = true;
        self.show_nothing(error);
    }

    /// Shows nothing, and says why. Its turn is still to come: it was not its own fault.
    pub(super) fn show_nothing(&mut self, error: QueryError) {
        self.buffer.hide();
        self.outcome = QueryOutcome::Failed(error);
    }

    /// Whether that session has to prepare it before it is run. One that failed last time is sent
    /// without a name when it is due: a new session is not to run into the same error before that.
    pub(super) fn is_missing_in(&self, session: u64) -> bool {
        !self.failing && self.prepared.is_new_to(session)
    }

    /// The session refused to prepare it. What is wrong is told by its next run, which sends it
    /// without a name.
    pub(super) fn refused(&mut self) {
        self.failing = true;
    }

    /// The deadline came while the server worked on this one: it counts as a run that failed, and
    /// from now on it waits for those that it held up.
    pub(super) fn cut_off_at_work(&mut self) {
        self.slow = true;
        self.fail(QueryError::Deadline(
            "no answer before the scrape's deadline".to_owned(),
        ));
    }

    /// The session ended while the server worked on this one, or right behind it. A server that is
    /// shut down, a person, or whatever stands between may have ended it; it is the query if that
    /// happens twice in a row, and it is not to do so at each scrape.
    pub(super) fn broke_session(&mut self) {
        self.failing = true;
        if std::mem::replace(&mut self.broke, true) {
            self.schedule
                .record(Instant::now(), RunResult::EndedSession);
            self.show_nothing(QueryError::Server(
                "the session ended while this ran, twice in a row; it is left out for a minute, \
                 and longer each time"
                    .to_owned(),
            ));
        }
    }

    /// Whether it ran since [`Self::take_fresh`].
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The same, once.
    pub fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// It was due and could not be run: it shows nothing, and is still due.
    pub fn miss(&mut self, error: QueryError) {
        self.show_nothing(error);
    }

    /// A run that stood behind another one when the deadline came shows nothing, and is still due.
    pub fn cut_off(&mut self) {
        if matches!(self.outcome, QueryOutcome::Running) {
            self.show_nothing(QueryError::Deadline(
                "the query did not start before the scrape's deadline".to_owned(),
            ));
        }
    }

    /// Whether the role had no right to it when it last ran.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.outcome, QueryOutcome::Failed(QueryError::Denied(_)))
    }

    /// Whether its session broke while it ran.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.outcome, QueryOutcome::Failed(QueryError::Lost(..)))
    }

    /// Whether it gave more than there is room for.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        self.left_out().is_some()
    }

    /// What it gave too much of.
    #[must_use]
    pub fn left_out(&self) -> Option<LeftOutReason> {
        match &self.outcome {
            QueryOutcome::Failed(QueryError::TooMany) => Some(LeftOutReason::TooManySamples),
            QueryOutcome::Failed(QueryError::TooLarge(_)) => Some(LeftOutReason::TooLarge),
            _ => None,
        }
    }

    /// Shows nothing, because there is no room, and does not run again before it is due.
    pub fn leave_out(&mut self, why: QueryError) {
        self.buffer.drop_all();
        self.schedule.record(Instant::now(), RunResult::TooMuch);
        self.failing = false;
        self.outcome = QueryOutcome::Failed(why);
    }

    /// Shows nothing before it has run again.
    pub fn forget(&mut self) {
        self.buffer.hide();
        self.schedule.reset();
        self.outcome = QueryOutcome::Waiting;
    }

    /// What failed is tried again now, as somebody may have mended it. What is shown stays.
    pub fn retry(&mut self) {
        self.schedule.retry();
    }

    /// Runs again now, whatever came of the last run. What is shown stays.
    pub fn make_due(&mut self) {
        self.schedule.reset();
    }
}
