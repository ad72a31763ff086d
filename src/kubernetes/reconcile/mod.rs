//! A reconcile: resolve (fetches what a resource names) → validate (pure) → admit (beside the other
//! resources) → outcome.

pub(super) mod admit;
pub(super) mod families;
pub(super) mod family_registry;
mod host;
pub(super) mod outcome;
pub(super) mod resolve;
pub(super) mod validate;
pub(super) mod validation_pool;
