//! What the exporter counts of its own work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::Reason;
use crate::postgres::QueryError;
use crate::targets::{DatabaseProblem, LeftOutReason};

/// Of the whole process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub executions: Count,
    pub errors: Count,
    pub timeouts: Count,
}

impl Counters {
    /// Begins again at 0.
    pub(super) fn clear(&self) {
        [&self.executions, &self.errors, &self.timeouts]
            .into_iter()
            .for_each(Count::clear);
    }
}

/// Of one target.
#[derive(Debug, Default)]
pub(super) struct TargetCounters {
    failures: [Count; Reason::ALL.len()],
    left_out: Mutex<BTreeMap<(String, LeftOutReason), u64>>,
    pub connections: Count,
    /// By collector and reason; those that ever failed.
    queries: Mutex<BTreeMap<(String, QueryFailure), u64>>,
    /// Samples that were left out for the labels of another one, by collector.
    duplicates: Mutex<BTreeMap<String, u64>>,
}

/// For so many collectors duplicate samples are counted apart; the rest together.
const COLLECTORS: usize = 1_000;

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
    pub(super) fn of(error: &QueryError) -> Self {
        match error {
            QueryError::Timeout(_) => Self::StatementTimeout,
            QueryError::LockTimeout(_) => Self::LockTimeout,
            QueryError::Deadline(_) => Self::Deadline,
            QueryError::Denied(_) => Self::PermissionDenied,
            QueryError::TooMany => Self::TooManySamples,
            QueryError::TooLarge(_) => Self::TooLarge,
            QueryError::Lost(_, Reason::MessageTooLarge) => Self::TooLarge,
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
    pub(super) fn fail(&self, reason: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|one| *one == reason) {
            self.failures[at].add(1);
        }
    }

    /// Counts a query of a collector that gave more than it may.
    pub(super) fn leave_out(&self, collector: &str, reason: LeftOutReason) {
        let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((collector.to_owned(), reason)).or_default() += 1;
    }

    /// How often that was so, by collector.
    pub(super) fn left_out(&self) -> Vec<((String, LeftOutReason), u64)> {
        let counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone().into_iter().collect()
    }

    /// How often it was so for one reason.
    pub(super) fn failures_for(&self, reason: Reason) -> u64 {
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
        // Names come from files, which may be read again and again.
        let full = all.len() >= COLLECTORS && !all.contains_key(collector);
        let name = if full { "other" } else { collector };
        *all.entry(name.to_owned()).or_default() += samples as u64;
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
        self.failures.iter().for_each(Count::clear);
        self.connections.clear();
        self.lock_queries().clear();
        let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values_mut().for_each(|count| *count = 0);
    }

    /// Counts a query that gave no samples.
    pub(super) fn fail_query(&self, collector: &str, failure: QueryFailure) {
        let key = (collector.to_owned(), failure);
        *self.lock_queries().entry(key).or_default() += 1;
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
    pub(super) fn failures(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .zip(self.failures.iter().map(Count::get))
    }
}

/// A number that only grows, or begins again.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
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
