//! What is watched: the resources whole; Secrets, ConfigMaps and Services by their metadata alone.
//!
//! Lists are paged, and ask for no newer state than the API server has at hand; watches use
//! bookmarks, and resume with backoff and jitter. One that ended with 410 begins with a list.
//! [`relist`](super::relist) begins them anew where they would show an old world.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};

use super::client::{Kind, explain_api};
use super::entry::{Key, Source};
use super::relist::{Restored, relisting};
use super::resolve::{Named, NamedKind};
use super::resource::PostgresTarget;
use crate::text::peer_text;

/// A watch is begun anew this often, so that a connection that has died unnoticed, and a right that
/// was taken away, are noticed.
const AGAIN: Duration = Duration::from_secs(60);

/// Something that was seen.
pub(super) enum Happening {
    Target(Box<Event<PostgresTarget>>),
    /// A Service's metadata.
    Service(Box<Event<ObjectMeta>>),
    /// Name and version of an object.
    Object(NamedKind, Event<Seen>),
    Failed(watcher::Error),
}

/// An object that may be named, by namespace, name and version.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub namespace: String,
    pub name: String,
    pub version: Option<String>,
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watch {
    /// `None` is all namespaces.
    pub namespace: Option<String>,
    pub of: Watched,
}

/// What a watch looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    Targets,
    Services,
    Objects(NamedKind),
}

impl Watch {
    /// Whether it would see this object.
    pub(super) fn sees(&self, namespace: &str, named: &Named) -> bool {
        self.of == Watched::Objects(named.kind) && self.covers(namespace)
    }

    pub(super) fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// The entries that it may bring.
    pub(super) fn brings(&self, key: &Key) -> bool {
        let source = match self.of {
            Watched::Targets => Source::Target,
            Watched::Services => Source::Service,
            Watched::Objects(_) => return false,
        };
        key.source == source && self.covers(&key.namespace)
    }

    /// Whether it is one that targets come of.
    pub(super) fn is_source(&self) -> bool {
        !matches!(self.of, Watched::Objects(_))
    }

    pub(super) fn kind(&self) -> Kind {
        match self.of {
            Watched::Targets => Kind::Targets,
            Watched::Services => Kind::Services,
            Watched::Objects(NamedKind::Secret) => Kind::Secrets,
            Watched::Objects(NamedKind::ConfigMap) => Kind::ConfigMaps,
        }
    }

    /// What it looks for, for people.
    pub(super) fn what(&self) -> String {
        let kind = match self.of {
            Watched::Targets => "PostgresTargets",
            Watched::Services => "Services",
            Watched::Objects(NamedKind::Secret) => "Secrets",
            Watched::Objects(NamedKind::ConfigMap) => "ConfigMaps",
        };
        match &self.namespace {
            None => format!("{kind} in all namespaces"),
            Some(namespace) => format!("{kind} in the namespace {namespace}"),
        }
    }
}

pub(super) type Happenings = SelectAll<BoxStream<'static, (Watch, Happening)>>;

/// All watches, and what they see.
pub(super) fn watch(
    client: &Client,
    namespaces: &[String],
    selector: &str,
    discover: bool,
    restored: &Restored,
) -> (Vec<Watch>, Happenings) {
    let mut places: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    if places.is_empty() {
        places.push(None);
    }
    let (mut watches, mut all) = (Vec::new(), Happenings::new());
    for namespace in places {
        let of = |of| Watch {
            namespace: namespace.clone(),
            of,
        };
        let watch = of(Watched::Targets);
        watches.push(watch.clone());
        all.push(targets(client, watch, selector, restored.clone()));
        for kind in [NamedKind::Secret, NamedKind::ConfigMap] {
            let watch = of(Watched::Objects(kind));
            watches.push(watch.clone());
            let see = move |event| Happening::Object(kind, short(event));
            all.push(match kind {
                NamedKind::Secret => metadata::<Secret>(client, watch, restored.clone(), see),
                NamedKind::ConfigMap => metadata::<ConfigMap>(client, watch, restored.clone(), see),
            });
        }
        if discover {
            let watch = of(Watched::Services);
            watches.push(watch.clone());
            let see = |event| Happening::Service(Box::new(event));
            all.push(metadata::<Service>(client, watch, restored.clone(), see));
        }
    }
    (watches, all)
}

/// How everything is watched.
pub(super) fn config() -> watcher::Config {
    watcher::Config::default()
        .any_semantic()
        .page_size(500)
        .timeout(u32::try_from(AGAIN.as_secs()).unwrap_or(60))
}

pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn targets(
    client: &Client,
    watch: Watch,
    selector: &str,
    restored: Restored,
) -> BoxStream<'static, (Watch, Happening)> {
    let config = match selector {
        "" => config(),
        selector => config().labels(selector),
    };
    relisting(
        api::<PostgresTarget>(client, watch.namespace.as_deref()),
        config,
        restored,
    )
    // They are of no use here, and may be longer than all the rest.
    .modify(|target: &mut PostgresTarget| {
        target.metadata.managed_fields = None;
        target.metadata.annotations = None;
    })
    .map(move |seen| {
        let seen = seen.map_or_else(Happening::Failed, |event| {
            Happening::Target(Box::new(event))
        });
        (watch.clone(), seen)
    })
    .boxed()
}

fn metadata<K>(
    client: &Client,
    watch: Watch,
    restored: Restored,
    see: impl Fn(Event<ObjectMeta>) -> Happening + Send + 'static,
) -> BoxStream<'static, (Watch, Happening)>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api = api::<PartialObjectMeta<K>>(client, watch.namespace.as_deref());
    relisting(api, config(), restored)
        .map(move |seen| {
            let seen = match seen {
                Ok(event) => see(map(event, |object| object.metadata)),
                Err(error) => Happening::Failed(error),
            };
            (watch.clone(), seen)
        })
        .boxed()
}

fn short(event: Event<ObjectMeta>) -> Event<Seen> {
    map(event, |metadata| Seen {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        version: metadata.resource_version,
    })
}

fn map<A, B>(event: Event<A>, change: impl Fn(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(change(object)),
        Event::Delete(object) => Event::Delete(change(object)),
        Event::InitApply(object) => Event::InitApply(change(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

/// What an error of the API server says, without the rest of its answer.
pub(super) fn say(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => explain_api(inner),
        watcher::Error::WatchError(status) => peer_text(&status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// The HTTP status that the API server answered with, if it did.
pub(super) fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}
