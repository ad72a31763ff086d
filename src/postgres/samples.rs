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

    fn emptied(mut self) -> Self {
        self.families
            .iter_mut()
            .for_each(|(_, lines)| lines.clear());
        self.samples = 0;
        self
    }

    /// What is not needed is given back, but for a sixteenth: the next numbers may have more
    /// digits.
    fn finish(self) -> QuerySamples {
        let finish = |(family, mut lines): (usize, Vec<u8>)| {
            let wanted = lines.len() + lines.len() / 16;
            if lines.capacity() > wanted + SLACK {
                lines.shrink_to(wanted);
            }
            (family, Bytes::from(lines))
        };
        let filled = |(_, lines): &&(usize, Vec<u8>)| !lines.is_empty();
        QuerySamples {
            filled: self.families.iter().filter(filled).count(),
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
            let lines = if lines.is_unique() {
                Vec::from(lines)
            } else {
                Vec::new()
            };
            (family, lines)
        };
        let draft = Draft {
            families: old.families.into_iter().map(reuse).collect(),
            samples: 0,
        };
        Some(draft.emptied())
    }
}

/// What one query shows, or the buffers to write it in. The text is written where the text before it
/// stood, unless a slow client still reads that.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    shown: Option<Arc<QuerySamples>>,
    spare: Option<Draft>,
}

impl Buffer {
    /// An empty draft for these families. Nothing is shown meanwhile.
    pub(super) fn take(&mut self, families: impl Iterator<Item = usize>) -> Draft {
        self.hide();
        self.spare.take().unwrap_or_else(|| Draft::of(families))
    }

    /// Shows what was written.
    pub(super) fn show(&mut self, draft: Draft) {
        self.shown = Some(Arc::new(draft.finish()));
    }

    /// Shows nothing; keeps the buffers.
    pub(super) fn hide(&mut self) {
        if let Some(old) = self.shown.take() {
            self.spare = QuerySamples::reuse(old);
        }
    }

    /// Gives a draft back that is not shown.
    pub(super) fn put_back(&mut self, unused: Draft) {
        self.spare = Some(unused.emptied());
    }

    /// What is shown.
    pub(super) fn shown(&self) -> Option<&Arc<QuerySamples>> {
        self.shown.as_ref()
    }
}
