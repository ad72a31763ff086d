//! What is known of one resource, and what a new judgement makes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::refusal::Refusal;
use super::resolve::Versions;
use super::resource::PostgresTarget;
use super::validate::server_name;
use crate::targets::Target;

/// A resource, among all of them. Those of one namespace stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub namespace: String,
    pub source: Source,
    pub name: String,
}

/// What a target is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A `PostgresTarget`.
    Target,
    /// A Service with our annotation.
    Service,
}

impl Key {
    pub(super) fn new(source: Source, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            source,
            name: name.to_owned(),
        }
    }

    pub(super) fn of(resource: &PostgresTarget, source: Source) -> Self {
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
pub(super) struct Entry {
    pub resource: Arc<PostgresTarget>,
    /// What is wrong with it before it is resolved.
    pub flaw: Option<Refusal>,
    /// Why it has no place in the list, be it as right as it may.
    pub placing: Option<Refusal>,
    /// Whether this pod serves it.
    pub owned: bool,
    /// The doubt that it is resolved for, unlike any other of any resource: what was found for
    /// another one is out of date.
    pub doubt: u64,
    /// Versions of the objects that it names, as they were read.
    pub versions: Versions,
    /// As it was when what follows was found out; `None` before the first time.
    pub judged: Option<Arc<PostgresTarget>>,
    pub refusal: Option<Refusal>,
    pub target: Option<Arc<Target>>,
    /// After a refused password: when its Secret is read again where nobody watches it, and how
    /// long to wait the next time.
    pub reread: Option<(Instant, Duration)>,
}

impl Entry {
    /// Of a resource that was not judged yet, with what is published for it.
    pub(super) fn new(resource: PostgresTarget, doubt: u64, before: Option<Entry>) -> Self {
        let mut entry = Self {
            resource: Arc::new(resource),
            flaw: None,
            placing: None,
            owned: false,
            doubt,
            versions: Versions::new(),
            judged: None,
            refusal: None,
            target: None,
            reread: None,
        };
        if let Some(before) = before {
            entry.placing = before.placing;
            entry.owned = before.owned;
            entry.judged = before.judged;
            entry.refusal = before.refusal;
            entry.target = before.target;
        }
        entry
    }

    /// Another pod serves it from now on, or again this one. Nothing of before counts.
    pub(super) fn hand_over(&mut self, owned: bool, doubt: u64) {
        self.owned = owned;
        self.doubt = doubt;
        self.versions = Versions::new();
        self.judged = None;
        self.refusal = None;
        self.target = None;
        self.reread = None;
    }

    /// What tells it from one of the same name that came before.
    pub(super) fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    /// `None` for a resource that is paused.
    pub(super) fn judge(&mut self, judgement: Option<Result<Target, Refusal>>) {
        self.judged = Some(Arc::clone(&self.resource));
        let name = || server_name(&self.resource);
        match judgement {
            None => {
                self.refusal = None;
                self.target = None;
            }
            Some(Ok(target)) => {
                if self.refusal.take().is_some() {
                    info!(server = target.name, "the resource is in order again");
                }
                // The same stays the same, so that its session is kept.
                if self.target.as_deref() != Some(&target) {
                    self.target = Some(Arc::new(target));
                }
            }
            Some(Err(refusal)) => {
                if self.refusal.as_ref() != Some(&refusal) {
                    let reason = refusal.reason.as_str();
                    warn!(server = name(), reason, "not accepted: {refusal}");
                }
                if refusal.reason.ends_scraping() {
                    self.target = None;
                }
                self.refusal = Some(refusal);
            }
        }
    }
}
