//! After reconciles: whose own families are served, the metrics about resources that were rejected,
//! and the removal of what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::admit::{creation_time, entries_of_namespace};
use super::family_registry::FamilyRegistry;
use crate::catalog::OwnMetrics;
use crate::exposition::NotAccepted;
use crate::kubernetes::api::key::ResourceKey;
use crate::kubernetes::api::key::server_name;
use crate::kubernetes::api::labels::NAMESPACE;
use crate::kubernetes::api::rejection::{Rejection, RejectionReason};
use crate::kubernetes::client::{ApiKind, ApiVerb};
use crate::kubernetes::controller::Controller;
use crate::kubernetes::index::{Index, IndexEntry};
use crate::kubernetes::source::watches::WatchSubject;
use crate::targets::Target;

/// Rejected servers of a namespace that are shown by name; more would be too many series.
const SHOWN: usize = 100;
/// A watch that fails is begun again within this time.
const FAILING: Duration = Duration::from_secs(90);
/// How long what a namespace had is kept after the right to look into it is gone.
const FORGET: Duration = Duration::from_secs(600);

impl Index {
    /// Replaces the metrics of a target by equal ones that another target of the namespace holds: five
    /// hundred targets that name one ConfigMap keep its metrics in memory once.
    pub(in crate::kubernetes) fn share_metrics(&self, namespace: &str, target: &mut Target) {
        let Some(metrics) = &target.metrics else {
            return;
        };
        let mut known = entries_of_namespace(&self.entries, namespace)
            .filter_map(|(_, one)| own_metrics_of(one));
        if let Some(same) = known.find(|one| *one == metrics) {
            target.metrics = Some(Arc::clone(same));
        }
    }

    /// Computes what is served of the resources that were reconciled. When the families of any target
    /// changed, all targets with families of their own are compared again.
    pub(in crate::kubernetes) fn update_families(&mut self) {
        let mut keys = std::mem::take(&mut self.reconciled);
        let mut conflicts = BTreeMap::new();
        if std::mem::take(&mut self.families_changed) {
            conflicts = find_conflicts(&self.entries);
            let touched = |entry: &IndexEntry| {
                entry.family_conflict.is_some() || own_metrics_of(entry).is_some()
            };
            let others = self.entries.iter().filter(|(_, entry)| touched(entry));
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
}

fn own_metrics_of(entry: &IndexEntry) -> Option<&Arc<OwnMetrics>> {
    entry.full_target.as_ref()?.metrics.as_ref()
}

/// Finds the targets whose own metrics contradict those of an older target.
fn find_conflicts(entries: &BTreeMap<ResourceKey, IndexEntry>) -> BTreeMap<ResourceKey, Rejection> {
    let with = entries
        .iter()
        .filter_map(|(key, entry)| Some((key, entry, own_metrics_of(entry)?)));
    let mut all: Vec<_> = with.collect();
    all.sort_by_key(|(key, entry, _)| (creation_time(entry), entry.uid(), *key));
    let mut registry = FamilyRegistry::default();
    let conflicts = all.into_iter().filter_map(|(key, _, metrics)| {
        let rejection = registry.add(metrics).err()?;
        Some((key.clone(), rejection))
    });
    conflicts.collect()
}

impl Controller {
    /// Sets the metrics about resources that were rejected, and about watches that fail.
    pub(in crate::kubernetes) fn report_metrics(&self) {
        let mut all: Vec<NotAccepted> = Vec::new();
        let (mut names, mut shown) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
        for (key, entry) in self.index.entries.iter().filter(|(_, entry)| entry.owned) {
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
        self.metrics.set_not_accepted(all, &self.index.tenure);
        let fails = |failed: Instant| failed.elapsed() < FAILING;
        let failing = self.watches.iter();
        let failing = failing.filter(|(_, state)| state.failed_at.is_some_and(fails));
        self.metrics
            .set_failing(failing.map(|(watch, _)| watch.kind()));
    }

    /// Queues resources whose objects RBAC did not let us read: with `one`, a single resource of each
    /// namespace, which finds out whether the right was granted; without, all of the namespaces
    /// where no right is missing any more.
    pub(in crate::kubernetes) fn requeue_forbidden(&mut self, one: bool) {
        let mut namespaces = BTreeSet::new();
        let refused = |namespace: &str| {
            [ApiKind::Secrets, ApiKind::ConfigMaps].iter().any(|kind| {
                self.api_requests
                    .is_refused(*kind, ApiVerb::Get, Some(namespace))
            })
        };
        let forbidden = self.index.entries.iter().filter(|(_, entry)| {
            let reason = entry.rejection.as_ref().map(|rejection| rejection.reason);
            entry.owned && reason == Some(RejectionReason::Forbidden)
        });
        let due = forbidden.filter(|(key, _)| match one {
            true => namespaces.insert(key.namespace.clone()),
            false => !refused(&key.namespace),
        });
        let due: Vec<ResourceKey> = due.map(|(key, _)| key.clone()).collect();
        self.index.queue.queued.extend(due);
    }

    /// Drops what belongs to namespaces that are gone: the record of missing rights where there is no
    /// resource, and the targets of a namespace whose watch has been forbidden for [`FORGET`].
    /// Targets stay while all watches are forbidden: then the service account has lost its rights,
    /// and the namespaces may well be there.
    pub(in crate::kubernetes) fn forget_removed(&mut self) {
        let inhabited: BTreeSet<String> = self
            .index
            .entries
            .keys()
            .map(|key| key.namespace.clone())
            .collect();
        self.api_requests.forget_rights(|right| {
            let watches = matches!(right.verb, ApiVerb::List | ApiVerb::Watch);
            let lease = right.kind == ApiKind::Leases;
            let namespace = right.namespace.as_ref();
            !watches && !lease && namespace.is_some_and(|one| !inhabited.contains(one))
        });
        let now = Instant::now();
        let refused: BTreeSet<_> = self
            .watches
            .keys()
            .filter(|watch| watch.is_source() && self.is_forbidden(watch))
            .cloned()
            .collect();
        let seen = |watch: &crate::kubernetes::source::watches::ResourceWatch| {
            watch.subject == WatchSubject::Targets && !refused.contains(watch)
        };
        let others = self.watches.keys().any(seen);
        let mut gone = Vec::new();
        for (watch, state) in &mut self.watches {
            state.forbidden_since = match refused.contains(watch) {
                true => state.forbidden_since.or(Some(now)),
                false => None,
            };
            let since = state.forbidden_since.filter(|since| now - *since >= FORGET);
            if since.is_some() && others && watch.namespace.is_some() {
                let keys = self
                    .index
                    .entries
                    .keys()
                    .filter(|key| watch.covers_key(key));
                gone.extend(keys.cloned());
            }
        }
        for key in gone {
            warn!(
                server = format!("{}/{}", key.namespace, key.name),
                "no longer scraped: its namespace may not be looked into for ten minutes"
            );
            self.remove_resource(&key);
        }
    }
}
