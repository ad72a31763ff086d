//! The API: `PostgresTarget` and its schema, what identifies a resource, and why one is rejected.

pub(super) mod key;
pub(super) mod labels;
pub(super) mod object_refs;
pub(super) mod rejection;
pub(super) mod resource;
mod schema;
