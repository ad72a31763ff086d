//! The text that one query gave, family by family. What is shown is shared with those who still
//! send it; buffers that come back are used again.

use std::sync::Arc;

use bytes::Bytes;

/// Samples of one query in one database: for each family the lines, ready to be sent.
#[derive(Debug, Default)]
pub struct QuerySamples {
    /// Index of the family in the catalogue, and its lines.
    pub families: Vec<(usize, Bytes)>,
    /// Families that have any.
    pub filled: usize,
    /// Lines in all of them.
    pub samples: usize,
}

/// The same while it is written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) families: Vec<(usize, Vec<u8>)>,
    pub(super) samples: usize,
}

/// Buffers are not made smaller for the sake of fewer bytes than these.
const SLACK: usize = 64;

impl Draft {
    fn of(families: impl Iterator<Item = usize>) -> Self {
        Self {
            families: families.map(|family| (family, Vec::new())).collect(),
            samples: 0,
        }
    }

    /// What is not needed is given back, but for an eighth where the buffer is used again `soon`:
    /// the next numbers may have more digits.
    fn finish(self, soon: bool) -> QuerySamples {
        let finish = |(family, mut lines): (usize, Vec<u8>)| {
            let wanted = lines.len() + if soon { lines.len() / 8 } else { 0 };
            if lines.capacity() > wanted + if soon { SLACK } else { 0 } {
                lines.shrink_to(wanted);
            }
            (family, Bytes::from(lines))
        };
        QuerySamples {
            filled: self
                .families
                .iter()
                .filter(|(_, lines)| !lines.is_empty())
                .count(),
            families: self.families.into_iter().map(finish).collect(),
            samples: self.samples,
        }
    }
}

impl QuerySamples {
    /// Its buffers, emptied; `None` while somebody still sends them.
    fn reuse(old: Arc<Self>) -> Option<Draft> {
        let old = Arc::try_unwrap(old).ok()?;
        let reuse = |(family, lines): (usize, Bytes)| {
            let mut lines = if lines.is_unique() {
                Vec::from(lines)
            } else {
                Vec::new()
            };
            lines.clear();
            (family, lines)
        };
        Some(Draft {
            families: old.families.into_iter().map(reuse).collect(),
            samples: 0,
        })
    }
}

/// Two buffers: one is filled while a slow client may still read the other.
#[derive(Debug, Default)]
pub(super) struct DoubleBuffer {
    shown: Option<Arc<QuerySamples>>,
    spare: Option<Draft>,
}

impl DoubleBuffer {
    /// An empty draft for these families.
    pub(super) fn take(&mut self, families: impl Iterator<Item = usize>) -> Draft {
        self.spare.take().unwrap_or_else(|| Draft::of(families))
    }

    /// Shows what was written. The old buffer is kept for the next time when that comes `soon`.
    pub(super) fn show(&mut self, draft: Draft, soon: bool) {
        if let Some(old) = self.shown.replace(Arc::new(draft.finish(soon)))
            && soon
        {
            self.spare = QuerySamples::reuse(old);
        }
    }

    /// Shows nothing; keeps the buffers.
    pub(super) fn hide(&mut self) {
        if let Some(old) = self.shown.take() {
            self.spare = QuerySamples::reuse(old);
        }
    }

    /// Gives a draft back that is not shown.
    pub(super) fn put_back(&mut self, mut unused: Draft) {
        unused
            .families
            .iter_mut()
            .for_each(|(_, lines)| lines.clear());
        unused.samples = 0;
        self.spare = Some(unused);
    }

    /// What is shown.
    pub(super) fn shown(&self) -> Option<&Arc<QuerySamples>> {
        self.shown.as_ref()
    }
}
