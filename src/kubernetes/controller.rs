//! The task that owns the index of all resources. In go watch events; out come targets for the
//! publisher, and reconcile outcomes for the writer of statuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use kube::Client;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::api::CatalogLabels;
use super::client::ApiResource;
use super::index::Index;
use super::metrics::ControllerMetrics;
use super::publish::progress::ControllerProgress;
use super::reconcile::outcome::{ReconcileOutcomes, ResolvedResource, StartedReconcile};
use super::reconcile::pipeline::reconcile;
use super::reconcile::validate::ValidationContext;
use super::settings::KubernetesSettings;
use super::sharding::ownership::Assignment;
use super::source::event_handler::handle_event;
use super::source::watch_states::WatchStates;
use super::source::watches::{ResourceWatch, WatchEvent, WatchEvents};
use crate::catalog::Catalog;
use crate::jitter::random_fraction;
use crate::model::TargetErrorKind;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, Publisher};

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

pub(super) struct Controller {
    pub client: Client,
    pub owner: String,
    pub context: ControllerContext,
    pub watches: WatchStates,
    pub assignment: watch::Receiver<Assignment>,
    pub missing: watch::Receiver<BTreeSet<ApiResource>>,
    pub outcomes: watch::Sender<ReconcileOutcomes>,
    pub progress: watch::Sender<ControllerProgress>,
    pub metrics: Arc<ControllerMetrics>,
    pub index: Index,
    pub labels: CatalogLabels,
    /// Limits how many validations keep a processor busy at once.
    pub validations: Arc<Semaphore>,
    /// When all lists were complete for the first time.
    pub listed_at: Option<Instant>,
}

type RunningReconciles = FuturesUnordered<BoxFuture<'static, ResolvedResource>>;

impl Controller {
    pub(super) async fn run(mut self, mut events: WatchEvents, shutdown: Shutdown) {
        let mut read_again = Instant::now() + READ_AGAIN;
        let mut password_check = Instant::now() + PASSWORD_CHECK;
        let mut running = RunningReconciles::new();
        loop {
            let wakes = self.index.next_wake().unwrap_or(read_again);
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
                Ok(()) = self.assignment.changed() => self.index.recheck_all_namespaces(),
                Ok(()) = self.missing.changed() => {
                    let watches = &self.watches;
                    self.index.requeue_forbidden(|namespace| !watches.are_objects_forbidden(namespace));
                }
                () = sleep_until(password_check), if self.watches.have_unwatched() => {
                    password_check = Instant::now() + PASSWORD_CHECK;
                    self.requeue_refused_passwords();
                }
                () = sleep_until(wakes) => {
                    if read_again <= Instant::now() {
                        read_again = Instant::now() + READ_AGAIN;
                        self.read_again();
                    }
                }
            }
            let limit = self.context.settings.borrow().max_targets;
            // It is not marked as seen: one that is new here still completes `changed` above.
            let assignment = self.assignment.borrow();
            self.index.update_ownership(&assignment, &self.owner, limit);
            drop(assignment);
            for result in self.index.record_immediate_outcomes() {
                self.metrics.record_reconcile(result, Duration::ZERO);
            }
            while let Some(started) = self.index.start_next(Instant::now()) {
                running.push(self.start_reconcile(started));
            }
            self.publish();
        }
    }

    fn handle_event(&mut self, watch: &ResourceWatch, event: WatchEvent) {
        if matches!(event, WatchEvent::Failed(_)) {
            self.metrics.record_restart(watch.kind());
        }
        handle_event(&mut self.index, &mut self.watches, watch, event);
    }

    fn start_reconcile(
        &mut self,
        started: StartedReconcile,
    ) -> BoxFuture<'static, ResolvedResource> {
        let catalog = self.context.catalog.borrow().clone();
        let file = self.context.publisher.file();
        let context = ValidationContext {
            settings: self.context.settings.borrow().clone(),
            labels: self.labels.labels(&catalog),
            catalog,
            taken: file.iter().map(|one| one.name.clone()).collect(),
            tenure: self.index.tenure().clone(),
        };
        let (client, validations) = (self.client.clone(), Arc::clone(&self.validations));
        Box::pin(reconcile(started, client, validations, context))
    }

    fn handle_resolved(&mut self, resolved: ResolvedResource) {
        let (took, now) = (resolved.took, Instant::now());
        if let Some(result) = self
            .index
            .finish_reconcile(resolved, random_fraction(), now)
        {
            self.metrics.record_reconcile(result, took);
        }
    }

    /// Queues all resources: the settings or the catalogue changed.
    fn requeue_all(&mut self) {
        self.index.requeue_all();
        self.context.settings.borrow_and_update();
        self.context.catalog.borrow_and_update();
    }

    /// Queues resources whose password the server refused and whose Secret no watch covers.
    fn requeue_refused_passwords(&mut self) {
        let health = &self.context.health;
        self.index.requeue_refused_passwords(
            self.watches.find_unwatched(),
            |target| {
                let trouble = health.find_report(target).and_then(|one| one.trouble);
                trouble.is_some_and(|one| one.kind == TargetErrorKind::AuthenticationFailed)
            },
            Instant::now(),
        );
    }

    /// Queues what no watch shows a change of: resources that name unwatched objects, and of each
    /// namespace one whose objects RBAC did not let us read, which finds out whether the right was
    /// granted. Removes the resources of namespaces that may not be looked into any more.
    fn read_again(&mut self) {
        let watches = &self.watches;
        self.index.requeue_owned(watches.find_unwatched());
        let mut namespaces = BTreeSet::new();
        self.index
            .requeue_forbidden(|namespace| namespaces.insert(namespace.to_owned()));
        let gone = self.watches.forget_removed(&self.index.namespaces());
        let covered = |key: &_| gone.iter().any(|watch| watch.covers_key(key));
        for key in self.index.remove_resources(covered) {
            warn!(
                server = format!("{}/{}", key.namespace, key.name),
                "no longer scraped: the exporter has had no access to the namespace for ten \
                 minutes"
            );
        }
    }

    fn publish(&mut self) {
        self.index.update_families();
        self.metrics
            .set_not_accepted(self.index.not_accepted(), self.index.tenure());
        self.metrics.set_failing(self.watches.failing());
        self.context.publisher.set_cluster(self.index.targets());
        self.outcomes.send_replace(self.index.outcomes());
        let progress = self.progress();
        self.progress.send_if_modified(|known| {
            if progress.synced && !known.synced {
                let resources = self.index.len();
                info!(resources, "the first list is resolved");
            }
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    fn progress(&mut self) -> ControllerProgress {
        let listed = self.watches.are_listed();
        if listed {
            self.listed_at.get_or_insert_with(Instant::now);
        }
        let patience = self.listed_at.is_none_or(|at| at.elapsed() < FIRST_LIST);
        let lost = *self.assignment.borrow() == Assignment::Nothing;
        let resolved = listed && !lost && (!patience || self.index.all_reconciled());
        let synced = self.progress.borrow().synced || resolved;
        let blind = self.watches.are_all_forbidden();
        ControllerProgress::new(synced, &self.missing.borrow(), blind, lost)
    }
}
