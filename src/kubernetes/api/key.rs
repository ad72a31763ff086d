//! What identifies a resource, and the name of its server.

use super::resource::PostgresTarget;

/// Identifies a resource. The namespace comes first, so that a map keeps the resources of one
/// namespace next to each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) struct ResourceKey {
    pub namespace: String,
    pub source: ResourceSource,
    pub name: String,
}

/// What a target is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) enum ResourceSource {
    /// A `PostgresTarget`.
    Target,
    /// A Service with our annotation.
    Service,
}

impl ResourceKey {
    pub(in crate::kubernetes) fn new(source: ResourceSource, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            source,
            name: name.to_owned(),
        }
    }

    pub(in crate::kubernetes) fn from_resource(
        resource: &PostgresTarget,
        source: ResourceSource,
    ) -> Self {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let metadata = &resource.metadata;
        Self {
            namespace: part(&metadata.namespace),
            source,
            name: part(&metadata.name),
        }
    }
}

/// The value of the label `server`.
pub(in crate::kubernetes) fn server_name(resource: &PostgresTarget) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (namespace, name) = (&resource.metadata.namespace, &resource.metadata.name);
    format!("{}/{}", part(namespace), part(name))
}
