//! The index of all resources: one entry each, with what the last reconcile made of it, and the
//! queue of those that wait for their next reconcile. Does no I/O.

mod admission;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::api::{
    ObjectRef, PostgresTarget, Rejection, RejectionReason, ResourceKey, ResourceSource,
};
use super::queue::WorkQueue;
use super::reconcile::outcome::{
    ReconcileOutcome, ReconcileOutcomes, ReconcileResult, ResolvedResource, StartedReconcile,
};
use super::reconcile::resolve::ResolveRefsError;
use super::reconcile::validate::Validated;
use crate::targets::{OwnershipTerm, Target};
use entry::IndexEntry;

/// The longest pause between two reads of a Secret whose password the server refuses.
const LONGEST_REREAD: Duration = Duration::from_secs(60);

/// All resources, the queue of reconciles, and what changed since the last publication.
#[derive(Default)]
pub(super) struct Index {
    entries: BTreeMap<ResourceKey, IndexEntry>,
    /// The resources that wait for a reconcile.
    queue: WorkQueue,
    /// Namespaces in which resources came or went: ownership and quota are computed again for them.
    changed_namespaces: BTreeSet<String>,
    /// How long the targets may be served.
    tenure: OwnershipTerm,
    /// Resources that were reconciled since the last publication. Their families are compared with
    /// those of all others before their targets are served.
    reconciled: BTreeSet<ResourceKey>,
    /// The families that targets bring have changed, so that all of them are compared again.
    families_changed: bool,
    revisions: u64,
}

/// Resources: what comes and goes, and what has to be reconciled.
impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The namespaces that have resources.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        let keys = self.entries.keys();
        keys.map(|key| key.namespace.clone()).collect()
    }

    /// Stores a resource, and queues it unless nothing that matters has changed.
    pub(super) fn apply_resource(
        &mut self,
        key: ResourceKey,
        resource: PostgresTarget,
        spec_rejection: Option<Rejection>,
    ) {
        let revision = self.next_revision();
        match self.entries.get_mut(&key) {
            Some(known) if known.resource.metadata.uid == resource.metadata.uid => {
                let before = std::mem::replace(&mut known.resource, Arc::new(resource));
                // Where only the status or metadata changed no reconcile is needed. The resource was
                // stored all the same: a pod that becomes the owner starts from the newest status.
                if before.spec == known.resource.spec && known.spec_rejection == spec_rejection {
                    return;
                }
                // It keeps its target until the reconcile ends.
                known.versions.clear();
                known.secret_reread = None;
                known.spec_rejection = spec_rejection;
                known.revision = revision;
            }
            // New, or deleted and created again under the same name.
            _ => {
                self.remove_resource(&key);
                let mut entry = IndexEntry::new(Arc::new(resource));
                entry.spec_rejection = spec_rejection;
                entry.revision = revision;
                self.entries.insert(key.clone(), entry);
            }
        }
        self.changed_namespaces.insert(key.namespace.clone());
        self.queue.add(key);
    }

    pub(super) fn remove_resource(&mut self, key: &ResourceKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.withdraw_target(entry.full_target.as_ref());
            self.queue.remove(key);
            self.changed_namespaces.insert(key.namespace.clone());
        }
    }

    /// Removes the resources that `gone` names, and returns their keys.
    pub(super) fn remove_resources(
        &mut self,
        gone: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<ResourceKey> {
        let keys = self.entries.keys().filter(|key| gone(key));
        let keys: Vec<ResourceKey> = keys.cloned().collect();
        keys.iter().for_each(|key| self.remove_resource(key));
        keys
    }

    /// An object is there with this version, or is gone: queues the resources that were reconciled
    /// with another one. Returns whether any resource names it.
    pub(super) fn requeue_dependents(
        &mut self,
        namespace: &str,
        named: &ObjectRef,
        version: Option<&str>,
    ) -> bool {
        let mut any = false;
        for (key, entry) in entries_of_namespace(&self.entries, namespace) {
            if let Some(read) = entry.versions.get(named) {
                any = true;
                if read.as_deref() != version {
                    self.queue.add(key.clone());
                }
            }
        }
        any
    }

    /// Queues the resources that were reconciled with an object that is gone.
    pub(super) fn requeue_if_gone(&mut self, gone: impl Fn(&str, &ObjectRef) -> bool) {
        for (key, entry) in &self.entries {
            let mut read = entry.versions.iter();
            if read.any(|(named, version)| version.is_some() && gone(&key.namespace, named)) {
                self.queue.add(key.clone());
            }
        }
    }

    /// Queues all resources: the settings or the catalogue changed.
    pub(super) fn requeue_all(&mut self) {
        let keys = self.entries.keys().cloned();
        keys.for_each(|key| self.queue.add(key));
        self.recheck_all_namespaces();
    }

    /// Queues the resources of this pod that are `wanted`.
    pub(super) fn requeue_owned(&mut self, wanted: impl Fn(&str, &PostgresTarget) -> bool) {
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.owned) {
            if wanted(&key.namespace, &entry.resource) {
                self.queue.add(key.clone());
            }
        }
    }

    /// Queues the resources of `wanted` namespaces whose objects RBAC did not let us read.
    pub(super) fn requeue_forbidden(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.owned) {
            let reason = entry.rejection.as_ref().map(|rejection| rejection.reason);
            if reason == Some(RejectionReason::Forbidden) && wanted(&key.namespace) {
                self.queue.add(key.clone());
            }
        }
    }

    /// Queues the `wanted` resources whose password the server refused: the Secret may have changed.
    /// The pause doubles with each read.
    pub(super) fn requeue_refused_passwords(
        &mut self,
        wanted: impl Fn(&str, &PostgresTarget) -> bool,
        refused: impl Fn(&Arc<Target>) -> bool,
        now: Instant,
    ) {
        for (key, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.owned) {
            if !wanted(&key.namespace, &entry.resource) {
                continue;
            }
            if !entry.target.as_ref().is_some_and(&refused) {
                entry.secret_reread = None;
                continue;
            }
            let (due, pause) = entry.secret_reread.unwrap_or((now, Duration::from_secs(1)));
            if due <= now {
                entry.secret_reread = Some((now + pause, (pause * 2).min(LONGEST_REREAD)));
                self.queue.add(key.clone());
            }
        }
    }

    /// A number that no other reconcile has.
    fn next_revision(&mut self) -> u64 {
        self.revisions += 1;
        self.revisions
    }

    /// Notes that a target is no longer served: its families become free for others.
    fn withdraw_target(&mut self, target: Option<&Arc<Target>>) {
        self.families_changed |= target.is_some_and(|target| target.metrics.is_some());
    }
}

/// Reconciles: which starts next, and what came of one.
impl Index {
    /// When the first of the queued resources that wait may start.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.queue.next_wake()
    }

    /// Records the outcome of queued resources that need no request to the API server: paused ones,
    /// and ones that are rejected by their spec alone. Drops those of other pods.
    pub(super) fn record_immediate_outcomes(&mut self) -> Vec<ReconcileResult> {
        let mut results = Vec::new();
        for key in self.queue.queued() {
            let revision = self.next_revision();
            let Some(entry) = self.entries.get_mut(&key).filter(|one| one.owned) else {
                self.queue.remove(&key);
                continue;
            };
            // The result of a reconcile that runs already is dropped: it has the revision before.
            entry.revision = revision;
            let rejection = entry.spec_rejection.as_ref().or(entry.exclusion.as_ref());
            let outcome = match (entry.resource.spec.paused, rejection) {
                (true, _) => None,
                (false, Some(rejection)) => Some(Err(rejection.clone())),
                (false, None) => continue,
            };
            self.queue.remove(&key);
            results.extend(self.record_outcome(&key, outcome));
        }
        results
    }

    /// Starts the next reconcile.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<StartedReconcile> {
        let key = self.queue.start_next(now)?;
        // What is queued has an entry: both are removed together.
        let entry = self.entries.get(&key)?;
        Some(StartedReconcile {
            revision: entry.revision,
            resource: Arc::clone(&entry.resource),
            key,
        })
    }

    /// Ends a reconcile; `None` when its result is dropped, because the resource changed meanwhile,
    /// is gone, or is another pod's.
    pub(super) fn finish_reconcile(
        &mut self,
        resolved: ResolvedResource,
        jitter: f64,
        now: Instant,
    ) -> Option<ReconcileResult> {
        let StartedReconcile { key, revision, .. } = resolved.started;
        self.queue.finish(&key, resolved.busy, now);
        let Some(entry) = self.entries.get_mut(&key) else {
            self.queue.remove(&key);
            return None;
        };
        if entry.revision != revision || !entry.owned {
            self.queue.add(key);
            return None;
        }
        let result = match resolved.result {
            Ok(validated) => Ok(validated),
            Err(ResolveRefsError::Rejected(rejection)) => Err(rejection),
            Err(ResolveRefsError::Unavailable(why)) => {
                let name = format!("{}/{}", key.namespace, key.name);
                if self.queue.retry(key, jitter, now) {
                    warn!(
                        resource = name,
                        "{why}; the exporter retries with longer and longer delays"
                    );
                }
                return Some(ReconcileResult::Unavailable);
            }
        };
        self.queue.clear_failures(&key);
        entry.versions = resolved.versions;
        self.record_outcome(&key, Some(result))
    }

    /// Records the outcome of a reconcile; `None` for a resource that is paused.
    fn record_outcome(
        &mut self,
        key: &ResourceKey,
        mut outcome: Option<Result<Validated, Rejection>>,
    ) -> Option<ReconcileResult> {
        if let Some(Ok(validated)) = &mut outcome {
            self.share_metrics(&key.namespace, &mut validated.target);
        }
        let entry = self.entries.get_mut(key)?;
        let before = entry.own_metrics().cloned();
        let result = ReconcileResult::from_outcome(&outcome);
        entry.apply_outcome(outcome);
        self.families_changed |= entry.own_metrics() != before.as_ref();
        self.reconciled.insert(key.clone());
        Some(result)
    }

    /// Whether each resource of this pod was reconciled.
    pub(super) fn all_reconciled(&self) -> bool {
        let mut owned = self.entries.values().filter(|one| one.owned);
        owned.all(|one| one.reconciled.is_some())
    }

    /// The targets that are served.
    pub(super) fn targets(&self) -> Vec<Arc<Target>> {
        let entries = self.entries.values();
        entries.filter_map(|one| one.target.clone()).collect()
    }

    /// The outcomes of all reconciles, for statuses.
    pub(super) fn outcomes(&self) -> ReconcileOutcomes {
        let own = self.entries.iter().filter_map(|(key, entry)| {
            Some(ReconcileOutcome {
                resource: Arc::clone(entry.reconciled.as_ref()?),
                present: Arc::clone(&entry.resource),
                service: key.source == ResourceSource::Service,
                rejection: entry.all_rejections(),
                target: entry.target.clone(),
            })
        });
        ReconcileOutcomes {
            own: Arc::new(own.collect()),
            foreign: self.entries.values().filter(|one| !one.owned).count(),
            tenure: self.tenure.clone(),
        }
    }
}

/// All entries of a namespace.
fn entries_of_namespace<'a>(
    entries: &'a BTreeMap<ResourceKey, IndexEntry>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a ResourceKey, &'a IndexEntry)> {
    let first = ResourceKey::named(ResourceSource::Target, namespace, "");
    entries
        .range(first..)
        .take_while(move |(key, _)| key.namespace == namespace)
}
