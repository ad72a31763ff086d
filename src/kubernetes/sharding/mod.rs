//! Several pods share the targets: Leases, members, and who owns what.

pub(super) mod lease;
mod membership;
pub(super) mod ownership;
mod rendezvous;
