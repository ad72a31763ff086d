//! What identifies a resource, and the name of its server.

use kube::core::ObjectMeta;

use super::resource::PostgresTarget;

/// Identifies a resource. The namespace comes first, so that a map keeps the resources of one
/// namespace next to each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceKey {
    pub namespace: String,
    pub source: ResourceSource,
    pub name: String,
}

/// What a target is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ResourceSource {
    /// A `PostgresTarget`.
    Target,
    /// A Service with our annotation.
    Service,
}

impl ResourceKey {
    /// The key of an object with this metadata.
    pub(crate) fn new(source: ResourceSource, metadata: &ObjectMeta) -> Self {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        Self {
            namespace: part(&metadata.namespace),
            source,
            name: part(&metadata.name),
        }
    }

    pub(crate) fn named(source: ResourceSource, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            source,
            name: name.to_owned(),
        }
    }
}

/// The value of the label `server`.
pub(crate) fn server_name(resource: &PostgresTarget) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (namespace, name) = (&resource.metadata.namespace, &resource.metadata.name);
    format!("{}/{}", part(namespace), part(name))
}
