//! Counts the requests to the API server, how many of them failed, and which rights RBAC refuses.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tracing::{info, warn};

use super::request::{ApiKind, ApiResource, ApiVerb, RIGHTS};

/// At most this many missing rights are kept, whatever the number of namespaces.
const MOST: usize = 1_000;

/// Counters of requests, and the missing rights as a watch channel, which `/readyz` follows.
#[derive(Debug, Default)]
pub(in crate::kubernetes) struct ApiRequests {
    requests: [AtomicU64; ApiVerb::ALL.len()],
    errors: [AtomicU64; ApiVerb::ALL.len()],
    missing: watch::Sender<BTreeSet<ApiResource>>,
}

impl ApiRequests {
    /// Counts a request, with the status of its response; `None` when there was none.
    pub(super) fn record_request(&self, what: ApiResource, status: Option<u16>) {
        let at = what.verb as usize;
        self.requests[at].fetch_add(1, Ordering::Relaxed);
        // 404 (no such object) and 409 (changed by another) are no failures of the API server.
        let failed = status.is_none_or(|status| status >= 400 && status != 404 && status != 409);
        if failed {
            self.errors[at].fetch_add(1, Ordering::Relaxed);
        }
        if !RIGHTS.contains(&(what.kind, what.verb)) {
            return;
        }
        let place = |what: &ApiResource| match &what.namespace {
            None => "all namespaces".to_owned(),
            Some(namespace) => format!("the namespace {namespace}"),
        };
        match status {
            Some(403) => {
                self.missing.send_if_modified(|missing| {
                    let new = missing.len() < MOST && missing.insert(what.clone());
                    if new {
                        warn!(
                            verb = what.verb.as_str(),
                            resource = what.kind.as_str(),
                            "the service account lacks this permission in {}; grant it",
                            place(&what)
                        );
                    }
                    new
                });
            }
            Some(status) if status < 400 => {
                self.missing.send_if_modified(|missing| {
                    let known = missing.remove(&what);
                    if known {
                        info!(
                            verb = what.verb.as_str(),
                            resource = what.kind.as_str(),
                            "the service account has this permission in {} again",
                            place(&what)
                        );
                    }
                    known
                });
            }
            // Other statuses say nothing about the right.
            _ => {}
        }
    }

    /// Requests so far, and how many of them failed.
    pub(in crate::kubernetes) fn requests(&self, verb: ApiVerb) -> (u64, u64) {
        let at = verb as usize;
        let load = |all: &[AtomicU64]| all[at].load(Ordering::Relaxed);
        (load(&self.requests), load(&self.errors))
    }

    /// In how many places a right is missing.
    pub(in crate::kubernetes) fn count_missing(&self, right: (ApiKind, ApiVerb)) -> usize {
        let missing = self.missing.borrow();
        let same = |one: &&ApiResource| (one.kind, one.verb) == right;
        missing.iter().filter(same).count()
    }

    /// Drops missing rights of namespaces that are gone.
    pub(in crate::kubernetes) fn forget_rights(&self, gone: impl Fn(&ApiResource) -> bool) {
        self.missing.send_if_modified(|missing| {
            let before = missing.len();
            missing.retain(|one| !gone(one));
            missing.len() != before
        });
    }

    /// Whether a right is refused there.
    pub(in crate::kubernetes) fn is_refused(
        &self,
        kind: ApiKind,
        verb: ApiVerb,
        namespace: Option<&str>,
    ) -> bool {
        let missing = self.missing.borrow();
        missing.iter().any(|one| {
            (one.kind, one.verb) == (kind, verb) && one.namespace.as_deref() == namespace
        })
    }

    /// A receiver of the missing rights.
    pub(in crate::kubernetes) fn subscribe(&self) -> watch::Receiver<BTreeSet<ApiResource>> {
        self.missing.subscribe()
    }
}
