//! How each watch is: whether its list was complete, whether it fails, whether RBAC refuses it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;
use tokio::time::Instant;
use tracing::{info, warn};

use super::watches::{ResourceWatch, WatchSubject};
use crate::kubernetes::api::{PostgresTarget, ResourceKey, object_refs};
use crate::kubernetes::client::{ApiKind, ApiRequests, ApiVerb, explain_watch_error, status_code};

/// A watch that fails is begun again within this time.
const FAILING: Duration = Duration::from_secs(90);
/// How long what a namespace had is kept after the right to look into it is gone.
const FORGET: Duration = Duration::from_secs(600);

/// The states of all watches.
pub(crate) struct WatchStates {
    states: BTreeMap<ResourceWatch, WatchState>,
    api_requests: Arc<ApiRequests>,
}

#[derive(Default)]
struct WatchState {
    /// The keys of a list that has begun; entries that it lacks are removed when it ends.
    listed_keys: BTreeSet<ResourceKey>,
    listed: bool,
    failing: bool,
    /// When the watch failed last. It is not cleared when the watch resumes: a watch that resumed may
    /// bring no event for a long time.
    failed_at: Option<Instant>,
    /// Since when RBAC refuses it.
    forbidden_since: Option<Instant>,
}

impl WatchStates {
    pub(crate) fn new(watches: Vec<ResourceWatch>, api_requests: Arc<ApiRequests>) -> Self {
        let state = |watch| (watch, WatchState::default());
        Self {
            states: watches.into_iter().map(state).collect(),
            api_requests,
        }
    }

    /// An event came. The one that begins a list comes before its request is sent: only those after
    /// it show that the API server answers.
    pub(super) fn record_answer(&mut self, watch: &ResourceWatch, begins_list: bool) {
        let Some(state) = self.states.get_mut(watch) else {
            return;
        };
        if begins_list {
            state.listed_keys.clear();
        } else if std::mem::take(&mut state.failing) {
            info!("the API server allows watching {} again", watch.describe());
        }
    }

    pub(super) fn record_failure(&mut self, watch: &ResourceWatch, error: &watcher::Error) {
        let Some(state) = self.states.get_mut(watch) else {
            return;
        };
        // 410 means that the watch was too far behind; it starts again with a list.
        if status_code(error) != Some(410) {
            state.failed_at = Some(Instant::now());
        }
        let (what, why) = (watch.describe(), explain_watch_error(error));
        match status_code(error) {
            Some(410) => {
                info!("listing {what} again: the watch was too far behind ({why})");
            }
            _ if std::mem::replace(&mut state.failing, true) => {}
            Some(403) if !watch.is_source() => warn!(
                "no permission to watch {what}; the exporter reads the objects that targets name \
                 once a minute ({why})"
            ),
            _ => warn!("cannot watch {what}; the exporter keeps what it knows and retries ({why})"),
        }
    }

    /// Notes that the list has this key.
    pub(super) fn note_listed(&mut self, watch: &ResourceWatch, key: ResourceKey) {
        if let Some(state) = self.states.get_mut(watch) {
            state.listed_keys.insert(key);
        }
    }

    /// The list is complete. Returns all that it has.
    pub(super) fn finish_list(&mut self, watch: &ResourceWatch) -> BTreeSet<ResourceKey> {
        let Some(state) = self.states.get_mut(watch) else {
            return BTreeSet::new();
        };
        state.listed = true;
        std::mem::take(&mut state.listed_keys)
    }

    /// Whether RBAC refuses a watch, or the list that it begins with.
    fn is_forbidden(&self, watch: &ResourceWatch) -> bool {
        let place = watch.namespace.as_deref();
        let mut verbs = [ApiVerb::List, ApiVerb::Watch].into_iter();
        verbs.any(|verb| self.api_requests.is_refused(watch.kind(), verb, place))
    }

    fn sources(&self) -> impl Iterator<Item = (&ResourceWatch, &WatchState)> {
        self.states.iter().filter(|(watch, _)| watch.is_source())
    }

    fn targets(&self) -> impl Iterator<Item = (&ResourceWatch, &WatchState)> {
        self.sources()
            .filter(|(watch, _)| watch.subject == WatchSubject::Targets)
    }

    /// Whether all is listed that can be. One namespace that is gone, or a right that is missing
    /// there, holds up no other; and without Services there are still the resources.
    pub(crate) fn are_listed(&self) -> bool {
        let any = self.targets().any(|(_, state)| state.listed);
        self.sources().all(|(watch, state)| {
            let other = any || watch.subject == WatchSubject::Services;
            state.listed || (other && self.is_forbidden(watch))
        })
    }

    /// Whether RBAC refuses each watch of targets.
    pub(crate) fn are_all_forbidden(&self) -> bool {
        self.targets()
            .all(|(watch, state)| state.failing && self.is_forbidden(watch))
    }

    /// What the watches that fail at present watch.
    pub(crate) fn failing(&self) -> impl Iterator<Item = ApiKind> {
        let fails = |failed: Instant| failed.elapsed() < FAILING;
        let failing = self.states.iter();
        let failing = failing.filter(move |(_, state)| state.failed_at.is_some_and(fails));
        failing.map(|(watch, _)| watch.kind())
    }

    /// Watches of named objects that RBAC refuses, or that were not listed yet.
    fn unwatched(&self) -> impl Iterator<Item = &ResourceWatch> {
        self.states
            .iter()
            .filter(|(watch, _)| !watch.is_source())
            .filter(|(watch, state)| !state.listed || self.is_forbidden(watch))
            .map(|(watch, _)| watch)
    }

    /// Whether there are kinds of objects that no watch covers.
    pub(crate) fn have_unwatched(&self) -> bool {
        self.unwatched().next().is_some()
    }

    /// Tells whether a resource, with its namespace, names an object that no watch covers.
    pub(crate) fn find_unwatched(&self) -> impl Fn(&str, &PostgresTarget) -> bool {
        let unwatched: Vec<&ResourceWatch> = self.unwatched().collect();
        move |namespace, resource| {
            let named = object_refs(resource);
            let covered = |watch: &&ResourceWatch| {
                let mut named = named.iter();
                named.any(|one| watch.covers_object(namespace, one))
            };
            unwatched.iter().any(covered)
        }
    }

    /// Whether RBAC does not let us read objects of a namespace.
    pub(crate) fn are_objects_forbidden(&self, namespace: &str) -> bool {
        let kinds = [ApiKind::Secrets, ApiKind::ConfigMaps];
        kinds.iter().any(|kind| {
            self.api_requests
                .is_refused(*kind, ApiVerb::Get, Some(namespace))
        })
    }

    /// Drops the record of missing rights in namespaces without a resource. Returns the watches that
    /// have been forbidden for [`FORGET`], while others are not: when all are, the service account has
    /// lost its rights, and the namespaces may well be there.
    pub(crate) fn forget_removed(&mut self, inhabited: &BTreeSet<String>) -> Vec<ResourceWatch> {
        self.api_requests.forget_rights(|right| {
            let watches = matches!(right.verb, ApiVerb::List | ApiVerb::Watch);
            let lease = right.kind == ApiKind::Leases;
            let namespace = right.namespace.as_ref();
            !watches && !lease && namespace.is_some_and(|one| !inhabited.contains(one))
        });
        let now = Instant::now();
        let refused = self.sources().map(|(watch, _)| watch);
        let refused = refused.filter(|watch| self.is_forbidden(watch));
        let refused: BTreeSet<ResourceWatch> = refused.cloned().collect();
        let others = self.targets().any(|(watch, _)| !refused.contains(watch));
        for (watch, state) in &mut self.states {
            state.forbidden_since = match refused.contains(watch) {
                true => state.forbidden_since.or(Some(now)),
                false => None,
            };
        }
        let gone = self.states.iter().filter(|(watch, state)| {
            let long = |since: Instant| now - since >= FORGET;
            others && watch.namespace.is_some() && state.forbidden_since.is_some_and(long)
        });
        gone.map(|(watch, _)| watch.clone()).collect()
    }
}
