//! One target: what is due, one collection of it, and the task that owns its sessions.

pub(super) mod attempt;
pub(super) mod backoff;
pub(super) mod collection;
pub(super) mod connect_queue;
pub(super) mod context;
pub(super) mod databases;
pub(super) mod driver;
pub(super) mod duplicates;
pub(super) mod event;
pub(super) mod identity;
pub(super) mod machine;
pub(super) mod plan;
pub(super) mod query_log;
pub(super) mod reported;
pub(super) mod session_guard;
pub(super) mod silence;
pub(super) mod task;
