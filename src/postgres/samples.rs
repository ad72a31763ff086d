//! The text that one query gave, family by family, in buffers that are used again.

use std::sync::Arc;

/// Samples of one query in one database: for each family the lines, ready to be sent.
#[derive(Debug, Default)]
pub struct QuerySamples {
    /// Index of the family in the catalogue, and its lines.
    pub families: Vec<(usize, Vec<u8>)>,
    /// Lines in all of them.
    pub samples: usize,
}

/// Buffers are not made smaller for the sake of fewer bytes than these.
const SLACK: usize = 64;

impl QuerySamples {
    pub(super) fn new(families: impl Iterator<Item = usize>) -> Self {
        Self {
            families: families.map(|family| (family, Vec::new())).collect(),
            samples: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        for (_, buffer) in &mut self.families {
            buffer.clear();
        }
        self.samples = 0;
    }

    /// Gives back what is not needed, but for an eighth: the next numbers may have more digits.
    fn trim(&mut self) {
        for (_, buffer) in &mut self.families {
            let wanted = buffer.len() + buffer.len() / 8;
            if buffer.capacity() > wanted + SLACK {
                buffer.shrink_to(wanted);
            }
        }
    }
}

/// Two buffers: one is filled while a slow client may still read the other.
#[derive(Debug, Default)]
pub(super) struct DoubleBuffer {
    shown: Option<Arc<QuerySamples>>,
    spare: Option<QuerySamples>,
}

impl DoubleBuffer {
    /// An empty buffer to fill.
    pub(super) fn take(&mut self, make: impl FnOnce() -> QuerySamples) -> QuerySamples {
        let mut samples = self.spare.take().unwrap_or_else(make);
        samples.clear();
        samples
    }

    /// Shows what was filled. The old buffer is kept for the next time when that comes `soon`.
    pub(super) fn show(&mut self, mut filled: QuerySamples, soon: bool) {
        filled.trim();
        if let Some(old) = self.shown.replace(Arc::new(filled))
            && soon
        {
            self.spare = Arc::try_unwrap(old).ok();
        }
    }

    /// Shows nothing; keeps the buffers.
    pub(super) fn hide(&mut self) {
        if let Some(old) = self.shown.take() {
            self.spare = Arc::try_unwrap(old).ok();
        }
    }

    /// Gives a buffer back that was not shown.
    pub(super) fn put_back(&mut self, unused: QuerySamples) {
        self.spare = Some(unused);
    }

    /// What is shown.
    pub(super) fn shown(&self) -> Option<&Arc<QuerySamples>> {
        self.shown.as_ref()
    }
}
