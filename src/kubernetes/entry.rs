//! What is known of one resource, and what a new judgement makes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::refusal::{Refusal, RefusalReason};
use super::resolve::Versions;
use super::resource::PostgresTarget;
use super::validate::{Validated, server_name};
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
    /// What is wrong with it.
    pub refusal: Option<Refusal>,
    /// What was made of it, with all that it adds.
    pub made: Option<Arc<Target>>,
    /// Why its own metrics cannot stand beside those of an older target.
    pub clash: Option<Refusal>,
    /// What is served of it.
    pub target: Option<Arc<Target>>,
    /// The reason that stands in the log.
    told: Option<RefusalReason>,
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
            made: None,
            clash: None,
            target: None,
            told: None,
            reread: None,
        };
        if let Some(before) = before {
            entry.placing = before.placing;
            entry.owned = before.owned;
            entry.judged = before.judged;
            entry.refusal = before.refusal;
            entry.made = before.made;
            entry.clash = before.clash;
            entry.target = before.target;
            entry.told = before.told;
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
        self.made = None;
        self.clash = None;
        self.target = None;
        self.reread = None;
    }

    /// Why it is not accepted, with all that is wrong.
    pub(super) fn flaws(&self) -> Option<Refusal> {
        match &self.refusal {
            Some(refusal) => Some(refusal.clone().and(self.clash.clone())),
            None => self.clash.clone(),
        }
    }

    /// What tells it from one of the same name that came before.
    pub(super) fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Takes what came of it; `None` for a resource that is paused. What is served of it is settled
    /// afterwards, with [`settle`](Self::settle).
    pub(super) fn judge(&mut self, judgement: Option<Result<Validated, Refusal>>) {
        self.judged = Some(Arc::clone(&self.resource));
        match judgement {
            None => {
                self.refusal = None;
                self.made = None;
            }
            Some(Ok(validated)) => {
                // The same stays the same, so that its session is kept.
                if self.made.as_deref() != Some(&validated.target) {
                    self.made = Some(Arc::new(validated.target));
                }
                self.refusal = validated.left_out;
            }
            Some(Err(refusal)) => {
                if refusal.reason.ends_scraping() {
                    self.made = None;
                }
                self.refusal = Some(refusal);
            }
        }
    }

    /// Says what is served, knowing whether its own metrics can stand beside the others.
    pub(super) fn settle(&mut self, clash: Option<Refusal>) {
        self.clash = clash;
        let without = |made: &Arc<Target>| {
            let target = Target {
                metrics: None,
                ..made.as_ref().clone()
            };
            let same = self.target.as_ref().filter(|one| ***one == target);
            same.cloned().unwrap_or_else(|| Arc::new(target))
        };
        self.target = match (&self.made, &self.clash) {
            (Some(made), Some(_)) => Some(without(made)),
            (made, _) => made.clone(),
        };
        self.tell();
    }

    /// Logs when the reason is another one: what is said of it may differ each time.
    fn tell(&mut self) {
        let flaws = self.flaws();
        let reason = flaws.as_ref().map(|one| one.reason);
        if self.told == reason {
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
        self.told = reason;
    }
}
