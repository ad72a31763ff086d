//! Who has a place where the number of targets of a namespace is bounded: those that were there
//! first.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, Key};
use super::refusal::{Refusal, RefusalReason};

/// Who of a namespace has a place. Those that are paused need none.
pub(super) fn placed(
    entries: &BTreeMap<Key, Entry>,
    namespace: &str,
    limit: usize,
) -> BTreeSet<Key> {
    let mut all: Vec<_> = of_namespace(entries, namespace)
        .filter(|(_, entry)| !entry.resource.spec.paused)
        .map(|(key, entry)| (created(entry), key))
        .collect();
    all.sort();
    let limit = if limit == 0 { all.len() } else { limit };
    all.into_iter()
        .take(limit)
        .map(|(_, key)| key.clone())
        .collect()
}

/// All entries of a namespace.
pub(super) fn of_namespace<'a>(
    entries: &'a BTreeMap<Key, Entry>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
    let first = Key::new(super::entry::Source::Target, namespace, "");
    entries
        .range(first..)
        .take_while(move |(key, _)| key.namespace == namespace)
}

/// When a resource was made; the oldest comes first.
pub(super) fn created(entry: &Entry) -> Option<k8s_openapi::jiff::Timestamp> {
    let metadata = &entry.resource.metadata;
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// What one without a place is told.
pub(super) fn no_place(limit: usize) -> Refusal {
    Refusal::new(
        RefusalReason::TooManyTargets,
        format!(
            "this namespace has {limit} older targets, which is all that it may have; delete one, \
             or ask whoever runs pgexporter to raise kubernetes_max_targets_per_namespace"
        ),
    )
}
