//! What is known of one resource, and what a new judgement makes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::rejection::{Rejection, RejectionReason};
use super::resolve::ObjectVersions;
use super::resource::PostgresTarget;
use super::validate::{Validated, server_name};
use crate::targets::Target;

/// A resource, among all of them. Those of one namespace stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResourceKey {
    pub namespace: String,
    pub source: ResourceSource,
    pub name: String,
}

/// What a target is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ResourceSource {
    /// A `PostgresTarget`.
    Target,
    /// A Service with our annotation.
    Service,
}

impl ResourceKey {
    pub(super) fn new(source: ResourceSource, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            source,
            name: name.to_owned(),
        }
    }

    pub(super) fn from_resource(resource: &PostgresTarget, source: ResourceSource) -> Self {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let metadata = &resource.metadata;
        Self {
            namespace: part(&metadata.namespace),
            source,
            name: part(&metadata.name),
        }
    }
}

/// One resource.
pub(super) struct IndexEntry {
    pub resource: Arc<PostgresTarget>,
    /// What is wrong with it before it is resolved.
    pub spec_rejection: Option<Rejection>,
    /// Why it has no place in the list, be it as right as it may.
    pub exclusion: Option<Rejection>,
    /// Whether this pod serves it.
    pub owned: bool,
    /// The doubt that it is resolved for, unlike any other of any resource: what was found for
    /// another one is out of date.
    pub revision: u64,
    /// Versions of the objects that it names, as they were read.
    pub versions: ObjectVersions,
    /// As it was when what follows was found out; `None` before the first time.
    pub reconciled: Option<Arc<PostgresTarget>>,
    /// What is wrong with it.
    pub rejection: Option<Rejection>,
    /// What was made of it, with all that it adds.
    pub full_target: Option<Arc<Target>>,
    /// Why its own metrics cannot stand beside those of an older target.
    pub family_conflict: Option<Rejection>,
    /// What is served of it.
    pub target: Option<Arc<Target>>,
    /// The reason that stands in the log.
    logged: Option<RejectionReason>,
    /// After a refused password: when its Secret is read again where nobody watches it, and how
    /// long to wait the next time.
    pub secret_reread: Option<(Instant, Duration)>,
}

impl IndexEntry {
    /// Of a resource that was not judged yet, with what is published for it.
    pub(super) fn new(resource: PostgresTarget, doubt: u64, before: Option<IndexEntry>) -> Self {
        let mut entry = Self {
            resource: Arc::new(resource),
            spec_rejection: None,
            exclusion: None,
            owned: false,
            revision: doubt,
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

    /// Another pod serves it from now on, or again this one. Nothing of before counts.
    pub(super) fn set_owned(&mut self, owned: bool, doubt: u64) {
        self.owned = owned;
        self.revision = doubt;
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
            Some(refusal) => Some(refusal.clone().and(self.family_conflict.clone())),
            None => self.family_conflict.clone(),
        }
    }

    /// What tells it from one of the same name that came before.
    pub(super) fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Takes what came of it; `None` for a resource that is paused. What is served of it is settled
    /// afterwards, with [`settle`](Self::settle).
    pub(super) fn apply_outcome(&mut self, judgement: Option<Result<Validated, Rejection>>) {
        self.reconciled = Some(Arc::clone(&self.resource));
        match judgement {
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
            Some(Err(refusal)) => {
                if refusal.reason.ends_scraping() {
                    self.full_target = None;
                }
                self.rejection = Some(refusal);
            }
        }
    }

    /// Says what is served, knowing whether its own metrics can stand beside the others.
    pub(super) fn update_served(&mut self, clash: Option<Rejection>) {
        self.family_conflict = clash;
        let without = |made: &Arc<Target>| {
            let target = Target {
                metrics: None,
                ..made.as_ref().clone()
            };
            let same = self.target.as_ref().filter(|one| ***one == target);
            same.cloned().unwrap_or_else(|| Arc::new(target))
        };
        self.target = match (&self.full_target, &self.family_conflict) {
            (Some(made), Some(_)) => Some(without(made)),
            (made, _) => made.clone(),
        };
        self.log_rejection();
    }

    /// Logs when the reason is another one: what is said of it may differ each time.
    fn log_rejection(&mut self) {
        let flaws = self.all_rejections();
        let reason = flaws.as_ref().map(|one| one.reason);
        if self.logged == reason {
            return;
        }
        let server = server_name(&self.resource);
        match flaws {
            Some(refusal) => {
                let reason = refusal.reason.as_str();
                warn!(server, reason, "not accepted: {refusal}");
            }
            None => info!(server, "the resource is in order again"),
        }
        self.logged = reason;
    }
}
