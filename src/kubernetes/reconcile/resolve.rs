//! The first step of a reconcile: fetches what a resource names, from its own namespace and by name
//! alone.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use zeroize::{Zeroize as _, Zeroizing};

use crate::kubernetes::api::resource::CaKind;
use crate::kubernetes::api::{
    ObjectKind, ObjectRef, ObjectVersions, PostgresTarget, Rejection, RejectionReason as Reason,
    object_refs,
};
use crate::kubernetes::client::explain_api;
use crate::security::Secret;

/// How long one answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest name of a role (PostgreSQL, "Limits": identifier length), in bytes.
const USER: usize = 63;
/// The longest password, in bytes; tokens of clouds have some thousand.
const PASSWORD: usize = 16 * 1024;

/// The contents of all objects that a resource names.
#[derive(Debug, Default)]
pub(crate) struct ResolvedRefs {
    pub user: String,
    pub password: Option<Secret>,
    /// Authorities, PEM, and where they are, for messages.
    pub ca: Option<(Vec<u8>, String)>,
    /// Client certificate and key, PEM, and where they are.
    pub client: Option<(Vec<u8>, Secret, String)>,
    /// Where metrics of its own are, for messages, and their texts; or what is wrong with one.
    pub metrics: Vec<Result<(String, String), Rejection>>,
}

/// Why the references were not resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveRefsError {
    /// The resource is wrong, or what it names.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The API server did not answer. Says nothing of the resource.
    #[error("{0}")]
    Unavailable(String),
}

/// Fetches it all. `versions` tells what was seen, also when it fails.
///
/// # Errors
/// Something is missing, or the API server does not answer.
pub(crate) async fn resolve(
    client: &Client,
    resource: &PostgresTarget,
    versions: &mut ObjectVersions,
) -> Result<ResolvedRefs, ResolveRefsError> {
    versions.extend(object_refs(resource).into_iter().map(|one| (one, None)));
    let namespace = resource.metadata.namespace.as_deref().unwrap_or_default();
    let mut objects = ReferencedObjects {
        client,
        namespace,
        versions,
        secrets: BTreeMap::new(),
        config_maps: BTreeMap::new(),
    };
    let mut refs = ResolvedRefs::default();
    let credentials = &resource.spec.credentials;
    match (&credentials.secret_ref, &credentials.username) {
        (Some(wanted), None) => {
            let user = objects.secret(&wanted.name, &wanted.username_key).await?;
            let password = objects.secret(&wanted.name, &wanted.password_key).await?;
            // Who writes a Secret with an editor or `base64` often leaves a line-break at its end.
            let line = |text: &Secret| {
                let text = text.expose();
                text.trim_end_matches(['\r', '\n']).to_owned()
            };
            refs.user = line(&decode_text(&wanted.name, &wanted.username_key, user)?);
            let password = decode_text(&wanted.name, &wanted.password_key, password)?;
            refs.password = Some(Secret::new(line(&password)));
            if refs.user.is_empty() {
                return Err(missing_key(&wanted.name, &wanted.username_key).into());
            }
            // A server cuts a longer name, and its messages hold what is left.
            check_length(&refs.user, USER, &wanted.name, &wanted.username_key)?;
            if let Some(password) = &refs.password {
                check_length(
                    password.expose(),
                    PASSWORD,
                    &wanted.name,
                    &wanted.password_key,
                )?;
            }
        }
        (None, Some(user)) => refs.user.clone_from(user),
        _ => {
            return Err(Rejection::new(
                Reason::InvalidSpec,
                "credentials come from one source: give secretRef or username",
            )
            .into());
        }
    }
    for source in &resource.spec.metrics {
        let wanted = &source.config_map_ref;
        let place = format!("ConfigMap {}, key {}", wanted.name, wanted.key);
        refs.metrics
            .push(match objects.config_map(&wanted.name, &wanted.key).await {
                Ok(bytes) => String::from_utf8(bytes)
                    .map_err(|_| {
                        let message =
                            format!("{place} holds bytes that are no text; write it anew");
                        Rejection::new(Reason::InvalidMetrics, message)
                    })
                    .map(|text| (place, text)),
                // Only these metrics are left out.
                Err(ResolveRefsError::Rejected(rejection)) => Err(rejection),
                Err(unavailable) => return Err(unavailable),
            });
    }
    let Some(tls) = &resource.spec.tls else {
        return Ok(refs);
    };
    if let Some(ca) = &tls.ca_ref {
        let (pem, what) = match ca.kind {
            CaKind::Secret => (objects.secret(&ca.name, &ca.key).await?.to_vec(), "Secret"),
            CaKind::ConfigMap => (objects.config_map(&ca.name, &ca.key).await?, "ConfigMap"),
        };
        refs.ca = Some((pem, format!("key {} of {what} {}", ca.key, ca.name)));
    }
    if let Some(wanted) = &tls.client_certificate_secret_ref {
        let chain = objects.secret(&wanted.name, "tls.crt").await?.to_vec();
        let key = objects.secret(&wanted.name, "tls.key").await?;
        let key = decode_text(&wanted.name, "tls.key", key)?;
        refs.client = Some((chain, key, format!("Secret {}", wanted.name)));
    }
    Ok(refs)
}

/// The objects of one namespace, each fetched once.
struct ReferencedObjects<'a> {
    client: &'a Client,
    namespace: &'a str,
    versions: &'a mut ObjectVersions,
    secrets: BTreeMap<String, SecretObject>,
    config_maps: BTreeMap<String, ConfigMap>,
}

/// Wipes what was decoded, all keys of it, and the copy that `kubectl apply` leaves in an
/// annotation.
impl Drop for ReferencedObjects<'_> {
    fn drop(&mut self) {
        for secret in self.secrets.values_mut() {
            for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
                value.0.zeroize();
            }
            let annotations = secret.metadata.annotations.iter_mut();
            for value in annotations.flat_map(BTreeMap::values_mut) {
                value.zeroize();
            }
        }
    }
}

impl ReferencedObjects<'_> {
    async fn secret(
        &mut self,
        name: &str,
        key: &str,
    ) -> Result<Zeroizing<Vec<u8>>, ResolveRefsError> {
        if !self.secrets.contains_key(name) {
            let object: Option<SecretObject> = self.fetch("Secret", name).await?;
            let Some(object) = object else {
                return Err(Rejection::new(
                    Reason::SecretNotFound,
                    format!("there is no Secret {name} in this namespace; create it"),
                )
                .into());
            };
            self.record_version(
                ObjectKind::Secret,
                name,
                object.metadata.resource_version.clone(),
            );
            self.secrets.insert(name.to_owned(), object);
        }
        let data = self.secrets.get(name).and_then(|one| one.data.as_ref());
        match data.and_then(|data| data.get(key)) {
            Some(value) => Ok(Zeroizing::new(value.0.clone())),
            None => Err(missing_key(name, key).into()),
        }
    }

    async fn config_map(&mut self, name: &str, key: &str) -> Result<Vec<u8>, ResolveRefsError> {
        if !self.config_maps.contains_key(name) {
            let object: Option<ConfigMap> = self.fetch("ConfigMap", name).await?;
            let Some(object) = object else {
                return Err(Rejection::new(
                    Reason::ConfigMapNotFound,
                    format!("there is no ConfigMap {name} in this namespace; create it"),
                )
                .into());
            };
            let version = object.metadata.resource_version.clone();
            self.record_version(ObjectKind::ConfigMap, name, version);
            self.config_maps.insert(name.to_owned(), object);
        }
        let object = self.config_maps.get(name);
        let text = object.and_then(|one| one.data.as_ref()?.get(key));
        let bytes = object.and_then(|one| one.binary_data.as_ref()?.get(key));
        text.map(|text| text.clone().into_bytes())
            .or(bytes.map(|bytes| bytes.0.clone()))
            .ok_or_else(|| {
                let message = format!("ConfigMap {name} has no key {key}; add it");
                Rejection::new(Reason::ConfigMapKeyMissing, message).into()
            })
    }

    fn record_version(&mut self, kind: ObjectKind, name: &str, version: Option<String>) {
        let name = name.to_owned();
        self.versions.insert(ObjectRef { kind, name }, version);
    }

    /// `None` when there is none such.
    async fn fetch<K>(&self, kind: &str, name: &str) -> Result<Option<K>, ResolveRefsError>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + DeserializeOwned,
    {
        let unavailable = |why: String| {
            ResolveRefsError::Unavailable(format!("{kind} {name} cannot be read: {why}"))
        };
        let request = Request::new(K::url_path(&(), Some(self.namespace)))
            .get(name, &GetParams::default())
            .map_err(|error| unavailable(error.to_string()))?;
        // As text: the typed way logs a whole answer that it cannot read.
        let answer = tokio::time::timeout(ANSWER, self.client.request_text(request))
            .await
            .map_err(|_| unavailable("the API server does not answer".to_owned()))?;
        let text = match answer {
            Ok(text) => Zeroizing::new(text),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(Rejection::new(
                    Reason::Forbidden,
                    format!(
                        "the exporter may not read {kind} {name}; give its service account the \
                         verb get on it in this namespace"
                    ),
                )
                .into());
            }
            Err(error) => return Err(unavailable(explain_api(&error))),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| unavailable("the answer is damaged".to_owned()))
    }
}

fn check_length(value: &str, most: usize, name: &str, key: &str) -> Result<(), Rejection> {
    if value.len() <= most {
        return Ok(());
    }
    Err(Rejection::new(
        Reason::SecretKeyMissing,
        format!(
            "the key {key} of Secret {name} holds {} bytes, and may have {most}; name another key, or \
             write it anew",
            value.len()
        ),
    ))
}

fn missing_key(name: &str, key: &str) -> Rejection {
    Rejection::new(
        Reason::SecretKeyMissing,
        format!("Secret {name} has no value under the key {key}; add it, or name another key"),
    )
}

fn decode_text(name: &str, key: &str, value: Zeroizing<Vec<u8>>) -> Result<Secret, Rejection> {
    match std::str::from_utf8(&value) {
        Ok(text) if !text.contains('\0') => Ok(Secret::new(text.to_owned())),
        _ => Err(Rejection::new(
            Reason::SecretKeyMissing,
            format!("the key {key} of Secret {name} holds bytes that are no text; write it anew"),
        )),
    }
}
