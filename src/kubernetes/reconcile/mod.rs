//! A reconcile: resolve (fetches what a resource names) → validate (pure) → admit (beside the other
//! resources) → outcome.

pub(super) mod admit;
mod host;
pub(super) mod outcome;
pub(super) mod pipeline;
pub(super) mod resolve;
pub(super) mod validate;
