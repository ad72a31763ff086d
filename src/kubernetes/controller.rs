//! The task that owns all resources: events in, targets and verdicts out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::client::{ApiResource, Book, Kind};
use super::entry::{Entry, Key, Source};
use super::lease::Share;
use super::metrics::{Metrics, Outcome};
use super::refusal::Refusal;
use super::registry::Registry;
use super::resolve::{Material, ResolveError, Versions, resolve};
use super::settings::Settings;
use super::validate::{Surroundings, labels_of, validate};
use super::verdict::{Verdict, Verdicts};
use super::watches::{Happenings, Watch, Watched};
use crate::catalog::Catalog;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, Publisher, Target, Tenure};

/// Resources that are resolved at once.
const AT_ONCE: usize = 16;
/// Events that are taken together, so that a thousand resources are not a thousand lists.
const BATCH: usize = 256;
/// How soon a resource is resolved again when the API server did not answer.
const RETRY: Duration = Duration::from_secs(3);
/// How often named objects are read again where they cannot be watched.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether a server refused a password whose Secret nobody watches.
const LOOK: Duration = Duration::from_secs(1);

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
}

/// What is known, and what has yet to be found out.
#[derive(Default)]
pub(super) struct Found {
    pub entries: BTreeMap<Key, Entry>,
    /// To be resolved.
    pub dirty: BTreeSet<Key>,
    /// Namespaces whose population has changed.
    pub touched: BTreeSet<String>,
    /// How long the targets may be served.
    pub tenure: Tenure,
    /// The families that targets bring themselves.
    pub registry: Registry,
    /// Being resolved.
    flying: BTreeSet<Key>,
    /// To be tried again: the API server did not answer.
    unavailable: BTreeSet<Key>,
    retry: Option<Instant>,
    doubts: u64,
    /// The labels of a catalogue.
    labels: Option<(Arc<Catalog>, BTreeSet<String>)>,
}

#[derive(Default)]
pub(super) struct WatchState {
    /// What was seen in a list that has begun.
    pub seen: BTreeSet<Key>,
    pub listed: bool,
    pub failing: bool,
}

/// What was found of a resource.
struct Resolved {
    key: Key,
    doubt: u64,
    versions: Versions,
    material: Result<Material, ResolveError>,
    took: Duration,
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
        if let Some(metrics) = target.and_then(|target| target.metrics.as_ref()) {
            self.registry.remove(metrics);
        }
    }

    fn labels(&mut self, catalog: &Arc<Catalog>) -> BTreeSet<String> {
        match &self.labels {
            Some((of, labels)) if Arc::ptr_eq(of, catalog) => labels.clone(),
            _ => {
                let labels = labels_of(catalog);
                self.labels = Some((Arc::clone(catalog), labels.clone()));
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
            let retry = self.found.retry.unwrap_or(read_again).min(read_again);
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
                Ok(()) = self.missing.changed() => {}
                () = sleep_until(look), if self.is_blind() => {
                    look = Instant::now() + LOOK;
                    self.doubt_refused_passwords();
                }
                () = sleep_until(retry) => {
                    self.found.retry = None;
                    let unavailable = std::mem::take(&mut self.found.unavailable);
                    self.found.dirty.extend(unavailable);
                    if read_again <= Instant::now() {
                        read_again = Instant::now() + READ_AGAIN;
                        self.doubt_unwatched();
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
        for key in std::mem::take(&mut self.found.dirty) {
            let doubt = self.found.doubt();
            let Some(entry) = self.found.entries.get_mut(&key).filter(|one| one.owned) else {
                continue;
            };
            entry.doubt = doubt;
            let flaw = entry.flaw.clone().or_else(|| entry.placing.clone());
            if entry.resource.spec.paused {
                self.judge(&key, None, Duration::ZERO);
            } else if let Some(flaw) = flaw {
                self.judge(&key, Some(Err(flaw)), Duration::ZERO);
            } else if self.found.flying.contains(&key) || flights.len() >= AT_ONCE {
                // What flies for this key is out of date when it lands.
                self.found.dirty.insert(key);
            } else {
                let (client, resource) = (self.client.clone(), Arc::clone(&entry.resource));
                self.found.flying.insert(key.clone());
                flights.push(Box::pin(async move {
                    let begin = Instant::now();
                    let mut versions = Versions::new();
                    let material = resolve(&client, &resource, &mut versions).await;
                    Resolved {
                        key,
                        doubt,
                        versions,
                        material,
                        took: begin.elapsed(),
                    }
                }));
            }
        }
    }

    /// Validates what was resolved.
    fn land(&mut self, resolved: Resolved) {
        let Resolved {
            key,
            doubt,
            versions,
            material,
            took,
        } = resolved;
        self.found.flying.remove(&key);
        let catalog = self.control.catalog.borrow().clone();
        let labels = self.found.labels(&catalog);
        let Some(entry) = self.found.entries.get_mut(&key) else {
            return;
        };
        if entry.doubt != doubt || !entry.owned {
            // It has changed meanwhile, and is resolved again where it is ours.
            self.found.dirty.insert(key);
            return;
        }
        let begin = Instant::now();
        let settings = self.control.settings.borrow().clone();
        let file = self.control.publisher.file();
        let around = Surroundings {
            settings: &settings,
            catalog: &catalog,
            labels: &labels,
            taken: &file.iter().map(|one| one.name.clone()).collect(),
            tenure: &self.found.tenure,
        };
        let judgement = match material {
            Ok(material) => validate(&entry.resource, material, around),
            Err(ResolveError::Refused(refusal)) => Err(refusal),
            Err(ResolveError::Unavailable(why)) => {
                let name = format!("{}/{}", key.namespace, key.name);
                warn!(resource = name, "{why}; it is tried again");
                self.metrics.reconciled(Outcome::Unavailable, took);
                self.found
                    .retry
                    .get_or_insert_with(|| Instant::now() + RETRY);
                self.found.unavailable.insert(key);
                return;
            }
        };
        entry.versions = versions;
        self.judge(&key, Some(judgement), took + begin.elapsed());
    }

    /// Says what becomes of a resource; `None` is of one that is paused.
    fn judge(&mut self, key: &Key, judgement: Option<Result<Target, Refusal>>, took: Duration) {
        let found = &mut self.found;
        let Some(entry) = found.entries.get_mut(key) else {
            return;
        };
        if let Some(metrics) = entry.target.as_ref().and_then(|one| one.metrics.as_ref()) {
            found.registry.remove(metrics);
        }
        let judgement = judgement.map(|result| {
            result.and_then(|target| {
                let own = target.metrics.as_ref();
                own.map_or(Ok(()), |own| found.registry.try_out(own))?;
                Ok(target)
            })
        });
        self.metrics.reconciled(Outcome::of(&judgement), took);
        entry.judge(judgement);
        if let Some(metrics) = entry.target.as_ref().and_then(|one| one.metrics.as_ref()) {
            found.registry.add(metrics);
        }
    }

    fn publish(&mut self) {
        let entries = &self.found.entries;
        let targets = entries.values().filter_map(|one| one.target.clone());
        self.control.publisher.set_cluster(targets.collect());
        let own = entries.iter().filter_map(|(key, entry)| {
            Some(Verdict {
                resource: Arc::clone(entry.judged.as_ref()?),
                service: key.source == Source::Service,
                refusal: entry.refusal.clone(),
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

    fn progress(&self) -> Progress {
        let mut sources = self.watches.iter().filter(|(one, _)| one.is_source());
        // Without Services there are still the resources.
        let listed = sources.all(|(watch, state)| {
            state.listed || (watch.of == Watched::Services && self.is_refused(watch))
        });
        let lost = *self.share.borrow() == Share::Nothing;
        let mut owned = self.found.entries.values().filter(|one| one.owned);
        let resolved = listed && !lost && owned.all(|one| one.judged.is_some());
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
            if right.kind == Kind::Targets {
                progress.blocked.get_or_insert(text);
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
