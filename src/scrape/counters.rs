//! What the exporter counts of its own work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::Reason;
use crate::targets::LeftOutReason;

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

    /// Begins again at 0.
    pub(super) fn clear(&self) {
        self.failures.iter().for_each(Count::clear);
        self.connections.clear();
        let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values_mut().for_each(|count| *count = 0);
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
