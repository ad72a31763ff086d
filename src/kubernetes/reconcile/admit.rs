//! The third step of a reconcile: what a resource may have beside the other ones. Pure. An older
//! resource comes before a newer one, in whatever order they are read.
//!
//! * A namespace has a quota of targets; the oldest are within it.
//! * Two targets may bring the same family, but not with two types: Prometheus rejects a scrape that
//!   holds both. The older target keeps it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::jiff::Timestamp;

use crate::catalog::{Family, OwnMetrics};
use crate::kubernetes::api::{Rejection, RejectionReason, ResourceKey};

/// The resources of a namespace that are within the quota, of all that count, each with the time at
/// which it was created.
pub(crate) fn keys_within_quota(
    mut all: Vec<(Option<Timestamp>, &ResourceKey)>,
    limit: usize,
) -> BTreeSet<ResourceKey> {
    all.sort();
    let limit = if limit == 0 { all.len() } else { limit };
    let within = all.into_iter().take(limit);
    within.map(|(_, key)| key.clone()).collect()
}

/// The rejection of a resource beyond the quota.
pub(crate) fn quota_exceeded(limit: usize) -> Rejection {
    Rejection::new(
        RejectionReason::TooManyTargets,
        format!(
            "this namespace has {limit} older targets, which is all that it may have; delete one, \
             or ask whoever runs pgexporter to raise kubernetes_max_targets_per_namespace"
        ),
    )
}

/// The rejection of a Service that has the name of a `PostgresTarget`.
pub(crate) fn duplicate_of_resource(name: &str) -> Rejection {
    Rejection::new(
        RejectionReason::DuplicateServer,
        format!(
            "there is a PostgresTarget {name} as well; remove the annotations of the Service, or \
             rename one of them"
        ),
    )
}

/// Finds the targets whose own metrics contradict those of an older target. Each is given by the time
/// at which it was created, its UID, and its key.
pub(crate) fn find_conflicts(
    mut all: Vec<(Option<Timestamp>, &str, &ResourceKey, &OwnMetrics)>,
) -> BTreeMap<ResourceKey, Rejection> {
    all.sort_by_key(|(created, uid, key, _)| (*created, *uid, *key));
    let mut registry = FamilyRegistry::default();
    let conflicts = all.into_iter().filter_map(|(_, _, key, metrics)| {
        let rejection = registry.add(metrics).err()?;
        Some((key.clone(), rejection))
    });
    conflicts.collect()
}

/// The families of the targets that were added, by the names of their samples.
#[derive(Debug, Default)]
struct FamilyRegistry<'a>(HashMap<&'a str, &'a Family>);

impl<'a> FamilyRegistry<'a> {
    /// Adds the families of a target, unless they contradict those of an older one.
    ///
    /// # Errors
    /// An older target has a family that contradicts them. The message does not name that target: it
    /// may be in another namespace, which this tenant must not learn about.
    fn add(&mut self, metrics: &'a OwnMetrics) -> Result<(), Rejection> {
        for (name, family) in metrics.claims() {
            let other = self.0.get(name);
            let Some(other) =
                other.filter(|one| one.name != family.name || one.kind != family.kind)
            else {
                continue;
            };
            return Err(Rejection::new(
                RejectionReason::InvalidMetrics,
                format!(
                    "{}: the family {} cannot stand beside the {} {} of another target, which is \
                     older; choose another tag",
                    family.source,
                    family.name,
                    other.kind.as_str(),
                    other.name
                ),
            ));
        }
        for (name, family) in metrics.claims() {
            self.0.entry(name).or_insert(family);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn own(kind: &str, column: &str) -> OwnMetrics {
        let text = format!(
            "version: 13\nmetrics:\n  - tag: t\n    queries:\n      - query: SELECT 1\n        \
             columns: [{{name: {column}, type: {kind}}}]\n"
        );
        OwnMetrics::parse(vec![("m".to_owned(), text)], Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn two_targets_share_a_family_of_one_type_alone() {
        let (first, same) = (own("counter", "n_total"), own("counter", "n_total"));
        let (gauge, short) = (own("gauge", "n_total"), own("gauge", "n"));
        let mut registry = FamilyRegistry::default();
        assert_eq!(registry.add(&first), Ok(()));
        assert_eq!(registry.add(&same), Ok(()));
        let refused = registry.add(&gauge).unwrap_err();
        assert!(
            refused
                .message
                .contains("the counter pgexporter_t_n_total of another target")
        );
        // In OpenMetrics the counter is called without `_total`.
        assert!(registry.add(&short).is_err());
    }
}
