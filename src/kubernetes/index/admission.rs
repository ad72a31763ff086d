//! Which resources are served, and as what: whose they are, which are within the quota of their
//! namespace, and whose own families stand beside those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Index, entries_of_namespace};
use crate::exposition::NotAccepted;
use crate::kubernetes::api::{NAMESPACE, ResourceKey, ResourceSource, server_name};
use crate::kubernetes::reconcile::admit::{
    duplicate_of_resource, find_conflicts, keys_within_quota, quota_exceeded,
};
use crate::kubernetes::sharding::ownership::Assignment;
use crate::targets::{OwnershipTerm, Target};

/// Rejected servers of a namespace that are shown by name; more would be too many series.
const SHOWN: usize = 100;

impl Index {
    /// How long the targets may be served.
    pub(crate) fn tenure(&self) -> &OwnershipTerm {
        &self.tenure
    }

    /// Marks all namespaces, so that ownership and quota are computed again.
    pub(crate) fn recheck_all_namespaces(&mut self) {
        self.changed_namespaces = self.namespaces();
        // The empty name makes the set non-empty where there are no resources yet, so that the change
        // of members is still read.
        self.changed_namespaces.insert(String::new());
    }

    /// Computes ownership and quota again after resources or members came or went.
    pub(crate) fn update_ownership(&mut self, assignment: &Assignment, owner: &str, limit: usize) {
        let namespaces = std::mem::take(&mut self.changed_namespaces);
        if !namespaces.is_empty() {
            self.assign_owners(assignment, owner);
        }
        for namespace in namespaces {
            let all = || entries_of_namespace(&self.entries, &namespace);
            let counted = all().filter(|(_, entry)| !entry.resource.spec.paused);
            let within = counted.map(|(key, entry)| (entry.created(), key));
            let within = keys_within_quota(within.collect(), limit);
            let exclusion = |key: &ResourceKey, paused: bool| {
                let twin = ResourceKey::named(ResourceSource::Target, &key.namespace, &key.name);
                if key.source == ResourceSource::Service && self.entries.contains_key(&twin) {
                    return Some(duplicate_of_resource(&key.name));
                }
                (!paused && !within.contains(key)).then(|| quota_exceeded(limit))
            };
            let changed = all().filter_map(|(key, entry)| {
                let exclusion = exclusion(key, entry.resource.spec.paused);
                (entry.exclusion != exclusion).then(|| (key.clone(), exclusion))
            });
            for (key, exclusion) in changed.collect::<Vec<_>>() {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.exclusion = exclusion;
                    self.queue.add(key);
                }
            }
        }
    }

    fn assign_owners(&mut self, assignment: &Assignment, owner: &str) {
        let all = self.entries.iter();
        let all = all.map(|(key, entry)| (entry.created(), key, entry.uid()));
        let mine = assignment.owned_keys(owner, all.collect());
        let tenure = assignment.term().unwrap_or_else(|| self.tenure.clone());
        let anew = self.tenure != tenure;
        self.tenure = tenure;
        let changed = self.entries.iter().filter_map(|(key, entry)| {
            let owned = mine.contains(key);
            (entry.owned != owned || (anew && owned)).then(|| (key.clone(), owned))
        });
        for (key, owned) in changed.collect::<Vec<_>>() {
            let revision = self.next_revision();
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let before = entry.full_target.take();
            entry.set_owned(owned, revision);
            self.withdraw_target(before.as_ref());
            if owned {
                self.queue.add(key);
            } else {
                self.queue.remove(&key);
            }
        }
    }

    /// Replaces the metrics of a target by equal ones that another target of the namespace holds: five
    /// hundred targets that name one ConfigMap keep its metrics in memory once.
    pub(super) fn share_metrics(&self, namespace: &str, target: &mut Target) {
        let Some(metrics) = &target.metrics else {
            return;
        };
        let mut known =
            entries_of_namespace(&self.entries, namespace).filter_map(|(_, one)| one.own_metrics());
        if let Some(same) = known.find(|one| *one == metrics) {
            target.metrics = Some(Arc::clone(same));
        }
    }

    /// Computes what is served of the resources that were reconciled. When the families of any target
    /// changed, all targets with families of their own are compared again.
    pub(crate) fn update_families(&mut self) {
        let mut keys = std::mem::take(&mut self.reconciled);
        let mut conflicts = BTreeMap::new();
        if std::mem::take(&mut self.families_changed) {
            let with = self.entries.iter().filter_map(|(key, entry)| {
                Some((
                    entry.created(),
                    entry.uid(),
                    key,
                    entry.own_metrics()?.as_ref(),
                ))
            });
            conflicts = find_conflicts(with.collect());
            let others = self.entries.iter().filter(|(_, entry)| {
                entry.family_conflict.is_some() || entry.own_metrics().is_some()
            });
            keys.extend(others.map(|(key, _)| key.clone()));
        } else {
            let known = |key: &ResourceKey| {
                Some((key.clone(), self.entries.get(key)?.family_conflict.clone()?))
            };
            conflicts.extend(keys.iter().filter_map(known));
        }
        for key in keys {
            let conflict = conflicts.remove(&key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.update_served(conflict);
            }
        }
    }

    /// The servers that are not accepted, for the metrics: of each namespace so many by name.
    pub(crate) fn not_accepted(&self) -> Vec<NotAccepted> {
        let mut all: Vec<NotAccepted> = Vec::new();
        let (mut names, mut shown) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.owned) {
            let Some(rejections) = entry.all_rejections() else {
                continue;
            };
            let shown = shown.entry(&key.namespace).or_default();
            let server = server_name(&entry.resource);
            if *shown == SHOWN || !names.insert(server.clone()) {
                continue;
            }
            *shown += 1;
            all.push(NotAccepted {
                server,
                labels: vec![(NAMESPACE.to_owned(), key.namespace.clone())],
                reason: rejections.reason.as_str(),
                scraped: entry.target.is_some(),
            });
        }
        all
    }
}
