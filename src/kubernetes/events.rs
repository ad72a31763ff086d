//! What is watched: the resources whole, Secrets and ConfigMaps by their metadata alone. Lists are
//! paged, watches use bookmarks and resume with backoff and jitter.

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};

use super::resolve::{Named, NamedKind};
use super::resource::PostgresTarget;

/// A resource's namespace and name.
pub(super) type Key = (String, String);

/// Something that was seen.
pub(super) enum Happening {
    Target(Box<Event<PostgresTarget>>),
    /// Key and version of an object.
    Object(NamedKind, Event<(Key, Option<String>)>),
    Failed(watcher::Error),
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watch {
    /// `None` is all namespaces.
    pub namespace: Option<String>,
    /// `None` is the resources themselves.
    pub objects: Option<NamedKind>,
}

impl Watch {
    /// Whether it would see this object.
    pub(super) fn sees(&self, namespace: &str, named: &Named) -> bool {
        self.objects == Some(named.kind) && self.covers(namespace)
    }

    pub(super) fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }

    /// What it looks for, for people.
    pub(super) fn what(&self) -> String {
        let kind = match self.objects {
            None => "PostgresTargets",
            Some(NamedKind::Secret) => "Secrets",
            Some(NamedKind::ConfigMap) => "ConfigMaps",
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
) -> (Vec<Watch>, Happenings) {
    let mut places: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    if places.is_empty() {
        places.push(None);
    }
    let (mut watches, mut all) = (Vec::new(), Happenings::new());
    for namespace in places {
        let of = |objects| Watch {
            namespace: namespace.clone(),
            objects,
        };
        let mut config = watcher::Config::default();
        if !selector.is_empty() {
            config = config.labels(selector);
        }
        let watch = of(None);
        watches.push(watch.clone());
        let seen = watcher::watcher(api::<PostgresTarget>(client, namespace.as_deref()), config);
        all.push(
            seen.default_backoff()
                .map(move |seen| {
                    let seen = seen.map_or_else(Happening::Failed, |event| {
                        Happening::Target(Box::new(event))
                    });
                    (watch.clone(), seen)
                })
                .boxed(),
        );
        let watch = of(Some(NamedKind::Secret));
        watches.push(watch.clone());
        all.push(objects::<Secret>(client, watch, NamedKind::Secret));
        let watch = of(Some(NamedKind::ConfigMap));
        watches.push(watch.clone());
        all.push(objects::<ConfigMap>(client, watch, NamedKind::ConfigMap));
    }
    (watches, all)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn objects<K>(
    client: &Client,
    watch: Watch,
    kind: NamedKind,
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
    watcher::watcher(api, watcher::Config::default())
        .default_backoff()
        .map(move |seen| {
            let seen = match seen {
                Ok(event) => Happening::Object(kind, short(event)),
                Err(error) => Happening::Failed(error),
            };
            (watch.clone(), seen)
        })
        .boxed()
}

fn short<K>(event: Event<PartialObjectMeta<K>>) -> Event<(Key, Option<String>)> {
    let short = |object: PartialObjectMeta<K>| {
        let metadata = object.metadata;
        let key = (
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        );
        (key, metadata.resource_version)
    };
    match event {
        Event::Apply(object) => Event::Apply(short(object)),
        Event::Delete(object) => Event::Delete(short(object)),
        Event::InitApply(object) => Event::InitApply(short(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

/// What an error of the API server says, without the rest of its answer.
pub(super) fn say(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => match inner {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        },
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Whether RBAC refused it.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => return false,
    };
    code == 403
}
