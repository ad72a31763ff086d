//! The work queue: which resource is reconciled next. Pure.
//!
//! Namespaces are served in turn. A namespace with many changes, or with resources that take long,
//! gets at most [`OF_NAMESPACE`] of the reconciles that run at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::api::ResourceKey;

/// Reconciles that run at once.
const AT_ONCE: usize = 16;
/// Reconciles of one namespace that run at once.
const OF_NAMESPACE: usize = 8;
/// The first pause after the API server did not answer, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(3);
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// A resource whose reconcile kept a processor busy for longer than this waits before its next one.
const LONG: Duration = Duration::from_millis(250);
/// It waits this many times as long as it took, up to a longest time.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_secs(15);

/// Resources that are queued, those whose reconcile runs, and those that wait for a time.
#[derive(Debug, Default)]
pub(super) struct WorkQueue {
    /// Resources that need a reconcile.
    queued: BTreeSet<ResourceKey>,
    /// Resources whose reconcile runs.
    running: BTreeSet<ResourceKey>,
    /// The earliest time of the next reconcile.
    not_before: BTreeMap<ResourceKey, Instant>,
    /// How often in a row the API server did not answer.
    failures: BTreeMap<ResourceKey, u32>,
    /// The namespace of the reconcile that was started last.
    last: String,
}

impl WorkQueue {
    /// Queues a resource; once is enough however often it is asked for before it starts.
    pub(super) fn add(&mut self, key: ResourceKey) {
        self.queued.insert(key);
    }

    /// The resources that wait for their reconcile to start.
    pub(super) fn queued(&self) -> BTreeSet<ResourceKey> {
        self.queued.clone()
    }

    /// Starts the next reconcile, and returns its key.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<ResourceKey> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let mut running: BTreeMap<&str, usize> = BTreeMap::new();
        for key in &self.running {
            *running.entry(&key.namespace).or_default() += 1;
        }
        let fits = |key: &&ResourceKey| {
            !self.running.contains(*key)
                && self.not_before.get(*key).is_none_or(|at| *at <= now)
                && running
                    .get(key.namespace.as_str())
                    .is_none_or(|n| *n < OF_NAMESPACE)
        };
        let behind = |key: &&ResourceKey| key.namespace > self.last;
        let next = self.queued.iter().filter(behind).find(fits);
        let next = next.or_else(|| self.queued.iter().find(fits))?.clone();
        self.queued.remove(&next);
        self.not_before.remove(&next);
        self.last.clone_from(&next.namespace);
        self.running.insert(next.clone());
        Some(next)
    }

    /// Ends a reconcile, which kept a processor busy for so long.
    pub(super) fn finish(&mut self, key: &ResourceKey, busy: Duration, now: Instant) {
        self.running.remove(key);
        if busy > LONG {
            let rest = (busy * REST).min(LONGEST_REST);
            self.not_before.insert(key.clone(), now + rest);
        }
    }

    /// Queues a resource again after the API server did not answer, each time with a longer pause.
    /// `jitter` from 0 to 1 spreads those that failed together. Returns whether it is the first time
    /// in a row.
    pub(super) fn retry(&mut self, key: ResourceKey, jitter: f64, now: Instant) -> bool {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST_RETRY * 2_u32.saturating_pow(*failures);
        let first = *failures == 0;
        *failures = (*failures + 1).min(16);
        let half = pause.min(LONGEST_RETRY) / 2;
        self.not_before
            .insert(key.clone(), now + half + half.mul_f64(jitter));
        self.queued.insert(key);
        first
    }

    /// Ends the pauses: the API server answered.
    pub(super) fn clear_failures(&mut self, key: &ResourceKey) {
        self.failures.remove(key);
    }

    /// Removes a resource that is gone, or that another pod owns.
    pub(super) fn remove(&mut self, key: &ResourceKey) {
        self.queued.remove(key);
        self.not_before.remove(key);
        self.failures.remove(key);
    }

    /// When the first of the queued resources that wait may start.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let waiting = self
            .not_before
            .iter()
            .filter(|(key, _)| self.queued.contains(*key));
        waiting.map(|(_, at)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::api::ResourceSource;

    fn key(namespace: &str, name: usize) -> ResourceKey {
        ResourceKey::named(ResourceSource::Target, namespace, &format!("{name:03}"))
    }

    #[test]
    fn no_namespace_has_more_than_its_share_and_all_have_turns() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        for namespace in ["a", "b", "c", "d", "e", "z"] {
            queue.queued.extend((0..100).map(|at| key(namespace, at)));
        }
        let mut begun = Vec::new();
        while let Some(next) = queue.start_next(now) {
            begun.push(next);
        }
        assert_eq!(begun.len(), AT_ONCE);
        for namespace in ["a", "b", "c", "d", "e", "z"] {
            let of = begun
                .iter()
                .filter(|key| key.namespace == namespace)
                .count();
            assert!((2..=3).contains(&of), "{namespace}: {of}");
        }
        // The others wait for nothing of one whose resources never end.
        let mut queue = WorkQueue::default();
        queue.queued.extend((0..100).map(|at| key("slow", at)));
        while queue.start_next(now).is_some() {}
        assert_eq!(queue.running.len(), OF_NAMESPACE);
        queue.queued.insert(key("quick", 0));
        assert_eq!(queue.start_next(now), Some(key("quick", 0)));
    }

    #[test]
    fn what_runs_is_not_begun_again_and_what_took_long_waits() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        queue.queued.insert(key("a", 1));
        assert_eq!(queue.start_next(now), Some(key("a", 1)));
        queue.queued.insert(key("a", 1));
        assert_eq!(queue.start_next(now), None);
        queue.finish(&key("a", 1), Duration::from_secs(2), now);
        assert_eq!(queue.start_next(now), None);
        let wakes = queue.next_wake().unwrap();
        assert_eq!(wakes - now, Duration::from_secs(6));
        assert_eq!(queue.start_next(wakes), Some(key("a", 1)));
        queue.finish(&key("a", 1), Duration::from_millis(5), wakes);
        assert_eq!(queue.next_wake(), None);
    }

    #[test]
    fn an_api_server_that_does_not_answer_is_asked_later_each_time() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        let pauses: Vec<f64> = (0..9)
            .map(|_| {
                queue.retry(key("a", 1), 1.0, now);
                (queue.next_wake().unwrap() - now).as_secs_f64()
            })
            .collect();
        assert_eq!(
            pauses,
            [3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 300.0, 300.0]
        );
        queue.clear_failures(&key("a", 1));
        queue.retry(key("a", 1), 0.0, now);
        assert_eq!(queue.next_wake().unwrap() - now, FIRST_RETRY / 2);
    }

    #[test]
    fn namespaces_take_turns_and_each_has_its_order() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        for (namespace, name) in [("b", 1), ("a", 2), ("a", 1), ("c", 1), ("a", 1)] {
            queue.add(key(namespace, name));
        }
        let mut begun = Vec::new();
        while let Some(next) = queue.start_next(now) {
            begun.push(next);
        }
        let order = [key("a", 1), key("b", 1), key("c", 1), key("a", 2)];
        assert_eq!(begun, order);
        assert!(queue.queued().is_empty());
    }

    #[test]
    fn a_pause_is_of_one_resource_and_ends_when_it_is_removed() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        assert!(queue.retry(key("a", 1), 0.0, now));
        assert!(!queue.retry(key("a", 1), 0.0, now), "the second in a row");
        queue.add(key("a", 2));
        assert_eq!(queue.start_next(now), Some(key("a", 2)));
        assert_eq!(queue.start_next(now), None);
        queue.remove(&key("a", 1));
        assert_eq!(queue.next_wake(), None);
        // One of the same name that comes later waits for nothing.
        queue.add(key("a", 1));
        assert_eq!(queue.start_next(now), Some(key("a", 1)));
        assert!(queue.retry(key("a", 1), 0.0, now), "the first in a row");
    }

    #[test]
    fn one_that_is_removed_while_it_runs_keeps_its_place_until_it_ends() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        for name in 0..=OF_NAMESPACE {
            queue.add(key("a", name));
        }
        while queue.start_next(now).is_some() {}
        queue.remove(&key("a", 0));
        queue.add(key("a", 0));
        assert_eq!(queue.start_next(now), None);
        queue.finish(&key("a", 0), Duration::ZERO, now);
        assert_eq!(queue.start_next(now), Some(key("a", 0)));
        queue.finish(&key("a", 1), Duration::ZERO, now);
        assert_eq!(queue.start_next(now), Some(key("a", OF_NAMESPACE)));
    }
}
