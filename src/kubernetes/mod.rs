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

mod client;
mod conditions;
mod controller;
mod discover;
mod event_handler;
mod events;
mod families;
mod family_registry;
mod host;
mod index;
mod labels;
mod lease;
mod membership;
mod metrics;
mod outcome;
mod ownership;
mod queue;
mod quota;
mod rejection;
mod relist;
mod rendezvous;
mod resolve;
mod resource;
mod schema;
mod settings;
mod start;
mod status;
mod validate;
mod validation_pool;
mod watches;
mod write_limiter;

pub use client::{explain_api, explain_chain, explain_kubeconfig};
pub use controller::{ControllerContext, ControllerProgress};
pub use metrics::FAMILIES;
pub use resource::{
    CaKind, CaRef, Collectors, ConfigMapKey, Credentials, CredentialsSecret, Databases,
    MetricsSource, PostgresTarget, PostgresTargetSpec, PostgresTargetStatus, SecretName,
    TargetTimeouts, TargetTlsMode, Tls, crd_yaml,
};
pub use settings::{ControllerOptions, KubernetesSettings};
pub use start::{KubernetesError, StartedController, start};
