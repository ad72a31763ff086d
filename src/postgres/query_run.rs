//! A query while it runs: rows go in, samples come out.

use super::error::QueryError;
use super::histogram::histogram;
use super::job::PipelineJob;
use super::query::{QueryOutcome, ScheduledQuery};
use super::row::Fields;
use super::sample_budget::SampleBudget;
use super::samples::QuerySamples;
use super::statement::Prepared;
use super::value::{self, Encoding};
use crate::catalog::{Catalog, ColumnKind};
use crate::exposition::{SampleWriter, split_labels};

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
                let duplicates = samples.drop_duplicates();
                self.context
                    .budget
                    .consume(samples.samples(), samples.text());
                slot.show(samples, duplicates);
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
