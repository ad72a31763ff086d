//! The Secrets and ConfigMaps that a resource names.

use std::collections::BTreeMap;

use super::resource::{CaKind, PostgresTarget};

/// An object that a resource names, in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub kind: ObjectKind,
    pub name: String,
}

/// What may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectKind {
    Secret,
    ConfigMap,
}

/// The versions of the objects that were read, to know whether one has changed since; `None` for
/// one that was not there.
pub(crate) type ObjectVersions = BTreeMap<ObjectRef, Option<String>>;

/// All objects that a resource names.
pub(crate) fn object_refs(resource: &PostgresTarget) -> Vec<ObjectRef> {
    let mut all = Vec::new();
    let mut add = |kind, name: &str| {
        all.push(ObjectRef {
            kind,
            name: name.to_owned(),
        });
    };
    if let Some(secret) = &resource.spec.credentials.secret_ref {
        add(ObjectKind::Secret, &secret.name);
    }
    if let Some(tls) = &resource.spec.tls {
        if let Some(ca) = &tls.ca_ref {
            let kind = match ca.kind {
                CaKind::ConfigMap => ObjectKind::ConfigMap,
                CaKind::Secret => ObjectKind::Secret,
            };
            add(kind, &ca.name);
        }
        if let Some(client) = &tls.client_certificate_secret_ref {
            add(ObjectKind::Secret, &client.name);
        }
    }
    for source in &resource.spec.metrics {
        add(ObjectKind::ConfigMap, &source.config_map_ref.name);
    }
    all
}
