//! `PostgresTarget` of `pgexporter.io/v1alpha1`: its types are its schema, and the comments on its
//! fields are what `kubectl explain` shows.

// The derive makes copies of the types inside of functions.
#![allow(unreachable_pub)]
// Each printer column has a name and a type.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A PostgreSQL server to scrape.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "pgexporter.io",
    version = "v1alpha1",
    kind = "PostgresTarget",
    plural = "postgrestargets",
    namespaced,
    shortname = "pgt",
    category = "monitoring",
    status = "PostgresTargetStatus",
    derive = "PartialEq",
    doc = "A PostgreSQL server that pgexporter scrapes.",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "Port", type_ = "integer", json_path = ".spec.port"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#,
        description = "Whether the resource is in order."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether it is scraped as it asks."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is scraped or not.",
        priority = 1
    ),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Owner",
        type_ = "string",
        json_path = ".status.owner",
        description = "The pod that scrapes it."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.tls) || (has(self.tls.mode) ? self.tls.mode != 'verify-full' : !has(self.tls.caRef)) || has(self.tls.serverName) || !self.host.matches('^([0-9.]+|.*:.*)$')"
).message(
    "verify-full has no name to verify, because host is an address: give tls.serverName, the name in the server's certificate"
))]
pub struct PostgresTargetSpec {
    /// DNS name or address of the server, without a port; a path or a socket is refused.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$') || self.matches('^[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*$')"
    ).message(
        "host takes a DNS name or an address alone: no path, no user@, no port (that is spec.port), no brackets"
    ))]
    pub host: String,
    /// TCP port of the server.
    #[serde(default = "default_port")]
    #[schemars(schema_with = "super::schema::port")]
    pub port: u16,
    /// The database where the session lives.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Who logs in. The role needs pg_monitor, and nothing more.
    pub credentials: Credentials,
    /// The ways of authentication that the server may ask for, as libpq's require_auth: of
    /// scram-sha-256, md5, password and none a list with commas between, or each with a ! before
    /// it for all others. Without it all are taken, but a password in the clear only where the
    /// server's certificate was verified, and nothing less than scram-sha-256 once the server has
    /// used that; what is named here is taken all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::require_auth")]
    pub require_auth: Option<String>,
    /// Whether and how TLS is spoken to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The databases that metrics of single databases are asked in.
    #[serde(default)]
    pub databases: Databases,
    /// The collectors that run.
    #[serde(default)]
    pub collectors: Collectors,
    /// The extensions whose metrics are asked for. Without it those that are installed in the
    /// database; an empty list is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::extensions")]
    pub extensions: Option<Vec<String>>,
    /// Metrics of your own, in the YAML or JSON that pgexporter's files of metrics have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<MetricsSource>,
    /// Labels on every sample of this server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// How long each step may take. The exporter's own limits stay the upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TargetTimeouts>,
    /// The most samples of a scrape. Families that would exceed it are left out whole, and the
    /// condition Ready says which.
    #[serde(default = "default_sample_limit")]
    #[schemars(schema_with = "super::schema::sample_limit")]
    pub sample_limit: u32,
    /// The most bytes that the samples of a scrape may take, as text of /metrics. Families that
    /// would exceed it are left out whole, and the condition Ready says which. Without it, and at
    /// most, what target_bytes_limit of the exporter says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::bytes_limit")]
    pub bytes_limit: Option<u32>,
    /// Not scraped while it is true; the resource is kept.
    #[serde(default)]
    pub paused: bool,
}

/// Who logs in.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.username)").message(
    "credentials come from one source: give secretRef, or username for a role that needs no password"
))]
pub struct Credentials {
    /// A Secret of the same namespace with the user's name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<CredentialsSecret>,
    /// The role's name, where the server asks for no password: it is known by its client
    /// certificate, or trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub username: Option<String>,
}

/// A Secret with a user's name and password.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// Name of the Secret.
    #[schemars(schema_with = "super::schema::object_name")]
    pub name: String,
    /// The key of the user's name.
    #[serde(default = "default_username_key")]
    #[schemars(schema_with = "super::schema::data_key")]
    pub username_key: String,
    /// The key of the password.
    #[serde(default = "default_password_key")]
    #[schemars(schema_with = "super::schema::data_key")]
    pub password_key: String,
}

/// Whether and how TLS is spoken.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.mode) || self.mode != 'disable' || !(has(self.caRef) || has(self.clientCertificateSecretRef) || has(self.serverName))"
).message(
    "mode disable speaks no TLS: leave caRef, clientCertificateSecretRef and serverName out, or choose another mode"
))]
#[x_kube(validation = Rule::new(
    "!has(self.serverName) || (has(self.mode) ? self.mode == 'verify-full' : has(self.caRef))"
).message(
    "serverName is checked with mode verify-full alone: set that mode, or leave serverName out"
))]
pub struct Tls {
    /// How strict, as libpq's sslmode: disable, prefer, require, verify-ca, verify-full. Without
    /// it verify-full when caRef is given, else prefer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TargetTlsMode>,
    /// The authorities that the server's certificate must come from, PEM; without it those of the
    /// exporter's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// A Secret of type kubernetes.io/tls with the certificate and key to log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<SecretName>,
    /// The name that the server's certificate must have, instead of host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_:]([A-Za-z0-9_.:-]*[A-Za-z0-9_.:])?$')").message(
        "serverName takes a DNS name or an address"
    ))]
    pub server_name: Option<String>,
}

/// How strict TLS is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum TargetTlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where authorities are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap or Secret.
    #[serde(default = "default_ca_kind")]
    pub kind: CaKind,
    /// Name of the object, in the same namespace.
    #[schemars(schema_with = "super::schema::object_name")]
    pub name: String,
    /// The key in it.
    #[serde(default = "default_ca_key")]
    #[schemars(schema_with = "super::schema::data_key")]
    pub key: String,
}

/// What holds authorities.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum CaKind {
    ConfigMap,
    Secret,
}

/// Where metrics of your own are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsSource {
    /// A ConfigMap of the same namespace.
    pub config_map_ref: ConfigMapKey,
}

/// A key of a ConfigMap of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(schema_with = "super::schema::object_name")]
    pub name: String,
    /// The key in it; JSON where it ends in .json, else YAML.
    #[serde(default = "default_metrics_key")]
    #[schemars(schema_with = "super::schema::data_key")]
    pub key: String,
}

/// A Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Name of the Secret.
    #[schemars(schema_with = "super::schema::object_name")]
    pub name: String,
}

/// Databases by patterns.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Databases {
    /// Patterns with * and ?, of which one must match.
    #[serde(default = "all_databases")]
    #[schemars(schema_with = "super::schema::patterns")]
    pub include: Vec<String>,
    /// Patterns with * and ?, of which none may match.
    #[serde(default = "no_databases")]
    #[schemars(schema_with = "super::schema::patterns")]
    pub exclude: Vec<String>,
}

impl Default for Databases {
    fn default() -> Self {
        Self {
            include: all_databases(),
            exclude: no_databases(),
        }
    }
}

/// Collectors by name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collectors {
    /// Only these; empty is those that the exporter runs.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::names")]
    pub include: Vec<String>,
    /// Not these.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::names")]
    pub exclude: Vec<String>,
}

/// How long each step may take: a number with ms, s or m.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTimeouts {
    /// From the first packet to a session that is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::duration")]
    pub connect: Option<String>,
    /// A query: statement_timeout of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::duration")]
    pub query: Option<String>,
    /// Waiting for a lock: lock_timeout of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::duration")]
    pub lock: Option<String>,
}

/// How the server is, as the exporter last saw it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTargetStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the label `server` on its samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Version of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// primary or replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The pod that scrapes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Families with samples in the last scrape, as of the last change of anything else here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<u32>,
    /// Samples of the last scrape, as of the last change of anything else here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
    /// When it was last scraped, as of the last change of anything else here: it is not written
    /// for its own sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::time")]
    pub last_scrape_time: Option<Time>,
    /// Accepted: the resource is in order. Ready: it is in effect, and the server answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

pub(crate) fn default_port() -> u16 {
    5432
}

pub(crate) fn default_database() -> String {
    "postgres".to_owned()
}

pub(crate) fn default_username_key() -> String {
    "username".to_owned()
}

pub(crate) fn default_password_key() -> String {
    "password".to_owned()
}

fn default_ca_kind() -> CaKind {
    CaKind::ConfigMap
}

fn default_metrics_key() -> String {
    "queries.yaml".to_owned()
}

/// `sampleLimit` where none is given.
pub(crate) fn default_sample_limit() -> u32 {
    50_000
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn all_databases() -> Vec<String> {
    vec!["*".to_owned()]
}

fn no_databases() -> Vec<String> {
    vec!["template*".to_owned()]
}

/// The resource definition as YAML, for `crds/`.
///
/// # Errors
/// When the types make none, which a test rules out.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    let yaml = serde_yaml::to_string(&PostgresTarget::crd())?;
    Ok(format!(
        "# Generated from src/kubernetes/api/resource.rs by `make docs`. Do not edit.\n{yaml}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_definition_in_crds_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/postgrestargets.yaml");
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == crd_yaml().unwrap(), "run make docs");
    }

    #[test]
    fn every_field_of_a_target_is_explained() {
        fn look(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
            let Some(fields) = schema["properties"].as_object() else {
                return;
            };
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                if field["description"].as_str().is_none_or(str::is_empty) {
                    bare.push(path.clone());
                }
                look(&path, field, bare);
                look(&path, &field["items"], bare);
            }
        }
        let crd = serde_json::to_value(PostgresTarget::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut bare = Vec::new();
        look("spec", &schema["properties"]["spec"], &mut bare);
        look("status", &schema["properties"]["status"], &mut bare);
        assert_eq!(bare, Vec::<String>::new());
    }
}
