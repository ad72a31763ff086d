//! Where targets come from: watches of resources and of annotated Services, and what their events change.

pub(super) mod event_handler;
pub(super) mod relist;
mod services;
pub(super) mod watch_states;
pub(super) mod watches;
