//! The buffers of one query's samples: what is shown is shared with those who still send it, and
//! buffers that come back are used again.

use std::sync::Arc;

use super::samples::QuerySamples;

/// What one query shows, or the buffers to collect it in. It is collected where what was before it
/// stood, unless a slow client still reads that. There are many of these, and few hold a spare one.
#[derive(Debug, Default)]
pub(super) struct SampleBuffer {
    shown: Option<Arc<QuerySamples>>,
    spare: Option<Arc<QuerySamples>>,
}

impl SampleBuffer {
    /// An empty table for these families. Nothing is shown meanwhile.
    pub(super) fn take_table(&mut self, families: impl Iterator<Item = usize>) -> QuerySamples {
        self.hide();
        let spare = self.spare.take().and_then(Arc::into_inner);
        spare.unwrap_or_else(|| QuerySamples::with_families(families))
    }

    /// Shows what was collected.
    pub(super) fn show(&mut self, samples: QuerySamples) {
        self.shown = Some(Arc::new(samples.fitted()));
    }

    /// Shows nothing; keeps the buffers.
    pub(super) fn hide(&mut self) {
        let Some(mut old) = self.shown.take() else {
            return;
        };
        if let Some(samples) = Arc::get_mut(&mut old) {
            samples.clear();
            self.spare = Some(old);
        }
    }

    /// Gives a table back that is not shown.
    pub(super) fn put_back(&mut self, mut unused: QuerySamples) {
        unused.clear();
        self.spare = Some(Arc::new(unused));
    }

    /// Shows nothing, and gives the buffers back.
    pub(super) fn drop_all(&mut self) {
        *self = Self::default();
    }

    /// What is shown, to be changed: whoever still sends it keeps it as it was.
    pub(super) fn shown_mut(&mut self) -> Option<&mut QuerySamples> {
        self.shown.as_mut().map(Arc::make_mut)
    }

    /// What is shown.
    pub(super) fn shown(&self) -> Option<&Arc<QuerySamples>> {
        self.shown.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Number;
    use super::*;

    /// Two families, one row.
    fn table() -> QuerySamples {
        let mut samples = QuerySamples::with_families([4, 7].into_iter());
        samples.labels().extend_from_slice(b"{r=\"a\"} ");
        samples.end_labels();
        samples.put(Some(Number::Integer(-1)));
        samples.put(Some(Number::Digits(b"12345678901234567890")));
        samples
    }

    #[test]
    fn buffers_that_come_back_begin_empty() {
        let mut buffer = SampleBuffer::default();
        buffer.show(table());
        let mut samples = buffer.take_table([4, 7].into_iter());
        assert!(samples.families().all(|(_, filled)| !filled));
        samples.labels().extend_from_slice(b"{r=\"d\"} ");
        samples.end_labels();
        samples.put_lines(|out, labels| {
            out.extend_from_slice(labels);
            1
        });
        samples.put(Some(Number::Integer(3)));
        assert_eq!(samples.samples(), 2);
        let mut out = Vec::new();
        assert_eq!(samples.write(0, "one", 0, 0, &mut out), None);
        assert_eq!(samples.write(1, "two", 0, 0, &mut out), None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{r=\"d\"} two{r=\"d\"} 3\n"
        );
    }
}
