//! One resource of the index.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::catalog::OwnMetrics;
use crate::kubernetes::api::{
    ObjectVersions, PostgresTarget, Rejection, RejectionReason, server_name,
};
use crate::kubernetes::reconcile::validate::Validated;
use crate::targets::Target;

/// One resource, and the result of its last reconcile.
pub(super) struct IndexEntry {
    pub(super) resource: Arc<PostgresTarget>,
    /// What is wrong with it before it is resolved.
    pub(super) spec_rejection: Option<Rejection>,
    /// Why it is not served although it may be valid: the quota of its namespace is used up, or a
    /// resource of another kind has its name.
    pub(super) exclusion: Option<Rejection>,
    /// Whether this pod serves it.
    pub(super) owned: bool,
    /// The number of the reconcile that is wanted. A reconcile that ends with another number began
    /// before the last change, so its result is dropped and the resource is queued again.
    pub(super) revision: u64,
    /// Versions of the objects that it names, as they were read.
    pub(super) versions: ObjectVersions,
    /// The resource that the fields below were computed from; `None` before the first reconcile.
    pub(super) reconciled: Option<Arc<PostgresTarget>>,
    /// Why the last reconcile rejected it, or a part of it.
    pub(super) rejection: Option<Rejection>,
    /// The target of the last reconcile, with the metrics that the resource adds.
    pub(super) full_target: Option<Arc<Target>>,
    /// Set when the metrics that it adds contradict those of an older target.
    pub(super) family_conflict: Option<Rejection>,
    /// The target that is served: the full one, or without its own metrics when they contradict
    /// those of an older target.
    pub(super) target: Option<Arc<Target>>,
    /// The reason that was logged last; it is logged again only when it changes.
    logged: Option<RejectionReason>,
    /// When the Secret is read again after the server refused the password and no watch covers the
    /// Secret, and the pause after that.
    pub(super) secret_reread: Option<(Instant, Duration)>,
}

impl IndexEntry {
    /// An entry of a resource that was not reconciled yet.
    pub(super) fn new(resource: Arc<PostgresTarget>) -> Self {
        Self {
            resource,
            spec_rejection: None,
            exclusion: None,
            owned: false,
            revision: 0,
            versions: ObjectVersions::new(),
            reconciled: None,
            rejection: None,
            full_target: None,
            family_conflict: None,
            target: None,
            logged: None,
            secret_reread: None,
        }
    }

    /// Sets whether this pod owns the resource, and drops the results of earlier reconciles.
    pub(super) fn set_owned(&mut self, owned: bool, revision: u64) {
        *self = Self {
            spec_rejection: self.spec_rejection.take(),
            exclusion: self.exclusion.take(),
            owned,
            revision,
            logged: self.logged,
            ..Self::new(Arc::clone(&self.resource))
        };
    }

    /// Why it is not accepted, with all that is wrong.
    pub(super) fn all_rejections(&self) -> Option<Rejection> {
        match &self.rejection {
            Some(rejection) => Some(rejection.clone().and(self.family_conflict.clone())),
            None => self.family_conflict.clone(),
        }
    }

    /// When the resource was created.
    pub(super) fn created(&self) -> Option<Timestamp> {
        let metadata = &self.resource.metadata;
        metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    /// The metrics that the target brings itself, whether they are served or not.
    pub(super) fn own_metrics(&self) -> Option<&Arc<OwnMetrics>> {
        self.full_target.as_ref()?.metrics.as_ref()
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
