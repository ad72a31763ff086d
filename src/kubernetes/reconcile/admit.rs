//! The quota of targets in a namespace. The oldest resources are within it.

use std::collections::{BTreeMap, BTreeSet};

use crate::kubernetes::api::key::{ResourceKey, ResourceSource};
use crate::kubernetes::api::rejection::{Rejection, RejectionReason};
use crate::kubernetes::index::IndexEntry;

/// The resources of a namespace that are within the quota. Paused ones do not count.
pub(in crate::kubernetes) fn keys_within_quota(
    entries: &BTreeMap<ResourceKey, IndexEntry>,
    namespace: &str,
    limit: usize,
) -> BTreeSet<ResourceKey> {
    let mut all: Vec<_> = entries_of_namespace(entries, namespace)
        .filter(|(_, entry)| !entry.resource.spec.paused)
        .map(|(key, entry)| (creation_time(entry), key))
        .collect();
    all.sort();
    let limit = if limit == 0 { all.len() } else { limit };
    all.into_iter()
        .take(limit)
        .map(|(_, key)| key.clone())
        .collect()
}

/// All entries of a namespace.
pub(in crate::kubernetes) fn entries_of_namespace<'a>(
    entries: &'a BTreeMap<ResourceKey, IndexEntry>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a ResourceKey, &'a IndexEntry)> {
    let first = ResourceKey::new(ResourceSource::Target, namespace, "");
    entries
        .range(first..)
        .take_while(move |(key, _)| key.namespace == namespace)
}

/// When a resource was created.
pub(in crate::kubernetes) fn creation_time(
    entry: &IndexEntry,
) -> Option<k8s_openapi::jiff::Timestamp> {
    let metadata = &entry.resource.metadata;
    metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The rejection of a resource beyond the quota.
pub(in crate::kubernetes) fn quota_exceeded(limit: usize) -> Rejection {
    Rejection::new(
        RejectionReason::TooManyTargets,
        format!(
            "this namespace has {limit} older targets, which is all that it may have; delete one, \
             or ask whoever runs pgexporter to raise kubernetes_max_targets_per_namespace"
        ),
    )
}
