//! What is told of resources: their status, its conditions, and events.

pub(super) mod conditions;
pub(super) mod events;
pub(super) mod progress;
pub(super) mod status;
mod write_limiter;
