//! Ownership and quota: which resources this pod serves, and which of them are within the quota of
//! their namespace. Computed again when resources or members come or go.

use std::collections::BTreeSet;

use super::lease::Assignment;
use super::rendezvous::assign_targets;
use crate::kubernetes::api::key::{ResourceKey, ResourceSource};
use crate::kubernetes::api::rejection::{Rejection, RejectionReason};
use crate::kubernetes::controller::Controller;
use crate::kubernetes::index::IndexEntry;
use crate::kubernetes::reconcile::admit::{
    creation_time, entries_of_namespace, keys_within_quota, quota_exceeded,
};
use crate::targets::OwnershipTerm;

impl Controller {
    /// Marks all namespaces, so that ownership and quota are computed again.
    pub(in crate::kubernetes) fn recheck_all_namespaces(&mut self) {
        let keys = self.index.entries.keys();
        self.index.changed_namespaces = keys.map(|key| key.namespace.clone()).collect();
        // The empty name makes the set non-empty where there are no resources yet, so that the change
        // of members is still read.
        self.index.changed_namespaces.insert(String::new());
    }

    pub(in crate::kubernetes) fn update_ownership(&mut self) {
        let touched = std::mem::take(&mut self.index.changed_namespaces);
        if touched.is_empty() {
            return;
        }
        self.assign_owners();
        let limit = self.context.settings.borrow().max_targets;
        for namespace in touched {
            let placed = keys_within_quota(&self.index.entries, &namespace, limit);
            let keys: Vec<ResourceKey> = entries_of_namespace(&self.index.entries, &namespace)
                .map(|(key, _)| key.clone())
                .collect();
            for key in keys {
                let exclusion = self.find_exclusion(&key, placed.contains(&key), limit);
                let Some(entry) = self.index.entries.get_mut(&key) else {
                    continue;
                };
                if entry.exclusion != exclusion {
                    entry.exclusion = exclusion;
                    self.index.queue.queued.insert(key);
                }
            }
        }
    }

    /// Why a resource is not served although it may be valid.
    fn find_exclusion(
        &self,
        key: &ResourceKey,
        has_place: bool,
        limit: usize,
    ) -> Option<Rejection> {
        let twin = ResourceKey::new(ResourceSource::Target, &key.namespace, &key.name);
        if key.source == ResourceSource::Service && self.index.entries.contains_key(&twin) {
            return Some(Rejection::new(
                RejectionReason::DuplicateServer,
                format!(
                    "there is a PostgresTarget {} as well; remove the annotations of the Service, \
                     or rename one of them",
                    key.name
                ),
            ));
        }
        let paused = self.index.entries.get(key)?.resource.spec.paused;
        (!has_place && !paused).then(|| quota_exceeded(limit))
    }

    fn assign_owners(&mut self) {
        let share = self.assignment.borrow_and_update().clone();
        let entries = &self.index.entries;
        let (mine, tenure): (BTreeSet<ResourceKey>, OwnershipTerm) = match &share {
            Assignment::Nothing => (BTreeSet::new(), self.index.tenure.clone()),
            Assignment::Everything => (
                entries.keys().cloned().collect(),
                OwnershipTerm::unlimited(),
            ),
            Assignment::Shared(members, tenure) => {
                let mut all: Vec<(&ResourceKey, &IndexEntry)> = entries.iter().collect();
                all.sort_by_cached_key(|(key, entry)| (creation_time(entry), (*key).clone()));
                let uids: Vec<&str> = all.iter().map(|(_, entry)| entry.uid()).collect();
                let owners = assign_targets(&uids, members);
                let own = all
                    .iter()
                    .zip(owners)
                    .filter(|(_, owner)| *owner == self.owner);
                let own = own.map(|((key, _), _)| (*key).clone()).collect();
                (own, tenure.clone())
            }
        };
        let anew = self.index.tenure != tenure;
        self.index.tenure = tenure;
        let changed: Vec<(ResourceKey, bool)> = self
            .index
            .entries
            .iter()
            .map(|(key, entry)| (key, entry, mine.contains(key)))
            .filter(|(_, entry, owned)| entry.owned != *owned || (anew && *owned))
            .map(|(key, _, owned)| (key.clone(), owned))
            .collect();
        for (key, owned) in changed {
            let revision = self.index.next_revision();
            let Some(entry) = self.index.entries.get_mut(&key) else {
                continue;
            };
            let before = entry.full_target.take();
            entry.set_owned(owned, revision);
            self.index.withdraw_target(before.as_ref());
            if owned {
                self.index.queue.queued.insert(key);
            } else {
                self.index.queue.remove(&key);
            }
        }
    }
}
