//! The task that owns all resources: events in, targets and verdicts out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use kube::runtime::watcher::Event;
use kube::{Client, Config};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::entry::Entry;
use super::events::{self, Happening, Happenings, Key, Watch};
use super::resolve::{Material, Named, NamedKind, ResolveError, Versions, named, resolve};
use super::resource::PostgresTarget;
use super::settings::{Options, Settings};
use super::status::StatusWriter;
use super::validate::{Surroundings, validate};
use super::verdict::{Verdict, Verdicts};
use crate::catalog::{Catalog, ColumnKind};
use crate::security::tls::provider;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, Publisher};

/// Resources that are resolved at once.
const AT_ONCE: usize = 16;
/// Events that are taken together, so that a thousand resources are not a thousand lists.
const BATCH: usize = 256;
/// How soon a resource is resolved again when the API server did not answer.
const RETRY: Duration = Duration::from_secs(3);
/// How often named objects are read again where they cannot be watched.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no way to the API server.
    #[error(
        "kubernetes: there is no configuration of a cluster ({0}); run it in a pod with a service \
         account, name a kubeconfig in KUBECONFIG, or set kubernetes = off"
    )]
    NoCluster(String),
    /// The configuration cannot be used.
    #[error("kubernetes: the configuration of the cluster cannot be used: {0}")]
    Unusable(String),
}

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
}

/// Starts controller and status writer as tasks of the shutdown. What comes back turns true once
/// the first list of resources was resolved.
///
/// The cluster is found as kubectl does it: `KUBECONFIG`, else `~/.kube/config`, else the service
/// account of the pod.
///
/// # Errors
/// There is no cluster to speak to. That it does not answer is no error: it is tried again.
pub async fn start(
    options: Options,
    control: Control,
    shutdown: &Shutdown,
) -> Result<watch::Receiver<bool>, KubernetesError> {
    // The library takes the process's default; another that came first is the same one.
    let _ = Arc::unwrap_or_clone(provider()).install_default();
    let config = Config::infer()
        .await
        .map_err(|error| KubernetesError::NoCluster(error.to_string()))?;
    info!(server = %config.cluster_url, "reading PostgresTargets");
    let client =
        Client::try_from(config).map_err(|error| KubernetesError::Unusable(error.to_string()))?;
    let (synced, synced_reader) = watch::channel(false);
    let (verdicts, verdicts_reader) = watch::channel(Verdicts::default());
    let (watches, happenings) = events::watch(&client, &options.namespaces, &options.selector);
    let status = StatusWriter {
        client: client.clone(),
        verdicts: verdicts_reader,
        health: control.health.clone(),
        owner: options.owner,
    };
    let controller = Controller {
        client,
        control,
        watches: watches
            .into_iter()
            .map(|watch| (watch, WatchState::default()))
            .collect(),
        entries: BTreeMap::new(),
        dirty: BTreeSet::new(),
        retry: None,
        verdicts,
        synced,
    };
    shutdown.spawn("kubernetes", controller.run(happenings, shutdown.clone()));
    shutdown.spawn("status", status.run(shutdown.clone()));
    Ok(synced_reader)
}

/// What was found of a resource; nothing of one that is paused.
type Resolved = (Key, Versions, Option<Result<Material, ResolveError>>);

struct Controller {
    client: Client,
    control: Control,
    watches: BTreeMap<Watch, WatchState>,
    entries: BTreeMap<Key, Entry>,
    dirty: BTreeSet<Key>,
    retry: Option<Instant>,
    verdicts: watch::Sender<Verdicts>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct WatchState {
    /// What was seen in a list that has begun.
    seen: BTreeSet<Key>,
    listed: bool,
    failing: bool,
}

impl Controller {
    async fn run(mut self, mut happenings: Happenings, shutdown: Shutdown) {
        let mut read_again = Instant::now() + READ_AGAIN;
        loop {
            let retry = self.retry.unwrap_or(read_again).min(read_again);
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
                Ok(()) = self.control.settings.changed() => self.doubt_all(),
                Ok(()) = self.control.catalog.changed() => self.doubt_all(),
                () = sleep_until(retry) => {
                    self.retry = None;
                    let unjudged = self.entries.iter().filter(|(_, entry)| entry.judged.is_none());
                    self.dirty.extend(unjudged.map(|(key, _)| key.clone()));
                    if read_again <= Instant::now() {
                        read_again = Instant::now() + READ_AGAIN;
                        self.doubt_unwatched();
                    }
                }
            }
            tokio::select! {
                () = shutdown.begun() => return,
                () = self.reconcile() => {}
            }
            self.publish();
        }
    }

    /// Takes an event in: what may have changed is in doubt afterwards.
    fn see(&mut self, watch: &Watch, seen: Happening) {
        if let Happening::Failed(error) = seen {
            return self.failed(watch, &error);
        }
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        // The beginning of a list is only an attempt; what comes of it is an answer.
        let attempt = matches!(&seen, Happening::Object(_, Event::Init))
            || matches!(&seen, Happening::Target(event) if matches!(**event, Event::Init));
        if !attempt && std::mem::take(&mut state.failing) {
            info!("the API server lets us watch {} again", watch.what());
        }
        match seen {
            Happening::Target(event) => self.see_target(watch, *event),
            Happening::Object(kind, event) => self.see_object(watch, kind, event),
            Happening::Failed(_) => {}
        }
    }

    fn see_target(&mut self, watch: &Watch, event: Event<PostgresTarget>) {
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        match event {
            Event::Init => state.seen.clear(),
            Event::InitApply(resource) => {
                state.seen.insert(key(&resource));
                self.applied(resource);
            }
            Event::Apply(resource) => self.applied(resource),
            Event::Delete(resource) => {
                self.entries.remove(&key(&resource));
            }
            Event::InitDone => {
                state.listed = true;
                let seen = std::mem::take(&mut state.seen);
                self.entries
                    .retain(|key, _| !watch.covers(&key.0) || seen.contains(key));
            }
        }
    }

    fn see_object(&mut self, watch: &Watch, kind: NamedKind, event: Event<(Key, Option<String>)>) {
        let named = |name: &str| Named {
            kind,
            name: name.to_owned(),
        };
        match event {
            Event::Init => {
                if let Some(state) = self.watches.get_mut(watch) {
                    state.seen.clear();
                }
            }
            Event::InitApply((key, version)) => {
                let wanted = self.object(&key.0, &named(&key.1), version.as_deref());
                if let Some(state) = self.watches.get_mut(watch).filter(|_| wanted) {
                    state.seen.insert(key);
                }
            }
            Event::Apply((key, version)) => {
                self.object(&key.0, &named(&key.1), version.as_deref());
            }
            Event::Delete((key, _)) => {
                self.object(&key.0, &named(&key.1), None);
            }
            Event::InitDone => {
                let Some(state) = self.watches.get_mut(watch) else {
                    return;
                };
                state.listed = true;
                let seen = std::mem::take(&mut state.seen);
                let gone = self.entries.iter().filter(|((namespace, _), entry)| {
                    entry.versions.iter().any(|(named, version)| {
                        version.is_some()
                            && watch.sees(namespace, named)
                            && !seen.contains(&(namespace.clone(), named.name.clone()))
                    })
                });
                self.dirty.extend(gone.map(|(key, _)| key.clone()));
            }
        }
    }

    fn failed(&mut self, watch: &Watch, error: &kube::runtime::watcher::Error) {
        let Some(state) = self.watches.get_mut(watch) else {
            return;
        };
        let forbidden = events::is_forbidden(error);
        if forbidden {
            state.listed = false;
        }
        if std::mem::replace(&mut state.failing, true) {
            return;
        }
        let what = watch.what();
        let why = events::say(error);
        if forbidden && watch.objects.is_some() {
            warn!(
                "{what} may not be watched: those that are named are read again each minute ({why})"
            );
        } else {
            warn!("{what} cannot be watched; what is known stays, and it is tried again ({why})");
        }
    }

    fn applied(&mut self, resource: PostgresTarget) {
        let key = key(&resource);
        let known = self.entries.get_mut(&key);
        match known {
            // What changed is the status, which we write, or something that is not ours.
            Some(entry)
                if entry.resource.metadata.uid == resource.metadata.uid
                    && entry.resource.spec == resource.spec =>
            {
                let same = entry.resource.metadata.generation == resource.metadata.generation;
                if !same {
                    entry.resource = Arc::new(resource);
                }
            }
            known => {
                let before = known.filter(|one| one.resource.metadata.uid == resource.metadata.uid);
                let entry = Entry::new(resource, before);
                self.entries.insert(key.clone(), entry);
                self.dirty.insert(key);
            }
        }
    }

    /// An object is there with this version, or is gone. Returns whether any resource names it.
    fn object(&mut self, namespace: &str, named: &Named, version: Option<&str>) -> bool {
        let mut any = false;
        let first = (namespace.to_owned(), String::new());
        let here = self.entries.range(first..);
        for (key, entry) in here.take_while(|(key, _)| key.0 == namespace) {
            if let Some(read) = entry.versions.get(named) {
                any = true;
                if read.as_deref() != version {
                    self.dirty.insert(key.clone());
                }
            }
        }
        any
    }

    fn doubt_all(&mut self) {
        self.dirty.extend(self.entries.keys().cloned());
    }

    /// Whose objects nobody watches has to look again.
    fn doubt_unwatched(&mut self) {
        let blind: Vec<&Watch> = self
            .watches
            .iter()
            .filter(|(watch, state)| watch.objects.is_some() && !state.listed)
            .map(|(watch, _)| watch)
            .collect();
        let doubtful = self.entries.iter().filter(|((namespace, _), entry)| {
            named(&entry.resource)
                .iter()
                .any(|one| blind.iter().any(|watch| watch.sees(namespace, one)))
        });
        self.dirty.extend(doubtful.map(|(key, _)| key.clone()));
    }

    /// Resolves and validates whatever is in doubt.
    async fn reconcile(&mut self) {
        let work: Vec<(Key, Arc<PostgresTarget>)> = std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|key| {
                let resource = Arc::clone(&self.entries.get(&key)?.resource);
                Some((key, resource))
            })
            .collect();
        if work.is_empty() {
            return;
        }
        let client = &self.client;
        let resolved: Vec<Resolved> = stream::iter(work)
            .map(|(key, resource)| async move {
                let mut versions = Versions::new();
                if resource.spec.paused {
                    return (key, versions, None);
                }
                let material = resolve(client, &resource, &mut versions).await;
                (key, versions, Some(material))
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let settings = self.control.settings.borrow_and_update().clone();
        let labels = labels(&self.control.catalog.borrow_and_update());
        let file = self.control.publisher.file();
        let taken: BTreeSet<String> = file.iter().map(|one| one.name.clone()).collect();
        let around = Surroundings {
            settings: &settings,
            labels: &labels,
            taken: &taken,
        };
        for (key, versions, material) in resolved {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let judgement = match material {
                None => None,
                Some(Ok(material)) => Some(validate(&entry.resource, material, around)),
                Some(Err(ResolveError::Refused(refusal))) => Some(Err(refusal)),
                Some(Err(ResolveError::Unavailable(why))) => {
                    warn!(resource = %format!("{}/{}", key.0, key.1), "{why}; it is tried again");
                    self.retry.get_or_insert_with(|| Instant::now() + RETRY);
                    // With no versions known, the next look at it finds all of them changed.
                    self.dirty.insert(key);
                    continue;
                }
            };
            entry.versions = versions;
            entry.judge(judgement);
        }
    }

    fn publish(&mut self) {
        let targets = self.entries.values().filter_map(|one| one.target.clone());
        self.control.publisher.set_cluster(targets.collect());
        let verdicts = self.entries.values().filter_map(|entry| {
            Some(Verdict {
                resource: Arc::clone(entry.judged.as_ref()?),
                refusal: entry.refusal.clone(),
                target: entry.target.clone(),
            })
        });
        self.verdicts.send_replace(Arc::new(verdicts.collect()));
        let mut lists = self.watches.iter().filter(|(one, _)| one.objects.is_none());
        let listed = lists.all(|(_, state)| state.listed);
        if listed && self.entries.values().all(|one| one.judged.is_some()) {
            self.synced.send_if_modified(|synced| {
                let first = !*synced;
                *synced = true;
                if first {
                    info!(resources = self.entries.len(), "the first list is resolved");
                }
                first
            });
        }
    }
}

fn key(resource: &PostgresTarget) -> Key {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let metadata = &resource.metadata;
    (part(&metadata.namespace), part(&metadata.name))
}

/// The names that columns of the catalogue give to labels.
fn labels(catalog: &Catalog) -> BTreeSet<String> {
    let queries = catalog.metrics.iter().flat_map(|metric| &metric.queries);
    queries
        .flat_map(|query| &query.columns)
        .filter(|column| column.kind == ColumnKind::Label)
        .map(|column| column.name.clone())
        .collect()
}
