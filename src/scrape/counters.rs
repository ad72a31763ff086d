//! What the exporter counts of its own work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::TargetErrorKind;
use crate::postgres::QueryError;
use crate::targets::{DatabaseProblem, LeftOutReason};

/// Of the whole process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub executions: Counter,
    pub errors: Counter,
    pub timeouts: Counter,
}

impl Counters {
    /// Begins again at 0.
    pub(super) fn clear(&self) {
        [&self.executions, &self.errors, &self.timeouts]
            .into_iter()
            .for_each(Counter::clear);
    }
}

/// Of one target.
#[derive(Debug, Default)]
pub(super) struct TargetCounters {
    failures: [Counter; TargetErrorKind::ALL.len()],
    left_out: Mutex<BTreeMap<(String, LeftOutReason), u64>>,
    pub connections: Counter,
    /// By collector and reason; those that ever failed.
    queries: Mutex<BTreeMap<(String, QueryFailure), u64>>,
    /// Samples that were left out for the labels of another one, by collector.
    duplicates: Mutex<BTreeMap<String, u64>>,
}

/// So many collectors are counted apart; the rest together, as [`OTHER_COLLECTORS`].
const COLLECTORS: usize = 1_000;
/// The name of a collector for which there was no room. Names come from files and from tenants, who
/// may change them again and again.
const OTHER_COLLECTORS: &str = "other";

/// Why a query gave no samples. A closed set: it becomes a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum QueryFailure {
    StatementTimeout,
    LockTimeout,
    Deadline,
    PermissionDenied,
    TooManySamples,
    TooLarge,
    ConnectionLost,
    /// Its database could not be asked.
    Database(DatabaseProblem),
    Error,
}

impl QueryFailure {
    /// What an error counts as.
    pub(super) fn from_error(error: &QueryError) -> Self {
        match error {
            QueryError::Timeout(_) => Self::StatementTimeout,
            QueryError::LockTimeout(_) => Self::LockTimeout,
            QueryError::Deadline(_) => Self::Deadline,
            QueryError::Denied(_) => Self::PermissionDenied,
            QueryError::TooMany => Self::TooManySamples,
            QueryError::TooLarge(_) => Self::TooLarge,
            QueryError::Lost(_, TargetErrorKind::MessageTooLarge) => Self::TooLarge,
            QueryError::Lost(..) => Self::ConnectionLost,
            QueryError::Server(_) | QueryError::Shape { .. } => Self::Error,
        }
    }

    /// The value of the label `reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::StatementTimeout => "timeout",
            Self::LockTimeout => "lock_timeout",
            Self::Deadline | Self::Database(DatabaseProblem::NoTurn) => "deadline",
            Self::PermissionDenied => "permission_denied",
            Self::TooManySamples => "too_many_samples",
            Self::TooLarge => "too_large",
            Self::ConnectionLost => "connection_lost",
            Self::Database(problem) => problem.as_str(),
            Self::Error => "error",
        }
    }
}

impl TargetCounters {
    /// Counts a collection that brought nothing.
    pub(super) fn fail(&self, reason: TargetErrorKind) {
        if let Some(at) = TargetErrorKind::ALL.iter().position(|one| *one == reason) {
            self.failures[at].add(1);
        }
    }

    /// Counts a query of a collector that gave more than it may.
    pub(super) fn leave_out(&self, collector: &str, reason: LeftOutReason) {
        let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        count_bounded(&mut counts, (collector.to_owned(), reason), 1);
    }

    /// How often that was so, by collector.
    pub(super) fn left_out(&self) -> Vec<((String, LeftOutReason), u64)> {
        let counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone().into_iter().collect()
    }

    /// How often it was so for one reason.
    pub(super) fn failures_for(&self, reason: TargetErrorKind) -> u64 {
        self.failures()
            .find(|(known, _)| *known == reason)
            .map_or(0, |(_, number)| number)
    }

    /// Counts samples of a collector that had the labels of another one.
    pub(super) fn add_duplicates(&self, collector: &str, samples: usize) {
        let mut all = self
            .duplicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        count_bounded(&mut all, collector.to_owned(), samples as u64);
    }

    /// How many there were, by collector.
    pub(super) fn duplicates(&self) -> BTreeMap<String, u64> {
        let all = self.duplicates.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins again at 0.
    pub(super) fn clear(&self) {
        self.duplicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.failures.iter().for_each(Counter::clear);
        self.connections.clear();
        self.lock_queries().clear();
        let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values_mut().for_each(|count| *count = 0);
    }

    /// Counts a query that gave no samples.
    pub(super) fn fail_query(&self, collector: &str, failure: QueryFailure) {
        let key = (collector.to_owned(), failure);
        count_bounded(&mut self.lock_queries(), key, 1);
    }

    /// How often queries gave no samples: collector, reason, number; sorted, and no pair twice.
    pub(super) fn query_failures(&self) -> Vec<(String, &'static str, u64)> {
        let mut all: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for ((collector, failure), number) in &*self.lock_queries() {
            *all.entry((collector.clone(), failure.as_str()))
                .or_default() += number;
        }
        let flat = |((collector, reason), number)| (collector, reason, number);
        all.into_iter().map(flat).collect()
    }

    fn lock_queries(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, QueryFailure), u64>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often that was so.
    pub(super) fn failures(&self) -> impl Iterator<Item = (TargetErrorKind, u64)> {
        TargetErrorKind::ALL
            .into_iter()
            .zip(self.failures.iter().map(Counter::get))
    }
}

/// A key with the name of a collector, which another name can take the place of.
trait CollectorKey: Ord {
    fn for_others(self) -> Self;
}

impl CollectorKey for String {
    fn for_others(self) -> Self {
        OTHER_COLLECTORS.to_owned()
    }
}

impl<R: Ord> CollectorKey for (String, R) {
    fn for_others(self) -> Self {
        (OTHER_COLLECTORS.to_owned(), self.1)
    }
}

/// Adds to the number of a collector, or to that of all others when there are too many.
fn count_bounded<K: CollectorKey>(counts: &mut BTreeMap<K, u64>, key: K, number: u64) {
    let is_full = counts.len() >= COLLECTORS && !counts.contains_key(&key);
    let key = if is_full { key.for_others() } else { key };
    *counts.entry(key).or_default() += number;
}

/// A number that only grows, or begins again.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_that_are_renamed_again_and_again_are_counted_together_in_the_end() {
        let counters = TargetCounters::default();
        for number in 0..3 * COLLECTORS {
            let name = format!("c{number}");
            counters.fail_query(&name, QueryFailure::Error);
            counters.leave_out(&name, LeftOutReason::TooLarge);
            counters.add_duplicates(&name, 1);
        }
        let rest = 2 * COLLECTORS as u64;
        let failures = counters.query_failures();
        assert_eq!(failures.len(), COLLECTORS + 1);
        assert!(failures.contains(&(OTHER_COLLECTORS.to_owned(), "error", rest)));
        assert_eq!(counters.left_out().len(), COLLECTORS + 1);
        assert_eq!(counters.duplicates()[OTHER_COLLECTORS], rest);
    }
}
