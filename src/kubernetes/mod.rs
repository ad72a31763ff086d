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
//! watch ConfigMap (metadata) ──┤     ▲      └─► outcomes ─────────────► status, events
//! watch Service (metadata) ────┘     └─ Leases: which targets are this pod's
//! ```

mod api;
mod client;
mod controller;
mod index;
mod metrics;
mod publish;
mod queue;
mod reconcile;
mod settings;
mod sharding;
mod source;
mod start;

pub use api::resource::{
    CaKind, CaRef, Collectors, ConfigMapKey, Credentials, CredentialsSecret, Databases,
    MetricsSource, PostgresTarget, PostgresTargetSpec, PostgresTargetStatus, SecretName,
    TargetTimeouts, TargetTlsMode, Tls, crd_yaml,
};
pub use client::{explain_api, explain_chain, explain_kubeconfig};
pub use controller::ControllerContext;
pub use metrics::FAMILIES;
pub use publish::progress::ControllerProgress;
pub use settings::{ControllerOptions, KubernetesSettings};
pub use start::{KubernetesError, StartedController, start};
