//! The watches: of resources as a whole; of Secrets, ConfigMaps and Services by their metadata alone.
//!
//! Lists are paged, and ask for no newer state than the API server has at hand; watches use
//! bookmarks, and resume with backoff and jitter. One that ended with 410 begins with a list.
//! [`relist`](super::relist) starts them again with a list where they would show an old state.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};

use super::relist::{RestoreCount, relisting};
use crate::kubernetes::api::{ObjectKind, ObjectRef, PostgresTarget, ResourceKey, ResourceSource};
use crate::kubernetes::client::ApiKind;

/// A watch is started again this often. A connection that broke without a FIN is noticed then, and so
/// is a right that was taken away.
const AGAIN: Duration = Duration::from_secs(60);

/// An event of a watch.
pub(crate) enum WatchEvent {
    Target(Box<Event<PostgresTarget>>),
    /// The metadata of another object, whose kind is that of the watch.
    Metadata(Box<Event<ObjectMeta>>),
    Failed(watcher::Error),
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceWatch {
    /// `None` is all namespaces.
    pub namespace: Option<String>,
    pub subject: WatchSubject,
}

/// The objects that a watch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchSubject {
    Targets,
    Services,
    Objects(ObjectKind),
}

impl ResourceWatch {
    /// Whether the watch shows this object.
    pub(crate) fn covers_object(&self, namespace: &str, named: &ObjectRef) -> bool {
        self.subject == WatchSubject::Objects(named.kind) && self.covers_namespace(namespace)
    }

    pub(crate) fn covers_namespace(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// Whether the watch shows the resource of this key.
    pub(crate) fn covers_key(&self, key: &ResourceKey) -> bool {
        let source = match self.subject {
            WatchSubject::Targets => ResourceSource::Target,
            WatchSubject::Services => ResourceSource::Service,
            WatchSubject::Objects(_) => return false,
        };
        key.source == source && self.covers_namespace(&key.namespace)
    }

    /// Whether its objects are targets.
    pub(crate) fn is_source(&self) -> bool {
        !matches!(self.subject, WatchSubject::Objects(_))
    }

    pub(crate) fn kind(&self) -> ApiKind {
        match self.subject {
            WatchSubject::Targets => ApiKind::Targets,
            WatchSubject::Services => ApiKind::Services,
            WatchSubject::Objects(ObjectKind::Secret) => ApiKind::Secrets,
            WatchSubject::Objects(ObjectKind::ConfigMap) => ApiKind::ConfigMaps,
        }
    }

    /// Its objects, in words for people.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.subject {
            WatchSubject::Targets => "PostgresTargets",
            WatchSubject::Services => "Services",
            WatchSubject::Objects(ObjectKind::Secret) => "Secrets",
            WatchSubject::Objects(ObjectKind::ConfigMap) => "ConfigMaps",
        };
        match &self.namespace {
            None => format!("{kind} in all namespaces"),
            Some(namespace) => format!("{kind} in the namespace {namespace}"),
        }
    }
}

pub(crate) type WatchEvents = SelectAll<BoxStream<'static, (ResourceWatch, WatchEvent)>>;

/// Starts all watches; returns them, and the stream of their events.
pub(crate) fn start_watches(
    client: &Client,
    namespaces: &[String],
    selector: &str,
    discover: bool,
    restored: &RestoreCount,
) -> (Vec<ResourceWatch>, WatchEvents) {
    let mut places: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    if places.is_empty() {
        places.push(None);
    }
    let (mut watches, mut all) = (Vec::new(), WatchEvents::new());
    for namespace in places {
        let of = |of| ResourceWatch {
            namespace: namespace.clone(),
            subject: of,
        };
        let watch = of(WatchSubject::Targets);
        watches.push(watch.clone());
        all.push(watch_targets(client, watch, selector, restored.clone()));
        for kind in [ObjectKind::Secret, ObjectKind::ConfigMap] {
            let watch = of(WatchSubject::Objects(kind));
            watches.push(watch.clone());
            all.push(match kind {
                ObjectKind::Secret => watch_metadata::<Secret>(client, watch, restored.clone()),
                ObjectKind::ConfigMap => {
                    watch_metadata::<ConfigMap>(client, watch, restored.clone())
                }
            });
        }
        if discover {
            let watch = of(WatchSubject::Services);
            watches.push(watch.clone());
            all.push(watch_metadata::<Service>(client, watch, restored.clone()));
        }
    }
    (watches, all)
}

/// The configuration of all watches.
pub(crate) fn watch_config() -> watcher::Config {
    watcher::Config::default()
        .any_semantic()
        .timeout(u32::try_from(AGAIN.as_secs()).unwrap_or(60))
}

pub(crate) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn watch_targets(
    client: &Client,
    watch: ResourceWatch,
    selector: &str,
    restored: RestoreCount,
) -> BoxStream<'static, (ResourceWatch, WatchEvent)> {
    let config = match selector {
        "" => watch_config(),
        selector => watch_config().labels(selector),
    };
    let api = api::<PostgresTarget>(client, watch.namespace.as_deref());
    let begin = move |config| watcher::watcher(api.clone(), config).default_backoff();
    relisting(begin, config, restored)
        // They are of no use here, and may be longer than all the rest.
        .modify(|target: &mut PostgresTarget| {
            target.metadata.managed_fields = None;
            target.metadata.annotations = None;
            target.metadata.labels = None;
            target.metadata.owner_references = None;
            target.metadata.finalizers = None;
        })
        .map(move |event| {
            let event = event.map_or_else(WatchEvent::Failed, |event| {
                WatchEvent::Target(Box::new(event))
            });
            (watch.clone(), event)
        })
        .boxed()
}

fn watch_metadata<K>(
    client: &Client,
    watch: ResourceWatch,
    restored: RestoreCount,
) -> BoxStream<'static, (ResourceWatch, WatchEvent)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api = api::<PartialObjectMeta<K>>(client, watch.namespace.as_deref());
    let begin = move |config| watcher::watcher(api.clone(), config).default_backoff();
    relisting(begin, watch_config(), restored)
        .map(move |event: Result<Event<PartialObjectMeta<K>>, _>| {
            let event = event.map_or_else(WatchEvent::Failed, |event| {
                WatchEvent::Metadata(Box::new(metadata_of(event)))
            });
            (watch.clone(), event)
        })
        .boxed()
}

fn metadata_of<K>(event: Event<PartialObjectMeta<K>>) -> Event<ObjectMeta> {
    match event {
        Event::Apply(object) => Event::Apply(object.metadata),
        Event::Delete(object) => Event::Delete(object.metadata),
        Event::InitApply(object) => Event::InitApply(object.metadata),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}
