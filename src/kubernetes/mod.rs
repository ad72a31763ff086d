//! The controller: `PostgresTarget` resources become servers of the shared list.
//!
//! In go events of the API server; out come targets, through the
//! [`Publisher`](crate::targets::Publisher), and the status of each resource. A reconcile is a
//! pipeline, one file each: `resolve` (fetches what a resource names) → `validate` (pure) →
//! publish → `status`. A resource that is wrong gets a condition and an event, and holds up no
//! other. The floors above see targets, never resources.
//!
//! ```text
//! watch PostgresTarget ────────┐            ┌─► Publisher ─► scrape ─► HealthBoard ─┐
//! watch Secret (metadata) ─────┼► controller┤                                       ▼
//! watch ConfigMap (metadata) ──┤     ▲      └─► verdicts ─────────────► status, events
//! watch Service (metadata) ────┘     └─ Leases: which targets are this pod's
//! ```

mod beside;
mod client;
mod conditions;
mod controller;
mod discover;
mod divide;
mod entry;
mod host;
mod labels;
mod lease;
mod members;
mod metrics;
mod pace;
mod places;
mod queue;
mod record;
mod refusal;
mod registry;
mod relist;
mod resolve;
mod resource;
mod schema;
mod see;
mod settings;
mod settle;
mod shards;
mod start;
mod status;
mod validate;
mod verdict;
mod watches;

pub use client::{explain_api, explain_chain, explain_kubeconfig};
pub use controller::{Control, Progress};
pub use metrics::FAMILIES;
pub use resource::{
    CaKind, CaRef, Collectors, ConfigMapKey, Credentials, CredentialsSecret, Databases,
    MetricsSource, Mode, PostgresTarget, PostgresTargetSpec, PostgresTargetStatus, SecretName,
    TargetTimeouts, Tls, crd_yaml,
};
pub use settings::{Options, Settings};
pub use start::{KubernetesError, Started, start};
