//! What the exporter counts of its own work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::Reason;

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
    pub connections: Count,
    /// Samples that were left out for the labels of another one, by collector.
    duplicates: Mutex<BTreeMap<String, u64>>,
}

/// For so many collectors duplicate samples are counted apart; the rest together.
const COLLECTORS: usize = 1_000;

impl TargetCounters {
    /// Counts a collection that brought nothing.
    pub(super) fn fail(&self, reason: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|one| *one == reason) {
            self.failures[at].add(1);
        }
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
