//! The API: `PostgresTarget` and its schema, what identifies a resource, and why one is rejected.

mod key;
mod labels;
mod object_refs;
mod rejection;
pub(super) mod resource;
mod schema;

pub(super) use key::{ResourceKey, ResourceSource, server_name};
pub(super) use labels::{CatalogLabels, NAMESPACE, find_label_problem, is_of_prometheus};
pub(super) use object_refs::{ObjectKind, ObjectRef, ObjectVersions, object_refs};
pub(super) use rejection::{Rejection, RejectionReason};
pub(super) use resource::{PostgresTarget, PostgresTargetStatus};
