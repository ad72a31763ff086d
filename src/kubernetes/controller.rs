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

use super::beside::beside;
use super::client::{ApiResource, Book, Kind};
use super::entry::{Entry, Key, Source};
use super::labels::labels_of;
use super::lease::Share;
use super::metrics::{Metrics, Outcome};
use super::pace::fraction;
use super::queue::WorkQueue;
use super::refusal::Refusal;
use super::resolve::{ResolveError, Versions, resolve};
use super::settings::Settings;
use super::validate::{Surroundings, Validated, validate};
use super::verdict::{Verdict, Verdicts};
use super::watches::{Happenings, Watch, Watched};
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
pub struct Control {
    /// What holds for every target; a change looks at all of them again.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Whose labels a target may not set.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Where the targets go.
    pub publisher: Publisher,
    /// How they are.
    pub health: HealthBoard,
    /// Whether somebody has asked for the metrics.
    pub asked: watch::Receiver<bool>,
}

/// How far the controller is, for `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
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
    pub control: Control,
    pub watches: BTreeMap<Watch, WatchState>,
    pub share: watch::Receiver<Share>,
    pub missing: watch::Receiver<BTreeSet<ApiResource>>,
    pub verdicts: watch::Sender<Verdicts>,
    pub progress: watch::Sender<Progress>,
    pub book: Arc<Book>,
    pub metrics: Arc<Metrics>,
    pub found: Found,
    /// How many texts may still be read at once.
    pub checks: Arc<Semaphore>,
    /// When all lists were there first.
    pub listed_at: Option<Instant>,
}

/// What is known, and what has yet to be found out.
#[derive(Default)]
pub(super) struct Found {
    pub entries: BTreeMap<Key, Entry>,
    /// What is to be resolved.
    pub queue: WorkQueue,
    /// Namespaces whose population has changed.
    pub touched: BTreeSet<String>,
    /// How long the targets may be served.
    pub tenure: Tenure,
    /// What was judged since it was last settled.
    pub judged: BTreeSet<Key>,
    /// Targets bring other families themselves than they did.
    pub families_changed: bool,
    doubts: u64,
    /// The labels of a catalogue.
    labels: Option<(Arc<Catalog>, Arc<BTreeSet<String>>)>,
}

#[derive(Default)]
pub(super) struct WatchState {
    /// What was seen in a list that has begun.
    pub seen: BTreeSet<Key>,
    pub listed: bool,
    pub failing: bool,
    /// When it failed last. One that was taken up again may have nothing to show for long.
    pub failed: Option<Instant>,
    /// Since when RBAC refuses it.
    pub refused: Option<Instant>,
}

/// What was found of a resource.
struct Resolved {
    key: Key,
    doubt: u64,
    versions: Versions,
    result: Result<Validated, ResolveError>,
    /// In all, and of it what a processor was busy with.
    took: Duration,
    busy: Duration,
}

type Flights = FuturesUnordered<BoxFuture<'static, Resolved>>;

impl Found {
    /// A doubt like no other.
    pub(super) fn doubt(&mut self) -> u64 {
        self.doubts += 1;
        self.doubts
    }

    /// The target that was served is served no longer.
    pub(super) fn withdraw(&mut self, target: Option<&Arc<Target>>) {
        self.families_changed |= target.is_some_and(|target| target.metrics.is_some());
    }

    fn labels(&mut self, catalog: &Arc<Catalog>) -> Arc<BTreeSet<String>> {
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
    pub(super) async fn run(mut self, mut happenings: Happenings, shutdown: Shutdown) {
        let mut read_again = Instant::now() + READ_AGAIN;
        let mut look = Instant::now() + LOOK;
        let mut flights = Flights::new();
        loop {
            let wakes = self.found.queue.wakes().unwrap_or(read_again);
            let first_list = self.listed_at.map(|at| at + FIRST_LIST);
            let first_list = first_list.filter(|at| *at > Instant::now());
            let wakes = wakes.min(first_list.unwrap_or(read_again)).min(read_again);
            tokio::select! {
                () = shutdown.begun() => return,
                Some((watch, seen)) = happenings.next() => {
                    self.see(&watch, seen);
                    for _ in 1..BATCH {
                        match happenings.next().now_or_never().flatten() {
                            Some((watch, seen)) => self.see(&watch, seen),
                            None => break,
                        }
                    }
                }
                Some(resolved) = flights.next(), if !flights.is_empty() => {
                    self.land(resolved);
                    while let Some(Some(resolved)) = flights.next().now_or_never() {
                        self.land(resolved);
                    }
                }
                Ok(()) = self.control.settings.changed() => self.doubt_all(),
                Ok(()) = self.control.catalog.changed() => self.doubt_all(),
                Ok(()) = self.share.changed() => self.touch_all(),
                Ok(()) = self.missing.changed() => self.doubt_forbidden(false),
                () = sleep_until(look), if self.is_blind() => {
                    look = Instant::now() + LOOK;
                    self.doubt_refused_passwords();
                }
                () = sleep_until(wakes) => {
                    if read_again <= Instant::now() {
                        read_again = Instant::now() + READ_AGAIN;
                        self.doubt_unwatched();
                        self.doubt_forbidden(true);
                        self.forget_what_is_gone();
                    }
                }
            }
            self.settle();
            self.take_off(&mut flights);
            self.publish();
        }
    }

    /// Begins to resolve what is in doubt, and judges what needs no resolving.
    fn take_off(&mut self, flights: &mut Flights) {
        for key in self.found.queue.dirty.clone() {
            let doubt = self.found.doubt();
            let Some(entry) = self.found.entries.get_mut(&key).filter(|one| one.owned) else {
                self.found.queue.forget(&key);
                continue;
            };
            // What flies for this key is out of date when it lands.
            entry.doubt = doubt;
            let flaw = entry.flaw.clone().or_else(|| entry.placing.clone());
            if entry.resource.spec.paused {
                self.found.queue.forget(&key);
                self.judge(&key, None, Duration::ZERO);
            } else if let Some(flaw) = flaw {
                self.found.queue.forget(&key);
                self.judge(&key, Some(Err(flaw)), Duration::ZERO);
            }
        }
        while let Some(key) = self.found.queue.start(Instant::now()) {
            let flight = self.flight(&key);
            match flight {
                Some(flight) => flights.push(flight),
                None => self
                    .found
                    .queue
                    .finish(&key, Duration::ZERO, Instant::now()),
            }
        }
    }

    /// Resolves and validates a resource. Its texts are read beside the runtime's threads: they are
    /// others' work, and may be made to take long.
    fn flight(&mut self, key: &Key) -> Option<BoxFuture<'static, Resolved>> {
        let catalog = self.control.catalog.borrow().clone();
        let labels = self.found.labels(&catalog);
        let settings = self.control.settings.borrow().clone();
        let file = self.control.publisher.file();
        let taken: BTreeSet<String> = file.iter().map(|one| one.name.clone()).collect();
        let tenure = self.found.tenure.clone();
        let entry = self.found.entries.get(key)?;
        let (key, doubt) = (key.clone(), entry.doubt);
        let (client, resource) = (self.client.clone(), Arc::clone(&entry.resource));
        let checks = Arc::clone(&self.checks);
        Some(Box::pin(async move {
            let begin = Instant::now();
            let mut versions = Versions::new();
            let (result, busy) = match resolve(&client, &resource, &mut versions).await {
                Err(error) => (Err(error), Duration::ZERO),
                Ok(material) => {
                    let check = move || {
                        let around = Surroundings {
                            settings: &settings,
                            catalog: &catalog,
                            labels: &labels,
                            taken: &taken,
                            tenure: &tenure,
                        };
                        validate(&resource, material, around)
                    };
                    let (result, busy) = beside(&checks, check).await;
                    (result.map_err(ResolveError::Refused), busy)
                }
            };
            Resolved {
                key,
                doubt,
                versions,
                result,
                took: begin.elapsed(),
                busy,
            }
        }))
    }

    /// Takes what was found.
    fn land(&mut self, resolved: Resolved) {
        let Resolved {
            key,
            doubt,
            versions,
            result,
            took,
            busy,
        } = resolved;
        let queue = &mut self.found.queue;
        queue.finish(&key, busy, Instant::now());
        let Some(entry) = self.found.entries.get_mut(&key) else {
            queue.forget(&key);
            return;
        };
        if entry.doubt != doubt || !entry.owned {
            // It has changed meanwhile, and is resolved again where it is ours.
            queue.dirty.insert(key);
            return;
        }
        let judgement = match result {
            Ok(validated) => Ok(validated),
            Err(ResolveError::Refused(refusal)) => Err(refusal),
            Err(ResolveError::Unavailable(why)) => {
                let name = format!("{}/{}", key.namespace, key.name);
                self.metrics.reconciled(Outcome::Unavailable, took);
                if queue.retry(key, fraction(), Instant::now()) {
                    warn!(
                        resource = name,
                        "{why}; it is tried again, less and less often"
                    );
                }
                return;
            }
        };
        queue.answered(&key);
        entry.versions = versions;
        self.judge(&key, Some(judgement), took);
    }

    /// Says what becomes of a resource; `None` is of one that is paused.
    fn judge(
        &mut self,
        key: &Key,
        mut judgement: Option<Result<Validated, Refusal>>,
        took: Duration,
    ) {
        let found = &mut self.found;
        if let Some(Ok(validated)) = &mut judgement {
            found.share_metrics(&key.namespace, &mut validated.target);
        }
        let Some(entry) = found.entries.get_mut(key) else {
            return;
        };
        let own = |made: &Option<Arc<Target>>| made.as_ref().and_then(|one| one.metrics.clone());
        let before = own(&entry.made);
        self.metrics.reconciled(Outcome::of(&judgement), took);
        entry.judge(judgement);
        found.families_changed |= own(&entry.made) != before;
        found.judged.insert(key.clone());
    }

    fn publish(&mut self) {
        self.found.settle_families();
        self.report();
        let entries = &self.found.entries;
        let targets = entries.values().filter_map(|one| one.target.clone());
        self.control.publisher.set_cluster(targets.collect());
        let own = entries.iter().filter_map(|(key, entry)| {
            Some(Verdict {
                resource: Arc::clone(entry.judged.as_ref()?),
                present: Arc::clone(&entry.resource),
                service: key.source == Source::Service,
                refusal: entry.flaws(),
                target: entry.target.clone(),
            })
        });
        self.verdicts.send_replace(Verdicts {
            own: Arc::new(own.collect()),
            foreign: entries.values().filter(|one| !one.owned).count(),
            tenure: self.found.tenure.clone(),
        });
        let progress = self.progress();
        self.progress.send_if_modified(|known| {
            if progress.synced && !known.synced {
                info!(
                    resources = self.found.entries.len(),
                    "the first list is resolved"
                );
            }
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    fn progress(&mut self) -> Progress {
        let sources = || self.watches.iter().filter(|(one, _)| one.is_source());
        let targets = || sources().filter(|(one, _)| one.of == Watched::Targets);
        // One namespace that is gone, or a right that is missing there, holds up no other; and
        // without Services there are still the resources.
        let any = targets().any(|(_, state)| state.listed);
        let listed = sources().all(|(watch, state)| {
            let other = any || watch.of == Watched::Services;
            state.listed || (other && self.is_refused(watch))
        });
        let blind = targets().all(|(watch, state)| state.failing && self.is_refused(watch));
        if listed {
            self.listed_at.get_or_insert_with(Instant::now);
        }
        let patience = self.listed_at.is_none_or(|at| at.elapsed() < FIRST_LIST);
        let lost = *self.share.borrow() == Share::Nothing;
        let mut owned = self.found.entries.values().filter(|one| one.owned);
        let resolved = listed && !lost && (!patience || owned.all(|one| one.judged.is_some()));
        let synced = self.progress.borrow().synced || resolved;
        let mut progress = Progress {
            synced,
            ..Progress::default()
        };
        for right in self.missing.borrow().iter() {
            let (verb, resource) = (right.verb.as_str(), right.kind.as_str());
            let text = format!("the service account may not {verb} {resource}");
            let text = match &right.namespace {
                Some(namespace) => format!("{text} in the namespace {namespace}"),
                None => text,
            };
            if right.kind == Kind::Targets && blind {
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
