//! The index of all resources: one entry each, with what the last reconcile made of it, and the
//! queue of those that wait for their next reconcile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::api::key::{ResourceKey, server_name};
use super::api::labels::labels_of;
use super::api::object_refs::ObjectVersions;
use super::api::rejection::{Rejection, RejectionReason};
use super::api::resource::PostgresTarget;
use super::queue::WorkQueue;
use super::reconcile::validate::Validated;
use crate::catalog::Catalog;
use crate::targets::{OwnershipTerm, Target};

/// All resources, the queue of reconciles, and what changed since the last publication.
#[derive(Default)]
pub(super) struct Index {
    pub entries: BTreeMap<ResourceKey, IndexEntry>,
    /// The resources that wait for a reconcile.
    pub queue: WorkQueue,
    /// Namespaces in which resources came or went: ownership and quota are computed again for them.
    pub changed_namespaces: BTreeSet<String>,
    /// How long the targets may be served.
    pub tenure: OwnershipTerm,
    /// Resources that were reconciled since the last publication. Their families are compared with
    /// those of all others before their targets are served.
    pub reconciled: BTreeSet<ResourceKey>,
    /// The families that targets bring have changed, so that all of them are compared again.
    pub families_changed: bool,
    revisions: u64,
    /// The labels of the catalogue that was used last, computed once for each catalogue.
    labels: Option<(Arc<Catalog>, Arc<BTreeSet<String>>)>,
}

impl Index {
    /// A number that no other reconcile has.
    pub(super) fn next_revision(&mut self) -> u64 {
        self.revisions += 1;
        self.revisions
    }

    /// Notes that a target is no longer served: its families become free for others.
    pub(super) fn withdraw_target(&mut self, target: Option<&Arc<Target>>) {
        self.families_changed |= target.is_some_and(|target| target.metrics.is_some());
    }

    /// The names that the catalogue uses for labels.
    pub(super) fn catalog_labels(&mut self, catalog: &Arc<Catalog>) -> Arc<BTreeSet<String>> {
        match &self.labels {
            Some((of, labels)) if Arc::ptr_eq(of, catalog) => Arc::clone(labels),
            _ => {
                let labels = Arc::new(labels_of(catalog));
                self.labels = Some((Arc::clone(catalog), Arc::clone(&labels)));
                labels
            }
        }
    }
}

/// One resource, and the result of its last reconcile.
pub(super) struct IndexEntry {
    pub resource: Arc<PostgresTarget>,
    /// What is wrong with it before it is resolved.
    pub spec_rejection: Option<Rejection>,
    /// Why it is not served although it may be valid: the quota of its namespace is used up, or a
    /// resource of another kind has its name.
    pub exclusion: Option<Rejection>,
    /// Whether this pod serves it.
    pub owned: bool,
    /// The number of the reconcile that is wanted. A reconcile that ends with another number began
    /// before the last change, so its result is dropped and the resource is queued again.
    pub revision: u64,
    /// Versions of the objects that it names, as they were read.
    pub versions: ObjectVersions,
    /// The resource that the fields below were computed from; `None` before the first reconcile.
    pub reconciled: Option<Arc<PostgresTarget>>,
    /// Why the last reconcile rejected it, or a part of it.
    pub rejection: Option<Rejection>,
    /// The target of the last reconcile, with the metrics that the resource adds.
    pub full_target: Option<Arc<Target>>,
    /// Set when the metrics that it adds contradict those of an older target.
    pub family_conflict: Option<Rejection>,
    /// The target that is served: the full one, or without its own metrics when they contradict
    /// those of an older target.
    pub target: Option<Arc<Target>>,
    /// The reason that was logged last; it is logged again only when it changes.
    logged: Option<RejectionReason>,
    /// When the Secret is read again after the server refused the password and no watch covers the
    /// Secret, and the pause after that.
    pub secret_reread: Option<(Instant, Duration)>,
}

impl IndexEntry {
    /// An entry of a resource that was not reconciled yet. It keeps serving the target of `before`,
    /// the entry of its former state, until the reconcile ends.
    pub(super) fn new(resource: PostgresTarget, revision: u64, before: Option<IndexEntry>) -> Self {
        let mut entry = Self {
            resource: Arc::new(resource),
            spec_rejection: None,
            exclusion: None,
            owned: false,
            revision,
            versions: ObjectVersions::new(),
            reconciled: None,
            rejection: None,
            full_target: None,
            family_conflict: None,
            target: None,
            logged: None,
            secret_reread: None,
        };
        if let Some(before) = before {
            entry.exclusion = before.exclusion;
            entry.owned = before.owned;
            entry.reconciled = before.reconciled;
            entry.rejection = before.rejection;
            entry.full_target = before.full_target;
            entry.family_conflict = before.family_conflict;
            entry.target = before.target;
            entry.logged = before.logged;
        }
        entry
    }

    /// Sets whether this pod owns the resource, and drops the results of earlier reconciles.
    pub(super) fn set_owned(&mut self, owned: bool, revision: u64) {
        self.owned = owned;
        self.revision = revision;
        self.versions = ObjectVersions::new();
        self.reconciled = None;
        self.rejection = None;
        self.full_target = None;
        self.family_conflict = None;
        self.target = None;
        self.secret_reread = None;
    }

    /// Why it is not accepted, with all that is wrong.
    pub(super) fn all_rejections(&self) -> Option<Rejection> {
        match &self.rejection {
            Some(rejection) => Some(rejection.clone().and(self.family_conflict.clone())),
            None => self.family_conflict.clone(),
        }
    }

    /// The UID, which differs from that of a deleted resource with the same name.
    pub(super) fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Stores the result of a reconcile; `None` for a resource that is paused. What is served changes
    /// afterwards, in [`update_served`](Self::update_served).
    pub(super) fn apply_outcome(&mut self, result: Option<Result<Validated, Rejection>>) {
        self.reconciled = Some(Arc::clone(&self.resource));
        match result {
            None => {
                self.rejection = None;
                self.full_target = None;
            }
            Some(Ok(validated)) => {
                // The same stays the same, so that its session is kept.
                if self.full_target.as_deref() != Some(&validated.target) {
                    self.full_target = Some(Arc::new(validated.target));
                }
                self.rejection = validated.left_out;
            }
            Some(Err(rejection)) => {
                if rejection.reason.ends_scraping() {
                    self.full_target = None;
                }
                self.rejection = Some(rejection);
            }
        }
    }

    /// Computes what is served. With a conflict the target is served without its own metrics.
    pub(super) fn update_served(&mut self, conflict: Option<Rejection>) {
        self.family_conflict = conflict;
        let without = |full_target: &Arc<Target>| {
            let target = Target {
                metrics: None,
                ..full_target.as_ref().clone()
            };
            let same = self.target.as_ref().filter(|one| ***one == target);
            same.cloned().unwrap_or_else(|| Arc::new(target))
        };
        self.target = match (&self.full_target, &self.family_conflict) {
            (Some(full_target), Some(_)) => Some(without(full_target)),
            (full_target, _) => full_target.clone(),
        };
        self.log_rejection();
    }

    /// Logs a change of the reason. The message alone may change with each reconcile, and would fill
    /// the log.
    fn log_rejection(&mut self) {
        let rejections = self.all_rejections();
        let reason = rejections.as_ref().map(|one| one.reason);
        if self.logged == reason {
            return;
        }
        let server = server_name(&self.resource);
        match rejections {
            Some(rejection) => {
                let reason = rejection.reason.as_str();
                warn!(server, reason, "not accepted: {rejection}");
            }
            None => info!(server, "the resource is in order again"),
        }
        self.logged = reason;
    }
}
