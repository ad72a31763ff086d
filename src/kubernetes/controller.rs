//! The task that owns all resources: events in, targets and verdicts out.

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

use super::client::{ApiKind, ApiRequests, ApiResource};
use super::index::{IndexEntry, ResourceKey, ResourceSource};
use super::labels::labels_of;
use super::lease::Assignment;
use super::metrics::{ControllerMetrics, ReconcileResult};
use super::outcome::{ReconcileOutcome, ReconcileOutcomes};
use super::queue::WorkQueue;
use super::rejection::Rejection;
use super::resolve::{ObjectVersions, ResolveRefsError, resolve};
use super::settings::KubernetesSettings;
use super::validate::{Validated, ValidationContext, validate};
use super::validation_pool::run_validation;
use super::watches::{ResourceWatch, WatchEvents, WatchSubject};
use super::write_limiter::random_fraction;
use crate::catalog::Catalog;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, Publisher, Target, Tenure};

/// Events that are taken together, so that a thousand resources are not a thousand lists.
const BATCH: usize = 256;
/// How often named objects are read again where they cannot be watched.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether a server refused a password whose Secret nobody watches.
const LOOK: Duration = Duration::from_secs(1);

/// How long a resource that is not resolved may hold up that the first list counts as resolved.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// What the controller reads and writes beside the API.
#[derive(Debug)]
pub struct ControllerContext {
    /// What holds for every target; a change looks at all of them again.
    pub settings: watch::Receiver<Arc<KubernetesSettings>>,
    /// Whose labels a target may not set.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Where the targets go.
    pub publisher: Publisher,
    /// How they are.
    pub health: HealthBoard,
    /// Whether somebody has asked for the metrics.
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
    /// How many texts may still be read at once.
    pub validations: Arc<Semaphore>,
    /// When all lists were there first.
    pub listed_at: Option<Instant>,
}

/// What is known, and what has yet to be found out.
#[derive(Default)]
pub(super) struct Index {
    pub entries: BTreeMap<ResourceKey, IndexEntry>,
    /// What is to be resolved.
    pub queue: WorkQueue,
    /// Namespaces whose population has changed.
    pub changed_namespaces: BTreeSet<String>,
    /// How long the targets may be served.
    pub tenure: Tenure,
    /// What was judged since it was last settled.
    pub reconciled: BTreeSet<ResourceKey>,
    /// Targets bring other families themselves than they did.
    pub families_changed: bool,
    revisions: u64,
    /// The labels of a catalogue.
    labels: Option<(Arc<Catalog>, Arc<BTreeSet<String>>)>,
}

#[derive(Default)]
pub(super) struct WatchState {
    /// What was seen in a list that has begun.
    pub listed_keys: BTreeSet<ResourceKey>,
    pub listed: bool,
    pub failing: bool,
    /// When it failed last. One that was taken up again may have nothing to show for long.
    pub failed_at: Option<Instant>,
    /// Since when RBAC refuses it.
    pub forbidden_since: Option<Instant>,
}

/// What was found of a resource.
struct ResolvedResource {
    key: ResourceKey,
    revision: u64,
    versions: ObjectVersions,
    result: Result<Validated, ResolveRefsError>,
    /// In all, and of it what a processor was busy with.
    took: Duration,
    busy: Duration,
}

type InFlight = FuturesUnordered<BoxFuture<'static, ResolvedResource>>;

impl Index {
    /// A doubt like no other.
    pub(super) fn next_revision(&mut self) -> u64 {
        self.revisions += 1;
        self.revisions
    }

    /// The target that was served is served no longer.
    pub(super) fn withdraw_target(&mut self, target: Option<&Arc<Target>>) {
        self.families_changed |= target.is_some_and(|target| target.metrics.is_some());
    }

    fn catalog_labels(&mut self, catalog: &Arc<Catalog>) -> Arc<BTreeSet<String>> {
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

impl Controller {
    pub(super) async fn run(mut self, mut happenings: WatchEvents, shutdown: Shutdown) {
        let mut read_again = Instant::now() + READ_AGAIN;
        let mut look = Instant::now() + LOOK;
        let mut flights = InFlight::new();
        loop {
            let wakes = self.index.queue.next_wake().unwrap_or(read_again);
            let first_list = self.listed_at.map(|at| at + FIRST_LIST);
            let first_list = first_list.filter(|at| *at > Instant::now());
            let wakes = wakes.min(first_list.unwrap_or(read_again)).min(read_again);
            tokio::select! {
                () = shutdown.begun() => return,
                Some((watch, seen)) = happenings.next() => {
                    self.handle_event(&watch, seen);
                    for _ in 1..BATCH {
                        match happenings.next().now_or_never().flatten() {
                            Some((watch, seen)) => self.handle_event(&watch, seen),
                            None => break,
                        }
                    }
                }
                Some(resolved) = flights.next(), if !flights.is_empty() => {
                    self.handle_resolved(resolved);
                    while let Some(Some(resolved)) = flights.next().now_or_never() {
                        self.handle_resolved(resolved);
                    }
                }
                Ok(()) = self.context.settings.changed() => self.requeue_all(),
                Ok(()) = self.context.catalog.changed() => self.requeue_all(),
                Ok(()) = self.assignment.changed() => self.recheck_all_namespaces(),
                Ok(()) = self.missing.changed() => self.requeue_forbidden(false),
                () = sleep_until(look), if self.has_unwatched_kinds() => {
                    look = Instant::now() + LOOK;
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
            self.start_ready(&mut flights);
            self.publish();
        }
    }

    /// Begins to resolve what is in doubt, and judges what needs no resolving.
    fn start_ready(&mut self, flights: &mut InFlight) {
        for key in self.index.queue.queued.clone() {
            let doubt = self.index.next_revision();
            let Some(entry) = self.index.entries.get_mut(&key).filter(|one| one.owned) else {
                self.index.queue.remove(&key);
                continue;
            };
            // What flies for this key is out of date when it lands.
            entry.revision = doubt;
            let flaw = entry
                .spec_rejection
                .clone()
                .or_else(|| entry.exclusion.clone());
            if entry.resource.spec.paused {
                self.index.queue.remove(&key);
                self.record_outcome(&key, None, Duration::ZERO);
            } else if let Some(flaw) = flaw {
                self.index.queue.remove(&key);
                self.record_outcome(&key, Some(Err(flaw)), Duration::ZERO);
            }
        }
        while let Some(key) = self.index.queue.start_next(Instant::now()) {
            let flight = self.start_reconcile(&key);
            match flight {
                Some(flight) => flights.push(flight),
                None => self
                    .index
                    .queue
                    .finish(&key, Duration::ZERO, Instant::now()),
            }
        }
    }

    /// Resolves and validates a resource. Its texts are read beside the runtime's threads: they are
    /// others' work, and may be made to take long.
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
        let (key, doubt) = (key.clone(), entry.revision);
        let (client, resource) = (self.client.clone(), Arc::clone(&entry.resource));
        let checks = Arc::clone(&self.validations);
        Some(Box::pin(async move {
            let begin = Instant::now();
            let mut versions = ObjectVersions::new();
            let (result, busy) = match resolve(&client, &resource, &mut versions).await {
                Err(error) => (Err(error), Duration::ZERO),
                Ok(material) => {
                    let check = move || {
                        let around = ValidationContext {
                            settings: &settings,
                            catalog: &catalog,
                            labels: &labels,
                            taken: &taken,
                            tenure: &tenure,
                        };
                        validate(&resource, material, around)
                    };
                    let (result, busy) = run_validation(&checks, check).await;
                    (result.map_err(ResolveRefsError::Rejected), busy)
                }
            };
            ResolvedResource {
                key,
                revision: doubt,
                versions,
                result,
                took: begin.elapsed(),
                busy,
            }
        }))
    }

    /// Takes what was found.
    fn handle_resolved(&mut self, resolved: ResolvedResource) {
        let ResolvedResource {
            key,
            revision: doubt,
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
        if entry.revision != doubt || !entry.owned {
            // It has changed meanwhile, and is resolved again where it is ours.
            queue.queued.insert(key);
            return;
        }
        let judgement = match result {
            Ok(validated) => Ok(validated),
            Err(ResolveRefsError::Rejected(refusal)) => Err(refusal),
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
        self.record_outcome(&key, Some(judgement), took);
    }

    /// Says what becomes of a resource; `None` is of one that is paused.
    fn record_outcome(
        &mut self,
        key: &ResourceKey,
        mut judgement: Option<Result<Validated, Rejection>>,
        took: Duration,
    ) {
        let found = &mut self.index;
        if let Some(Ok(validated)) = &mut judgement {
            found.share_metrics(&key.namespace, &mut validated.target);
        }
        let Some(entry) = found.entries.get_mut(key) else {
            return;
        };
        let own = |made: &Option<Arc<Target>>| made.as_ref().and_then(|one| one.metrics.clone());
        let before = own(&entry.full_target);
        self.metrics
            .record_reconcile(ReconcileResult::from_result(&judgement), took);
        entry.apply_outcome(judgement);
        found.families_changed |= own(&entry.full_target) != before;
        found.reconciled.insert(key.clone());
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
