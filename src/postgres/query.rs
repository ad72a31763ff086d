//! A chosen query with what it gave last: rows go in, samples come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::QueryError;
use super::exchange::Job;
use super::histogram::histogram;
use super::row::Fields;
use super::samples::{Buffer, QuerySamples, Room};
use super::statement::Prepared;
use super::value;
use crate::catalog::{Catalog, Chosen, ColumnKind};
use crate::exposition::{SampleWriter, render_label, split_labels};

/// How the last run of a slot ended.
#[derive(Debug, Default)]
pub enum Outcome {
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
pub struct Slot {
    /// What runs.
    pub chosen: Chosen,
    /// How the last run ended.
    pub outcome: Outcome,
    pub(super) prepared: Prepared,
    /// It was at work when a deadline came, and those behind it had no turn.
    pub(super) slow: bool,
    /// Its last run failed: what stands behind it under one Sync would be skipped.
    pub(super) failing: bool,
    /// How many samples of its last run had the labels of another one of it.
    duplicates: usize,
    /// It shows samples that were not compared with those of other slots yet.
    uncompared: bool,
    buffer: Buffer,
    /// It ran and nobody entered it yet.
    fresh: bool,
    ran_at: Option<Instant>,
    /// The rendered label `database`, empty where the query has one of its own.
    database: Vec<u8>,
    /// The database it runs in.
    database_name: String,
    /// Columns whose text is cut: statements that other sessions run.
    cut: Vec<bool>,
}

/// What all slots of a server share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// Names of the families.
    pub catalog: &'a Catalog,
    /// Rendered labels of the target, `server` first.
    pub labels: &'a [u8],
    /// Longest text of a statement in a label, in characters.
    pub query_text: usize,
    /// How many samples may still come.
    pub room: &'a Room,
}

/// What was too much once is not tried again for this long.
const TOO_MUCH: Duration = Duration::from_secs(60);

impl Slot {
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
            outcome: Outcome::Waiting,
            slow: false,
            failing: false,
            duplicates: 0,
            uncompared: false,
            buffer: Buffer::default(),
            fresh: false,
            ran_at: None,
            database: label,
            database_name: database.to_owned(),
            cut,
            chosen,
        }
    }

    /// Whether it is time to run again.
    #[must_use]
    pub fn is_due(&self, now: Instant, interval: Option<Duration>) -> bool {
        let interval = match self.chosen.metric.interval {
            None if self.is_left_out() => TOO_MUCH,
            None => return true,
            Some(own) => interval.unwrap_or(own),
        };
        self.ran_at
            .is_none_or(|at| now.saturating_duration_since(at) >= interval)
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

    /// Shows nothing, and says why.
    pub(super) fn fail(&mut self, error: QueryError) {
        self.buffer.hide();
        self.ran_at = None;
        self.failing = true;
        self.outcome = Outcome::Failed(error);
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

    /// A run that was due and could not be made shows nothing.
    pub fn give_up(&mut self, why: &str) {
        self.fail(QueryError::Timeout(why.to_owned()));
        self.fresh = true;
    }

    /// A run that the deadline cut off shows nothing.
    pub fn cut_off(&mut self) {
        if matches!(self.outcome, Outcome::Running) {
            self.fail(QueryError::Timeout(
                "no answer before the scrape's deadline".to_owned(),
            ));
        }
    }

    /// Does not run again before a new session.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(QueryError::Denied(_)))
    }

    /// Whether it gave more samples than there is room for.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(QueryError::TooMany))
    }

    /// Shows nothing, because there is no room, and does not run again before it is due.
    pub fn leave_out(&mut self) {
        self.buffer.drop_all();
        self.ran_at = Some(Instant::now());
        self.failing = false;
        self.outcome = Outcome::Failed(QueryError::TooMany);
    }

    /// Shows nothing before it has run again.
    pub fn forget(&mut self) {
        self.buffer.hide();
        self.ran_at = None;
        self.outcome = Outcome::Waiting;
    }

    /// Forgets an earlier refusal: a new session may have other rights.
    pub fn forget_denial(&mut self) {
        if self.is_denied() {
            self.outcome = Outcome::Waiting;
        }
    }
}

/// A slot while it runs.
pub(super) struct Run<'a> {
    slot: &'a mut Slot,
    shared: Shared<'a>,
    /// The target's labels without those that the query has itself; `None` where it has none of
    /// them.
    labels: Option<Vec<u8>>,
    /// What it gives; `None` once it has ended.
    samples: Option<QuerySamples>,
}

impl<'a> Run<'a> {
    /// Begins a run.
    pub(super) fn begin(slot: &'a mut Slot, shared: Shared<'a>) -> Self {
        slot.outcome = Outcome::Running;
        slot.fresh = true;
        let columns = &slot.chosen.query().columns;
        let is_own = |label: &[u8]| {
            let mut own = columns
                .iter()
                .filter(|column| column.kind == ColumnKind::Label);
            own.any(|column| column.name.as_bytes() == label) || label == b"database"
        };
        let labels = without(shared.labels, is_own);
        let families = columns.iter().filter_map(|column| column.kind.family());
        let samples = slot.buffer.take(families);
        Self {
            slot,
            shared,
            labels,
            samples: Some(samples),
        }
    }

    /// The slot. One that has not ended is left in [`Outcome::Running`].
    pub(super) fn over(self) -> &'a mut Slot {
        if let Some(unused) = self.samples {
            self.slot.buffer.put_back(unused);
        }
        self.slot
    }
}

impl Job for Run<'_> {
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
        let shared = Shared {
            labels: self.labels.as_deref().unwrap_or(self.shared.labels),
            ..self.shared
        };
        render_labels(out.labels(), self.slot, shared, fields, scratch);
        out.end_labels();
        for (at, column) in columns.iter().enumerate() {
            match column.kind {
                ColumnKind::Value(_) => {
                    let raw = fields.get(at);
                    out.put(raw.map(|raw| value::number(fields.encoding(at), raw)));
                }
                ColumnKind::HistogramBounds(index) => {
                    let family = &self.shared.catalog.families[index];
                    out.put_lines(|lines, labels| histogram(lines, family, labels, fields, at));
                }
                _ => {}
            }
        }
        if out.samples() > self.shared.room.left() {
            return Err(QueryError::TooMany);
        }
        Ok(())
    }

    /// A run that fails shows nothing: old rows would pass for new.
    fn end(&mut self, result: Result<(), QueryError>) {
        let Some(mut samples) = self.samples.take() else {
            return;
        };
        let slot = &mut *self.slot;
        slot.duplicates = 0;
        match result {
            Ok(()) => {
                slot.duplicates = samples.drop_duplicates();
                slot.uncompared = true;
                self.shared.room.take(samples.samples());
                slot.buffer.show(samples);
                slot.ran_at = Some(Instant::now());
                slot.slow = false;
                slot.failing = false;
                slot.outcome = Outcome::Done;
            }
            Err(QueryError::TooMany) => slot.leave_out(),
            Err(error) => {
                slot.buffer.put_back(samples);
                slot.fail(error);
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
    slot: &Slot,
    shared: Shared<'_>,
    fields: Fields<'_>,
    scratch: &mut Vec<u8>,
) {
    let mut labels = SampleWriter::begin(out, "");
    labels.rendered(shared.labels);
    for (at, column) in slot.chosen.query().columns.iter().enumerate() {
        if column.kind == ColumnKind::Label {
            let raw = fields.get(at).unwrap_or_default();
            let mut value = value::label(fields.encoding(at), raw, scratch);
            if slot.cut[at] {
                value = value::cut(value, shared.query_text);
            }
            labels.label(&column.name, value);
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
