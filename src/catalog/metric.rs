//! The types of a catalogue, checked: whoever holds one need not ask again whether it is sound.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Kind;

/// All metrics, and all families that they bring.
#[derive(Debug, Default)]
pub struct Catalog {
    /// In the order of the files.
    pub metrics: Vec<Arc<Metric>>,
    /// Those of `base` first, then the rest, each part sorted by name; a [`Column`] refers to it
    /// by index.
    pub families: Vec<Arc<Family>>,
    /// The catalogue that this one adds to: what it has keeps its index here.
    pub base: Option<Arc<Catalog>>,
}

impl Catalog {
    /// The index of a family.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<usize> {
        let (first, rest) = self.families.split_at(self.inherited());
        let find = |families: &[Arc<Family>]| {
            families
                .binary_search_by(|family| family.name.as_str().cmp(name))
                .ok()
        };
        find(first).or_else(|| Some(find(rest)? + first.len()))
    }

    /// How many families are those of `base`.
    fn inherited(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.families.len());
        base.min(self.families.len())
    }

    /// The index in `other` of a family of this catalogue.
    #[must_use]
    pub fn index_in(&self, other: &Arc<Catalog>, family: usize) -> Option<usize> {
        let same = std::ptr::eq(self, Arc::as_ptr(other));
        let inherits = self
            .base
            .as_ref()
            .is_some_and(|base| Arc::ptr_eq(base, other));
        if same || (inherits && family < other.families.len()) {
            return Some(family);
        }
        other.family(&self.families.get(family)?.name)
    }
}

/// A metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Full name, with `pgexporter_`.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// What it measures, with the unit.
    pub help: String,
    /// The collector that brings it.
    pub collector: String,
    /// Where it is defined.
    pub source: Source,
}

/// Where a definition stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// File name; `built-in <file>` for ours.
    pub file: String,
    /// The tag in it.
    pub tag: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, tag {}", self.file, self.tag)
    }
}

/// One `tag`, with a query for each range of versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `pgexporter_<tag>` begins the name of each of its families.
    pub tag: String,
    /// The name that users choose it by.
    pub collector: String,
    /// Primary, replica or both.
    pub side: Side,
    /// The target's own database or every one.
    pub scope: Scope,
    /// A query that fails is not an error.
    pub optional: bool,
    /// Do not run more often than this; serve the last rows between.
    pub interval: Option<Duration>,
    /// `statement_timeout` of this query alone.
    pub timeout: Option<Duration>,
    /// The right or setting it needs, in words.
    pub requires: Option<String>,
    /// What bounds its cost, in words.
    pub bound: Option<String>,
    /// The extension it asks; `version` then speaks of the extension.
    pub extension: Option<String>,
    /// One of ours: it names every schema and needs no search path.
    pub builtin: bool,
    /// The last major version that has it.
    pub until: Option<u32>,
    /// Alternatives, by rising version.
    pub queries: Vec<Query>,
    /// Where it is defined.
    pub source: Source,
}

/// One alternative.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The first version that runs it.
    pub version: Version,
    /// One statement without a semicolon at its end; shared with all that run it.
    pub sql: Arc<str>,
    /// One for each column of the result, in order.
    pub columns: Vec<Column>,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; the label's name for a label.
    pub name: String,
    /// What becomes of it.
    pub kind: ColumnKind,
}

/// What becomes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A label's value.
    Label,
    /// A sample of the family with that index.
    Value(usize),
    /// The bounds of a histogram of the family with that index; three columns follow: buckets, sum,
    /// count.
    HistogramBounds(usize),
    /// Cumulative counts, one for each bound.
    HistogramBuckets,
    /// The sum of all observations.
    HistogramSum,
    /// The number of observations.
    HistogramCount,
}

impl ColumnKind {
    /// The same, to be changed.
    pub(super) fn family_mut(&mut self) -> Option<&mut usize> {
        match self {
            ColumnKind::Value(family) | ColumnKind::HistogramBounds(family) => Some(family),
            _ => None,
        }
    }

    /// The family that it fills, by its index.
    #[must_use]
    pub fn family(&self) -> Option<usize> {
        match self {
            ColumnKind::Value(family) | ColumnKind::HistogramBounds(family) => Some(*family),
            _ => None,
        }
    }
}

/// Where a metric is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On primaries and replicas.
    Both,
    /// On primaries only.
    Primary,
    /// On replicas only.
    Replica,
}

/// In which databases a metric is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the target's own.
    Own,
    /// In every one that the role may connect to.
    All,
}

/// A version with any number of parts: `13` of the server, `1.4` of an extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub Vec<u32>);

impl Version {
    /// Reads `13`, `1.4` or `1.10.2`. `None` when a part is no number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<Vec<u32>>>()
            .map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}
