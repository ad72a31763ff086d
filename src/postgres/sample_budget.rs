//! What one collection may still bring.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::QueryError;
use super::samples::QuerySamples;
use crate::targets::{ByteLimits, SampleMemory, TargetMemory};

/// A query may send so many times what it may give: texts are cut, and binary rows are padded.
const WIRE: usize = 4;

/// What one collection may still bring: samples, and bytes of their text.
#[derive(Debug)]
pub struct SampleBudget {
    samples: AtomicUsize,
    text: AtomicUsize,
    limits: ByteLimits,
    memory: TargetMemory,
}

impl SampleBudget {
    /// For so many samples (`None` is no limit) and as many bytes as the limits say.
    #[must_use]
    pub fn new(samples: Option<usize>, limits: ByteLimits, memory: &TargetMemory) -> Self {
        Self {
            samples: AtomicUsize::new(samples.unwrap_or(usize::MAX)),
            text: AtomicUsize::new(limits.samples),
            limits,
            memory: memory.clone(),
        }
    }

    /// For questions of our own.
    pub(super) fn unlimited() -> Self {
        let limits = ByteLimits::default();
        Self::new(None, limits, &SampleMemory::default().join())
    }

    /// Samples that may still come.
    fn samples_left(&self) -> usize {
        self.samples.load(Ordering::Relaxed)
    }

    /// Bytes of text that may still come.
    fn text_left(&self) -> usize {
        self.text.load(Ordering::Relaxed)
    }

    /// Whether there is room for what one query has brought until now, of which `wire` bytes came
    /// over the wire.
    ///
    /// # Errors
    /// Which limit it exceeds.
    pub(super) fn check(&self, samples: &mut QuerySamples, wire: usize) -> Result<(), QueryError> {
        if samples.samples() > self.samples_left() {
            return Err(QueryError::TooMany);
        }
        self.check_text(samples.text())?;
        if wire > self.limits.result.saturating_mul(WIRE) {
            return Err(self.result_too_large());
        }
        samples
            .hold(&self.memory)
            .map_err(|error| QueryError::TooLarge(error.to_string()))
    }

    /// Whether there is room for so many bytes of text of one query.
    ///
    /// # Errors
    /// Which limit it exceeds.
    pub(super) fn check_text(&self, text: usize) -> Result<(), QueryError> {
        if text > self.limits.result {
            return Err(self.result_too_large());
        }
        if text > self.text_left() {
            return Err(QueryError::TooLarge(format!(
                "the samples of this server take more than {} bytes as text; raise \
                 target_bytes_limit (spec.bytesLimit of a PostgresTarget), or exclude collectors",
                self.limits.samples
            )));
        }
        Ok(())
    }

    fn result_too_large(&self) -> QueryError {
        QueryError::TooLarge(format!(
            "a query gives more than {} bytes; let it return less, or raise query_bytes_limit",
            self.limits.result
        ))
    }

    /// Takes some of it.
    pub fn consume(&self, samples: usize, text: usize) {
        // One session at a time takes; nobody comes between.
        let left = (self.samples_left(), self.text_left());
        self.samples
            .store(left.0.saturating_sub(samples), Ordering::Relaxed);
        self.text
            .store(left.1.saturating_sub(text), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Number;
    use super::*;

    /// So many rows with one sample each.
    fn table(rows: usize) -> QuerySamples {
        let mut samples = QuerySamples::with_families([0].into_iter());
        for row in 0..rows {
            samples
                .labels()
                .extend_from_slice(format!("{{r=\"{row}\"}} ").as_bytes());
            samples.end_labels();
            samples.put(Some(Number::Integer(1)));
        }
        samples
    }

    fn budget(samples: Option<usize>, limits: ByteLimits) -> SampleBudget {
        SampleBudget::new(samples, limits, &SampleMemory::default().join())
    }

    #[test]
    fn what_one_query_takes_is_not_there_for_the_next() {
        let budget = budget(Some(10), ByteLimits::default());
        let mut six = table(6);
        budget.check(&mut six, 0).unwrap();
        budget.consume(six.samples(), six.text());
        budget.check(&mut table(4), 0).unwrap();
        let five = budget.check(&mut table(5), 0);
        assert!(matches!(five, Err(QueryError::TooMany)), "{five:?}");
        // More was taken than there was, as two sessions may: then nothing is left.
        budget.consume(usize::MAX, usize::MAX);
        budget.check(&mut table(0), 0).unwrap();
        assert!(budget.check(&mut table(1), 0).is_err());
    }

    #[test]
    fn each_limit_of_bytes_is_named_in_its_error() {
        let text = table(100).text();
        let limits = |result, samples| ByteLimits {
            result,
            samples,
            ..ByteLimits::default()
        };
        // The limits, the bytes that came over the wire, and the key that the error names.
        for (limits, wire, key) in [
            (limits(text, text), text * WIRE, None),
            (limits(text - 1, text), 0, Some("query_bytes_limit")),
            (
                limits(text, text),
                text * WIRE + 1,
                Some("query_bytes_limit"),
            ),
            (limits(text, text - 1), 0, Some("target_bytes_limit")),
        ] {
            let found = budget(None, limits).check(&mut table(100), wire);
            let found = found.map_err(|error| error.to_string());
            match key {
                None => assert_eq!(found, Ok(())),
                Some(key) => assert!(found.clone().unwrap_err().contains(key), "{found:?}"),
            }
        }
    }
}
