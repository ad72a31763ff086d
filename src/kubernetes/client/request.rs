//! What a request asks of the API server, in words of RBAC. Closed sets: they become labels.

use http::{Method, Uri};

/// A verb of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    Delete,
}

impl Verb {
    pub(in crate::kubernetes) const ALL: [Verb; 6] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Patch,
        Verb::Delete,
    ];

    pub(in crate::kubernetes) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) enum Kind {
    Targets,
    TargetStatus,
    Secrets,
    ConfigMaps,
    Services,
    Events,
    Leases,
    /// Nothing that the controller asks for.
    Other,
}

impl Kind {
    /// As RBAC names it.
    pub(in crate::kubernetes) fn as_str(self) -> &'static str {
        match self {
            Kind::Targets => "postgrestargets",
            Kind::TargetStatus => "postgrestargets/status",
            Kind::Secrets => "secrets",
            Kind::ConfigMaps => "configmaps",
            Kind::Services => "services",
            Kind::Events => "events",
            Kind::Leases => "leases",
            Kind::Other => "other",
        }
    }

    fn of(plural: &str, subresource: Option<&str>) -> Self {
        match (plural, subresource) {
            ("postgrestargets", Some("status")) => Kind::TargetStatus,
            ("postgrestargets", None) => Kind::Targets,
            ("secrets", None) => Kind::Secrets,
            ("configmaps", None) => Kind::ConfigMaps,
            ("services", None) => Kind::Services,
            ("events", None) => Kind::Events,
            ("leases", None) => Kind::Leases,
            _ => Kind::Other,
        }
    }
}

/// Every right that the controller may use.
pub(in crate::kubernetes) const RIGHTS: [(Kind, Verb); 18] = [
    (Kind::Targets, Verb::List),
    (Kind::Targets, Verb::Watch),
    (Kind::TargetStatus, Verb::Patch),
    (Kind::Secrets, Verb::Get),
    (Kind::Secrets, Verb::List),
    (Kind::Secrets, Verb::Watch),
    (Kind::ConfigMaps, Verb::Get),
    (Kind::ConfigMaps, Verb::List),
    (Kind::ConfigMaps, Verb::Watch),
    (Kind::Services, Verb::List),
    (Kind::Services, Verb::Watch),
    (Kind::Events, Verb::Create),
    (Kind::Events, Verb::Patch),
    (Kind::Leases, Verb::List),
    (Kind::Leases, Verb::Watch),
    (Kind::Leases, Verb::Create),
    (Kind::Leases, Verb::Patch),
    (Kind::Leases, Verb::Delete),
];

/// What a request asks for, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) struct ApiResource {
    pub kind: Kind,
    pub verb: Verb,
    /// `None` is all namespaces.
    pub namespace: Option<String>,
}

impl ApiResource {
    /// Reads it from the method and the path (Kubernetes API concepts, "Resource URIs").
    pub(in crate::kubernetes) fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        // `/api/v1/…` of the core group, `/apis/GROUP/VERSION/…` of all others.
        let skipped = match parts.next() {
            Some("api") => 1,
            _ => 2,
        };
        let mut parts = parts.skip(skipped).peekable();
        let namespace = parts
            .next_if_eq(&"namespaces")
            .and_then(|_| parts.next().map(str::to_owned));
        let plural = parts.next().unwrap_or_default();
        let named = parts.next().is_some();
        let kind = Kind::of(plural, parts.next());
        let watches = |uri: &Uri| {
            let query = uri.query().unwrap_or_default();
            query.split('&').any(|pair| pair == "watch=true")
        };
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PATCH | Method::PUT => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if named => Verb::Get,
            _ if watches(uri) => Verb::Watch,
            _ => Verb::List,
        };
        Self {
            kind,
            verb,
            namespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_method_and_path() {
        let cases = [
            (
                "GET",
                "/api/v1/namespaces/shop/secrets/db",
                "get secrets shop",
            ),
            ("GET", "/api/v1/secrets?&limit=500", "list secrets *"),
            (
                "GET",
                "/api/v1/secrets?&watch=true&timeoutSeconds=60",
                "watch secrets *",
            ),
            (
                "GET",
                "/apis/pgexporter.io/v1alpha1/namespaces/shop/postgrestargets?watch=true",
                "watch postgrestargets shop",
            ),
            (
                "PATCH",
                "/apis/pgexporter.io/v1alpha1/namespaces/a/postgrestargets/b/status?force=true",
                "patch postgrestargets/status a",
            ),
            (
                "POST",
                "/apis/events.k8s.io/v1/namespaces/a/events?",
                "create events a",
            ),
            (
                "DELETE",
                "/apis/coordination.k8s.io/v1/namespaces/m/leases/pod-1",
                "delete leases m",
            ),
            ("GET", "/version", "list other *"),
        ];
        for (method, uri, expected) in cases {
            let method: Method = method.parse().unwrap();
            let found = ApiResource::of(&method, &uri.parse().unwrap());
            let place = found.namespace.unwrap_or_else(|| "*".to_owned());
            let text = format!("{} {} {place}", found.verb.as_str(), found.kind.as_str());
            assert_eq!(text, expected);
        }
    }
}
