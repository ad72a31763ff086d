//! A chosen query with what it gave last: rows go in, samples come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::QueryError;
use super::histogram::histogram;
use super::pipeline::PipelineJob;
use super::row::Fields;
use super::samples::{QuerySamples, SampleBudget, SampleBuffer};
use super::schedule::{QuerySchedule, RunResult};
use super::statement::Prepared;
use super::value::{self, Encoding};
use crate::catalog::{Catalog, Chosen, ColumnKind};
use crate::exposition::{SampleWriter, render_label, split_labels};
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
    duplicates: usize,
    /// It shows samples that were not compared with those of other slots yet.
    uncompared: bool,
    /// The session ended while the server worked on it, and it has not given its samples since.
    broke: bool,
    buffer: SampleBuffer,
    /// It ran and nobody entered it yet.
    fresh: bool,
    schedule: QuerySchedule,
    /// The rendered label `database`, empty where the query has one of its own.
    database: Vec<u8>,
    /// The database it runs in.
    database_name: String,
    /// Columns whose text is cut: statements that other sessions run.
    cut: Vec<bool>,
}

/// What all slots of a server share.
#[derive(Clone, Copy, Debug)]
pub struct QueryContext<'a> {
    /// Names of the families.
    pub catalog: &'a Catalog,
    /// Rendered labels of the target, `server` first.
    pub labels: &'a [u8],
    /// Longest text of a statement in a label, in characters.
    pub query_text: usize,
    /// Longest value of a label, in bytes.
    pub label_value: usize,
    /// What may still come.
    pub budget: &'a SampleBudget,
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

    /// A run that failed: it shows nothing, and waits for its next turn.
    fn fail(&mut self, error: QueryError) {
        let result = match error {
            QueryError::Denied(_) => RunResult::Denied,
            _ => RunResult::Failure,
        };
        self.schedule.record(Instant::now(), result);
        self.failing = true;
        self.show_nothing(error);
    }

    /// Shows nothing, and says why. Its turn is still to come: it was not its own fault.
    fn show_nothing(&mut self, error: QueryError) {
        self.buffer.hide();
        self.outcome = QueryOutcome::Failed(error);
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
                "no turn before the scrape's deadline".to_owned(),
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

/// A slot while it runs.
pub(super) struct QueryRun<'a> {
    slot: &'a mut ScheduledQuery,
    context: QueryContext<'a>,
    /// The target's labels without those that the query has itself; `None` where it has none of
    /// them.
    labels: Option<Vec<u8>>,
    /// What it gives; `None` once it has ended.
    samples: Option<QuerySamples>,
    /// Bytes of its rows that came.
    wire: usize,
}

impl<'a> QueryRun<'a> {
    /// Begins a run.
    pub(super) fn begin(slot: &'a mut ScheduledQuery, context: QueryContext<'a>) -> Self {
        slot.outcome = QueryOutcome::Running;
        slot.fresh = true;
        let columns = &slot.chosen.query().columns;
        let is_own = |label: &[u8]| {
            let mut own = columns
                .iter()
                .filter(|column| column.kind == ColumnKind::Label);
            own.any(|column| column.name.as_bytes() == label) || label == b"database"
        };
        let labels = without(context.labels, is_own);
        let families = columns.iter().filter_map(|column| column.kind.family());
        let samples = slot.buffer.take_table(families);
        Self {
            slot,
            context,
            labels,
            samples: Some(samples),
            wire: 0,
        }
    }

    /// The slot. One that has not ended is left in [`QueryOutcome::Running`].
    pub(super) fn over(self) -> &'a mut ScheduledQuery {
        if let Some(unused) = self.samples {
            self.slot.buffer.put_back(unused);
        }
        self.slot
    }
}

impl PipelineJob for QueryRun<'_> {
    fn statement(&self) -> &Prepared {
        &self.slot.prepared
    }

    fn renew(&mut self) -> Option<&mut Prepared> {
        Some(&mut self.slot.prepared)
    }

    fn is_builtin(&self) -> bool {
        self.slot.chosen.metric.builtin
    }

    fn row(&mut self, fields: Fields<'_>, scratch: &mut Vec<u8>) -> Result<(), QueryError> {
        let columns = &self.slot.chosen.query().columns;
        if fields.len() != columns.len() {
            return Err(QueryError::Shape {
                found: fields.len(),
                expected: columns.len(),
            });
        }
        let Some(out) = &mut self.samples else {
            return Ok(());
        };
        let context = QueryContext {
            labels: self.labels.as_deref().unwrap_or(self.context.labels),
            ..self.context
        };
        render_labels(out.labels(), self.slot, context, fields, scratch);
        out.end_labels();
        for (at, column) in columns.iter().enumerate() {
            match column.kind {
                ColumnKind::Value(_) => {
                    let raw = fields.get(at);
                    out.put(raw.map(|raw| value::number(fields.encoding(at), raw)));
                }
                ColumnKind::HistogramBounds(index) => {
                    let buckets = fields.get(at).unwrap_or_default();
                    let buckets = buckets.iter().filter(|byte| **byte == b',').count();
                    let budget = self.context.budget;
                    budget.check_text(out.text().saturating_add(out.histogram_text(buckets)))?;
                    let family = &self.context.catalog.families[index];
                    out.put_lines(|lines, labels| histogram(lines, family, labels, fields, at));
                }
                _ => {}
            }
        }
        self.wire += fields.size();
        self.context.budget.check(out, self.wire)
    }

    fn stop(&mut self, error: &QueryError) {
        let given = self.samples.take();
        match error {
            QueryError::TooMany | QueryError::TooLarge(_) => self.slot.leave_out(error.clone()),
            error => {
                if let Some(samples) = given {
                    self.slot.buffer.put_back(samples);
                }
                self.slot.fail(error.clone());
            }
        }
    }

    fn restart(&mut self, raw: bool) {
        self.slot.raw |= raw;
        if let Some(samples) = &mut self.samples {
            samples.clear();
        }
    }

    /// A run that fails shows nothing: old rows would pass for new.
    fn finish(&mut self, result: Result<(), QueryError>) {
        let Some(mut samples) = self.samples.take() else {
            return;
        };
        let slot = &mut *self.slot;
        slot.duplicates = 0;
        match result {
            Ok(()) => {
                slot.duplicates = samples.drop_duplicates();
                slot.uncompared = true;
                self.context
                    .budget
                    .consume(samples.samples(), samples.text());
                slot.buffer.show(samples);
                slot.schedule.record(Instant::now(), RunResult::Success);
                slot.prepared.accept();
                slot.slow = false;
                slot.broke = false;
                slot.failing = false;
                slot.outcome = QueryOutcome::Done;
            }
            Err(why @ (QueryError::TooMany | QueryError::TooLarge(_))) => slot.leave_out(why),
            Err(error) => {
                slot.buffer.put_back(samples);
                match error {
                    // Most of those that a broken session takes along did nothing wrong.
                    QueryError::Lost(..) => slot.show_nothing(error),
                    error => slot.fail(error),
                }
            }
        }
    }
}

/// Rendered labels without those whose names are `own`; `None` when there are none of them. A label
/// that stands twice in one line would cost the scrape of all servers, and a reload of the catalogue
/// may bring a column that is called as a target's label is.
fn without(labels: &[u8], own: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let name = |label: &[u8]| {
        let end = label.iter().position(|byte| *byte == b'=');
        label[..end.unwrap_or(label.len())].to_vec()
    };
    let all = split_labels(labels);
    let kept: Vec<&[u8]> = all.iter().copied().filter(|one| !own(&name(one))).collect();
    (kept.len() < all.len()).then(|| kept.join(&b','))
}

/// Renders the labels of a row: the target's, the query's, the database.
fn render_labels(
    out: &mut Vec<u8>,
    slot: &ScheduledQuery,
    context: QueryContext<'_>,
    fields: Fields<'_>,
    scratch: &mut Vec<u8>,
) {
    let mut labels = SampleWriter::begin(out, "");
    labels.rendered(context.labels);
    for (at, column) in slot.chosen.query().columns.iter().enumerate() {
        if column.kind == ColumnKind::Label {
            let raw = fields.get(at).unwrap_or_default();
            let encoding = fields.encoding(at);
            let mut value = match encoding {
                Encoding::Text => fields.readable(raw, scratch),
                _ => value::label(encoding, raw, scratch),
            };
            if slot.cut[at] {
                value = value::cut(value, context.query_text);
            }
            match value::shortened(value, context.label_value) {
                Some(short) => labels.label(&column.name, &short),
                None => labels.label(&column.name, value),
            }
        }
    }
    labels.rendered(&slot.database);
    labels.without_value();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_the_target_gives_way_to_a_column_of_that_name() {
        let labels = br#"server="a,team=\"b\"",team="x",zone="y""#;
        let left = |own: &[u8]| without(labels, |label| label == own);
        assert_eq!(left(b"other"), None);
        assert_eq!(
            left(b"team").as_deref(),
            Some(&br#"server="a,team=\"b\"",zone="y""#[..])
        );
        assert_eq!(without(b"", |_| true), None);
    }
}
