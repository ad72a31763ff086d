//! A chosen query with what it gave last: rows go in, lines of samples come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::error::QueryError;
use super::rows::{Fields, Prepared, Way};
use super::samples::{DoubleBuffer, QuerySamples};
use super::value;
use crate::catalog::{Catalog, Chosen, ColumnKind};
use crate::exposition::{SampleWriter, render_label};

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
    buffer: DoubleBuffer,
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
}

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
            buffer: DoubleBuffer::default(),
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
            None => return true,
            Some(own) => interval.unwrap_or(own),
        };
        self.ran_at
            .is_none_or(|at| now.saturating_duration_since(at) >= interval)
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

    /// Runs it and shows what it gives. A run that fails shows nothing: old rows would pass for new.
    pub(super) async fn run(
        &mut self,
        client: &Client,
        session: u64,
        way: Way<'_>,
        shared: Shared<'_>,
    ) {
        let query = self.chosen.query();
        let values = query.columns.iter().filter_map(|column| match column.kind {
            ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => Some(at),
            _ => None,
        });
        let mut samples = self.buffer.take(|| QuerySamples::new(values));
        let mut writer = RowWriter {
            columns: &query.columns,
            cut: &self.cut,
            database: &self.database,
            shared,
            labels: Vec::with_capacity(256),
            scratch: Vec::new(),
        };
        let mut each = |fields: Fields<'_>| writer.row(fields, &mut samples);
        match self.prepared.fetch(client, session, way, &mut each).await {
            Ok(()) => {
                self.buffer
                    .show(samples, self.chosen.metric.interval.is_none());
                self.ran_at = Some(Instant::now());
                self.slow = false;
                self.outcome = Outcome::Done;
            }
            Err(error) => {
                self.buffer.put_back(samples);
                self.fail(error);
            }
        }
    }

    /// Shows nothing, and says why.
    pub(super) fn fail(&mut self, error: QueryError) {
        self.buffer.hide();
        self.ran_at = None;
        self.outcome = Outcome::Failed(error);
    }

    /// Begins a run.
    pub(super) fn begin(&mut self) {
        self.outcome = Outcome::Running;
        self.fresh = true;
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

    /// Forgets an earlier refusal: a new session may have other rights.
    pub fn forget_denial(&mut self) {
        if self.is_denied() {
            self.outcome = Outcome::Waiting;
        }
    }
}

struct RowWriter<'a> {
    columns: &'a [crate::catalog::Column],
    cut: &'a [bool],
    database: &'a [u8],
    shared: Shared<'a>,
    /// The labels of the present row, rendered.
    labels: Vec<u8>,
    scratch: Vec<u8>,
}

impl RowWriter<'_> {
    fn row(&mut self, fields: Fields<'_>, out: &mut QuerySamples) -> Result<(), QueryError> {
        if fields.len() != self.columns.len() {
            return Err(QueryError::Shape {
                found: fields.len(),
                expected: self.columns.len(),
            });
        }
        self.render_labels(fields);
        let mut family = 0;
        for (at, column) in self.columns.iter().enumerate() {
            match column.kind {
                ColumnKind::Value(index) => {
                    if let Some(raw) = fields.get(at) {
                        let name = &self.shared.catalog.families[index].name;
                        let mut sample = SampleWriter::begin(&mut out.families[family].1, name);
                        sample.rendered(&self.labels);
                        value::number(fields.encoding(at), raw).write(sample);
                        out.samples += 1;
                    }
                    family += 1;
                }
                ColumnKind::HistogramBounds(index) => {
                    let name = &self.shared.catalog.families[index].name;
                    out.samples +=
                        histogram(&mut out.families[family].1, name, &self.labels, fields, at);
                    family += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn render_labels(&mut self, fields: Fields<'_>) {
        self.labels.clear();
        self.labels.extend_from_slice(self.shared.labels);
        for (at, column) in self.columns.iter().enumerate() {
            if column.kind == ColumnKind::Label {
                let raw = fields.get(at).unwrap_or_default();
                let mut text = value::label(fields.encoding(at), raw, &mut self.scratch);
                if self.cut[at] {
                    text = value::cut(text, self.shared.query_text);
                }
                render_label(&mut self.labels, &column.name, text);
            }
        }
        if !self.database.is_empty() {
            if !self.labels.is_empty() {
                self.labels.push(b',');
            }
            self.labels.extend_from_slice(self.database);
        }
    }
}

/// Writes one histogram from four columns: bounds, cumulative counts, sum, count. Whatever they
/// hold, what is written is a valid one: bounds rise, counts rise with them, and `+Inf` equals the
/// count (Prometheus, "Histograms and summaries").
fn histogram(out: &mut Vec<u8>, name: &str, labels: &[u8], fields: Fields<'_>, at: usize) -> usize {
    let list = |at: usize| array(fields.get(at).unwrap_or_default());
    let single = |at: usize| {
        fields
            .get(at)
            .map(|raw| value::as_float(value::number(fields.encoding(at), raw)))
    };
    let mut buckets: Vec<(f64, f64)> = list(at)
        .into_iter()
        .zip(list(at + 1))
        .filter(|(bound, count)| bound.is_finite() && count.is_finite())
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.max(next.1);
        }
        same
    });
    let mut highest = 0.0_f64;
    for (_, count) in &mut buckets {
        highest = highest.max(*count);
        *count = highest;
    }
    let count = single(at + 3)
        .filter(|count| count.is_finite())
        .unwrap_or(0.0)
        .max(highest);
    let sum = single(at + 2).unwrap_or(0.0);

    let bucket = format!("{name}_bucket");
    let mut bound = Vec::new();
    for (le, value) in buckets.iter().copied().chain([(f64::INFINITY, count)]) {
        bound.clear();
        crate::exposition::write_float(&mut bound, le);
        let mut sample = SampleWriter::begin(out, &bucket);
        sample.rendered(labels);
        sample.label("le", &bound);
        sample.float(value);
    }
    for (suffix, value) in [("_sum", sum), ("_count", count)] {
        let mut sample = SampleWriter::begin(out, &format!("{name}{suffix}"));
        sample.rendered(labels);
        sample.float(value);
    }
    buckets.len() + 3
}

/// The numbers of an array in PostgreSQL's text form, such as `{1,2.5,NULL}`.
fn array(raw: &[u8]) -> Vec<f64> {
    let text = std::str::from_utf8(raw).unwrap_or_default();
    text.trim_matches(['{', '}'])
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_matches('"').parse().unwrap_or(f64::NAN))
        .collect()
}
