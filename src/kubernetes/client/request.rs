//! The verb and the resource of a request, as RBAC names them. Both are closed sets, as they become
//! labels of metrics.

use http::{Method, Uri};

/// A verb of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) enum ApiVerb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    Delete,
}

impl ApiVerb {
    pub(in crate::kubernetes) const ALL: [ApiVerb; 6] = [
        ApiVerb::Get,
        ApiVerb::List,
        ApiVerb::Watch,
        ApiVerb::Create,
        ApiVerb::Patch,
        ApiVerb::Delete,
    ];

    pub(in crate::kubernetes) fn as_str(self) -> &'static str {
        match self {
            ApiVerb::Get => "get",
            ApiVerb::List => "list",
            ApiVerb::Watch => "watch",
            ApiVerb::Create => "create",
            ApiVerb::Patch => "patch",
            ApiVerb::Delete => "delete",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) enum ApiKind {
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

impl ApiKind {
    /// As RBAC names it.
    pub(in crate::kubernetes) fn as_str(self) -> &'static str {
        match self {
            ApiKind::Targets => "postgrestargets",
            ApiKind::TargetStatus => "postgrestargets/status",
            ApiKind::Secrets => "secrets",
            ApiKind::ConfigMaps => "configmaps",
            ApiKind::Services => "services",
            ApiKind::Events => "events",
            ApiKind::Leases => "leases",
            ApiKind::Other => "other",
        }
    }

    fn from_plural(plural: &str, subresource: Option<&str>) -> Self {
        match (plural, subresource) {
            ("postgrestargets", Some("status")) => ApiKind::TargetStatus,
            ("postgrestargets", None) => ApiKind::Targets,
            ("secrets", None) => ApiKind::Secrets,
            ("configmaps", None) => ApiKind::ConfigMaps,
            ("services", None) => ApiKind::Services,
            ("events", None) => ApiKind::Events,
            ("leases", None) => ApiKind::Leases,
            _ => ApiKind::Other,
        }
    }
}

/// Every right that the controller may use.
pub(in crate::kubernetes) const RIGHTS: [(ApiKind, ApiVerb); 18] = [
    (ApiKind::Targets, ApiVerb::List),
    (ApiKind::Targets, ApiVerb::Watch),
    (ApiKind::TargetStatus, ApiVerb::Patch),
    (ApiKind::Secrets, ApiVerb::Get),
    (ApiKind::Secrets, ApiVerb::List),
    (ApiKind::Secrets, ApiVerb::Watch),
    (ApiKind::ConfigMaps, ApiVerb::Get),
    (ApiKind::ConfigMaps, ApiVerb::List),
    (ApiKind::ConfigMaps, ApiVerb::Watch),
    (ApiKind::Services, ApiVerb::List),
    (ApiKind::Services, ApiVerb::Watch),
    (ApiKind::Events, ApiVerb::Create),
    (ApiKind::Events, ApiVerb::Patch),
    (ApiKind::Leases, ApiVerb::List),
    (ApiKind::Leases, ApiVerb::Watch),
    (ApiKind::Leases, ApiVerb::Create),
    (ApiKind::Leases, ApiVerb::Patch),
    (ApiKind::Leases, ApiVerb::Delete),
];

/// What a request asks for, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kubernetes) struct ApiResource {
    pub kind: ApiKind,
    pub verb: ApiVerb,
    /// `None` is all namespaces.
    pub namespace: Option<String>,
}

impl ApiResource {
    /// Reads it from the method and the path (Kubernetes API concepts, "Resource URIs").
    pub(in crate::kubernetes) fn from_request(method: &Method, uri: &Uri) -> Self {
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
        let kind = ApiKind::from_plural(plural, parts.next());
        let watches = |uri: &Uri| {
            let query = uri.query().unwrap_or_default();
            query.split('&').any(|pair| pair == "watch=true")
        };
        let verb = match *method {
            Method::POST => ApiVerb::Create,
            Method::PATCH | Method::PUT => ApiVerb::Patch,
            Method::DELETE => ApiVerb::Delete,
            _ if named => ApiVerb::Get,
            _ if watches(uri) => ApiVerb::Watch,
            _ => ApiVerb::List,
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
            let found = ApiResource::from_request(&method, &uri.parse().unwrap());
            let place = found.namespace.unwrap_or_else(|| "*".to_owned());
            let text = format!("{} {} {place}", found.verb.as_str(), found.kind.as_str());
            assert_eq!(text, expected);
        }
    }
}
