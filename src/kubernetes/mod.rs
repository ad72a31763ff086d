//! The controller: `PostgresTarget` resources become servers of the shared list.
//!
//! In go events of the API server; out come targets, through the
//! [`Publisher`](crate::targets::Publisher), and the status of each resource. A reconcile is a
//! pipeline, one file each: `resolve` (fetches what a resource names) → `validate` (pure) →
//! publish → `status`. A resource that is wrong gets a condition and holds up no other. The floors
//! above see targets, never resources.
//!
//! ```text
//! watch PostgresTarget ────────┐            ┌─► Publisher ─► scrape ─► HealthBoard ─┐
//! watch Secret (metadata) ─────┼► controller┤                                       ▼
//! watch ConfigMap (metadata) ──┘            └─► verdicts ────────────────────────► status
//! ```

mod controller;
mod entry;
mod events;
mod refusal;
mod resolve;
mod resource;
mod schema;
mod settings;
mod status;
mod validate;
mod verdict;

pub use controller::{Control, KubernetesError, start};
pub use resource::{
    CaKind, CaRef, Collectors, Credentials, CredentialsSecret, Databases, Mode, PostgresTarget,
    PostgresTargetSpec, PostgresTargetStatus, SecretName, TargetTimeouts, Tls, crd_yaml,
};
pub use settings::{Options, Settings};
