//! What is known of one resource, and what a new judgement makes of it.

use std::sync::Arc;

use tracing::{info, warn};

use super::refusal::Refusal;
use super::resolve::Versions;
use super::resource::PostgresTarget;
use super::validate::server_name;
use crate::targets::Target;

/// One resource.
pub(super) struct Entry {
    pub resource: Arc<PostgresTarget>,
    /// Versions of the objects that it names, as they were read.
    pub versions: Versions,
    /// As it was when what follows was found out; `None` before the first time.
    pub judged: Option<Arc<PostgresTarget>>,
    pub refusal: Option<Refusal>,
    pub target: Option<Arc<Target>>,
}

impl Entry {
    /// Of a resource that was not judged yet, with what is published for it.
    pub(super) fn new(resource: PostgresTarget, before: Option<&mut Entry>) -> Self {
        let mut entry = Self {
            resource: Arc::new(resource),
            versions: Versions::new(),
            judged: None,
            refusal: None,
            target: None,
        };
        if let Some(before) = before {
            entry.judged = before.judged.take();
            entry.refusal = before.refusal.take();
            entry.target = before.target.take();
        }
        entry
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
                if refusal.reason.takes_credentials() {
                    self.target = None;
                }
                self.refusal = Some(refusal);
            }
        }
    }
}
