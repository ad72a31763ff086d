//! The task that owns the index of all resources. In go watch events; out come targets for the
//! publisher, and reconcile outcomes for the writer of statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use kube::Client;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::api::key::{ResourceKey, ResourceSource};
use super::api::object_refs::ObjectVersions;
use super::api::rejection::Rejection;
use super::client::{ApiKind, ApiRequests, ApiResource};
use super::index::Index;
use super::metrics::{ControllerMetrics, ReconcileResult};
use super::reconcile::outcome::{ReconcileOutcome, ReconcileOutcomes};
use super::reconcile::resolve::{ResolveRefsError, resolve};
use super::reconcile::validate::{Validated, ValidationContext, validate};
use super::reconcile::validation_pool::run_validation;
use super::settings::KubernetesSettings;
use super::sharding::lease::Assignment;
use super::source::watches::{ResourceWatch, WatchEvents, WatchSubject};
use crate::catalog::Catalog;
use crate::jitter::random_fraction;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, Publisher, Target};

/// Events that are handled before targets are published once, so that a list of a thousand resources
/// is not published a thousand times.
const BATCH: usize = 256;
/// How often named objects are read again where they cannot be watched.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often the controller looks for servers that refused a password whose Secret no watch covers.
const PASSWORD_CHECK: Duration = Duration::from_secs(1);

/// `/readyz` waits for the first reconcile of all resources, but no longer than this after the lists
/// were there: a resource whose objects cannot be read must not keep the pod from becoming ready.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// What the controller reads and writes beside the API.
#[derive(Debug)]
pub struct ControllerContext {
    /// Settings of all targets; a change reconciles all of them again.
    pub settings: watch::Receiver<Arc<KubernetesSettings>>,
    /// Whose labels a target may not set.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Takes the targets.
    pub publisher: Publisher,
    /// The health of the targets, as scrapes see it.
    pub health: HealthBoard,
    /// Whether the metrics were scraped since the start.
    pub scraped: watch::Receiver<bool>,
}

/// How far the controller is, for `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerProgress {
    /// The first list was resolved.
    pub synced: bool,
    /// Why it cannot do its work: a right without which there are no targets.
    pub blocked: Option<String>,
    /// What else a person should know: rights that are missing, a Lease that is lost.
    pub notes: Vec<String>,
}

pub(super) struct Controller {
    pub client: Client,
    pub owner: String,
    pub context: ControllerContext,
    pub watches: BTreeMap<ResourceWatch, WatchState>,
    pub assignment: watch::Receiver<Assignment>,
    pub missing: watch::Receiver<BTreeSet<ApiResource>>,
    pub outcomes: watch::Sender<ReconcileOutcomes>,
    pub progress: watch::Sender<ControllerProgress>,
    pub api_requests: Arc<ApiRequests>,
    pub metrics: Arc<ControllerMetrics>,
    pub index: Index,
    /// Limits how many validations keep a processor busy at once.
    pub validations: Arc<Semaphore>,
    /// When all lists were complete for the first time.
    pub listed_at: Option<Instant>,
}

#[derive(Default)]
pub(super) struct WatchState {
    /// The keys of a list that has begun; entries that it lacks are removed when it ends.
    pub listed_keys: BTreeSet<ResourceKey>,
    pub listed: bool,
    pub failing: bool,
    /// When the watch failed last. It is not cleared when the watch resumes: a watch that resumed may
    /// bring no event for a long time.
    pub failed_at: Option<Instant>,
    /// Since when RBAC refuses it.
    pub forbidden_since: Option<Instant>,
}

/// The result of a reconcile, with the revision that it began with.
struct ResolvedResource {
    key: ResourceKey,
    revision: u64,
    versions: ObjectVersions,
    result: Result<Validated, ResolveRefsError>,
    /// How long the reconcile took, and how long of it a processor was busy.
    took: Duration,
    busy: Duration,
}

type RunningReconciles = FuturesUnordered<BoxFuture<'static, ResolvedResource>>;

impl Controller {
    pub(super) async fn run(mut self, mut events: WatchEvents, shutdown: Shutdown) {
        let mut read_again = Instant::now() + READ_AGAIN;
        let mut password_check = Instant::now() + PASSWORD_CHECK;
        let mut running = RunningReconciles::new();
        loop {
            let wakes = self.index.queue.next_wake().unwrap_or(read_again);
            let first_list = self.listed_at.map(|at| at + FIRST_LIST);
            let first_list = first_list.filter(|at| *at > Instant::now());
            let wakes = wakes.min(first_list.unwrap_or(read_again)).min(read_again);
            tokio::select! {
                () = shutdown.begun() => return,
                Some((watch, event)) = events.next() => {
                    self.handle_event(&watch, event);
                    for _ in 1..BATCH {
                        match events.next().now_or_never().flatten() {
                            Some((watch, event)) => self.handle_event(&watch, event),
                            None => break,
                        }
                    }
                }
                Some(resolved) = running.next(), if !running.is_empty() => {
                    self.handle_resolved(resolved);
                    while let Some(Some(resolved)) = running.next().now_or_never() {
                        self.handle_resolved(resolved);
                    }
                }
                Ok(()) = self.context.settings.changed() => self.requeue_all(),
                Ok(()) = self.context.catalog.changed() => self.requeue_all(),
                Ok(()) = self.assignment.changed() => self.recheck_all_namespaces(),
                Ok(()) = self.missing.changed() => self.requeue_forbidden(false),
                () = sleep_until(password_check), if self.has_unwatched_kinds() => {
                    password_check = Instant::now() + PASSWORD_CHECK;
                    self.requeue_refused_passwords();
                }
                () = sleep_until(wakes) => {
                    if read_again <= Instant::now() {
                        read_again = Instant::now() + READ_AGAIN;
                        self.requeue_unwatched();
                        self.requeue_forbidden(true);
                        self.forget_removed();
                    }
                }
            }
            self.update_ownership();
            self.start_ready(&mut running);
            self.publish();
        }
    }

    /// Starts the reconciles of queued resources, and records the outcome of those that need no
    /// request to the API server: paused ones, and ones that are rejected by their spec alone.
    fn start_ready(&mut self, running: &mut RunningReconciles) {
        for key in self.index.queue.queued.clone() {
            let revision = self.index.next_revision();
            let Some(entry) = self.index.entries.get_mut(&key).filter(|one| one.owned) else {
                self.index.queue.remove(&key);
                continue;
            };
            // The result of a reconcile that runs already is dropped: it has the revision before.
            entry.revision = revision;
            let rejection = entry
                .spec_rejection
                .clone()
                .or_else(|| entry.exclusion.clone());
            if entry.resource.spec.paused {
                self.index.queue.remove(&key);
                self.record_outcome(&key, None, Duration::ZERO);
            } else if let Some(rejection) = rejection {
                self.index.queue.remove(&key);
                self.record_outcome(&key, Some(Err(rejection)), Duration::ZERO);
            }
        }
        while let Some(key) = self.index.queue.start_next(Instant::now()) {
            let reconcile = self.start_reconcile(&key);
            match reconcile {
                Some(reconcile) => running.push(reconcile),
                None => self
                    .index
                    .queue
                    .finish(&key, Duration::ZERO, Instant::now()),
            }
        }
    }

    /// Resolves and validates a resource. Tenants wrote the texts that are parsed, and may write them
    /// so that parsing takes long; so they are parsed on threads outside the runtime.
    fn start_reconcile(
        &mut self,
        key: &ResourceKey,
    ) -> Option<BoxFuture<'static, ResolvedResource>> {
        let catalog = self.context.catalog.borrow().clone();
        let labels = self.index.catalog_labels(&catalog);
        let settings = self.context.settings.borrow().clone();
        let file = self.context.publisher.file();
        let taken: BTreeSet<String> = file.iter().map(|one| one.name.clone()).collect();
        let tenure = self.index.tenure.clone();
        let entry = self.index.entries.get(key)?;
        let (key, revision) = (key.clone(), entry.revision);
        let (client, resource) = (self.client.clone(), Arc::clone(&entry.resource));
        let checks = Arc::clone(&self.validations);
        Some(Box::pin(async move {
            let begin = Instant::now();
            let mut versions = ObjectVersions::new();
            let (result, busy) = match resolve(&client, &resource, &mut versions).await {
                Err(error) => (Err(error), Duration::ZERO),
                Ok(refs) => {
                    let check = move || {
                        let around = ValidationContext {
                            settings: &settings,
                            catalog: &catalog,
                            labels: &labels,
                            taken: &taken,
                            tenure: &tenure,
                        };
                        validate(&resource, refs, around)
                    };
                    let (result, busy) = run_validation(&checks, check).await;
                    (result.map_err(ResolveRefsError::Rejected), busy)
                }
            };
            ResolvedResource {
                key,
                revision,
                versions,
                result,
                took: begin.elapsed(),
                busy,
            }
        }))
    }

    /// Handles the result of a reconcile.
    fn handle_resolved(&mut self, resolved: ResolvedResource) {
        let ResolvedResource {
            key,
            revision,
            versions,
            result,
            took,
            busy,
        } = resolved;
        let queue = &mut self.index.queue;
        queue.finish(&key, busy, Instant::now());
        let Some(entry) = self.index.entries.get_mut(&key) else {
            queue.remove(&key);
            return;
        };
        if entry.revision != revision || !entry.owned {
            // The resource changed meanwhile, or another pod owns it now.
            queue.queued.insert(key);
            return;
        }
        let result = match result {
            Ok(validated) => Ok(validated),
            Err(ResolveRefsError::Rejected(rejection)) => Err(rejection),
            Err(ResolveRefsError::Unavailable(why)) => {
                let name = format!("{}/{}", key.namespace, key.name);
                self.metrics
                    .record_reconcile(ReconcileResult::Unavailable, took);
                if queue.retry(key, random_fraction(), Instant::now()) {
                    warn!(
                        resource = name,
                        "{why}; it is tried again, less and less often"
                    );
                }
                return;
            }
        };
        queue.clear_failures(&key);
        entry.versions = versions;
        self.record_outcome(&key, Some(result), took);
    }

    /// Records the outcome of a reconcile; `None` for a resource that is paused.
    fn record_outcome(
        &mut self,
        key: &ResourceKey,
        mut result: Option<Result<Validated, Rejection>>,
        took: Duration,
    ) {
        let index = &mut self.index;
        if let Some(Ok(validated)) = &mut result {
            index.share_metrics(&key.namespace, &mut validated.target);
        }
        let Some(entry) = index.entries.get_mut(key) else {
            return;
        };
        let own =
            |target: &Option<Arc<Target>>| target.as_ref().and_then(|one| one.metrics.clone());
        let before = own(&entry.full_target);
        self.metrics
            .record_reconcile(ReconcileResult::from_result(&result), took);
        entry.apply_outcome(result);
        index.families_changed |= own(&entry.full_target) != before;
        index.reconciled.insert(key.clone());
    }

    fn publish(&mut self) {
        self.index.update_families();
        self.report_metrics();
        let entries = &self.index.entries;
        let targets = entries.values().filter_map(|one| one.target.clone());
        self.context.publisher.set_cluster(targets.collect());
        let own = entries.iter().filter_map(|(key, entry)| {
            Some(ReconcileOutcome {
                resource: Arc::clone(entry.reconciled.as_ref()?),
                present: Arc::clone(&entry.resource),
                service: key.source == ResourceSource::Service,
                rejection: entry.all_rejections(),
                target: entry.target.clone(),
            })
        });
        self.outcomes.send_replace(ReconcileOutcomes {
            own: Arc::new(own.collect()),
            foreign: entries.values().filter(|one| !one.owned).count(),
            tenure: self.index.tenure.clone(),
        });
        let progress = self.progress();
        self.progress.send_if_modified(|known| {
            if progress.synced && !known.synced {
                info!(
                    resources = self.index.entries.len(),
                    "the first list is resolved"
                );
            }
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    fn progress(&mut self) -> ControllerProgress {
        let sources = || self.watches.iter().filter(|(one, _)| one.is_source());
        let targets = || sources().filter(|(one, _)| one.subject == WatchSubject::Targets);
        // One namespace that is gone, or a right that is missing there, holds up no other; and
        // without Services there are still the resources.
        let any = targets().any(|(_, state)| state.listed);
        let listed = sources().all(|(watch, state)| {
            let other = any || watch.subject == WatchSubject::Services;
            state.listed || (other && self.is_forbidden(watch))
        });
        let blind = targets().all(|(watch, state)| state.failing && self.is_forbidden(watch));
        if listed {
            self.listed_at.get_or_insert_with(Instant::now);
        }
        let patience = self.listed_at.is_none_or(|at| at.elapsed() < FIRST_LIST);
        let lost = *self.assignment.borrow() == Assignment::Nothing;
        let mut owned = self.index.entries.values().filter(|one| one.owned);
        let resolved = listed && !lost && (!patience || owned.all(|one| one.reconciled.is_some()));
        let synced = self.progress.borrow().synced || resolved;
        let mut progress = ControllerProgress {
            synced,
            ..ControllerProgress::default()
        };
        for right in self.missing.borrow().iter() {
            let (verb, resource) = (right.verb.as_str(), right.kind.as_str());
            let text = format!("the service account may not {verb} {resource}");
            let text = match &right.namespace {
                Some(namespace) => format!("{text} in the namespace {namespace}"),
                None => text,
            };
            if right.kind == ApiKind::Targets && blind {
                progress.blocked = Some(match progress.blocked.take() {
                    None => text,
                    Some(others) => format!("{others}; {text}"),
                });
            } else {
                progress.notes.push(text);
            }
        }
        if lost && synced {
            let text = "this pod has lost its Lease: others serve the targets of Kubernetes";
            progress.notes.push(text.to_owned());
        }
        progress
    }
}
