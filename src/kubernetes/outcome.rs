//! What became of each resource: handed from the controller to the writer of statuses.

use std::sync::Arc;

use super::rejection::Rejection;
use super::resource::PostgresTarget;
use crate::targets::{Target, Tenure};

/// What became of all resources.
#[derive(Clone, Debug, Default)]
pub(super) struct ReconcileOutcomes {
    /// Of those that this pod serves, each with what became of it.
    pub own: Arc<Vec<ReconcileOutcome>>,
    /// How many are served by other pods.
    pub foreign: usize,
    /// How long this holds: nobody writes what is another pod's to say.
    pub tenure: Tenure,
}

/// What became of one generation of a resource.
#[derive(Clone, Debug)]
pub(super) struct ReconcileOutcome {
    /// As it was when it was judged.
    pub resource: Arc<PostgresTarget>,
    /// As it was last seen, with the status that is there.
    pub present: Arc<PostgresTarget>,
    /// It is a Service, which has no status of ours.
    pub service: bool,
    /// Why it is not accepted.
    pub rejection: Option<Rejection>,
    /// What is in the server list for it: without what is wrong, or of an earlier generation, when
    /// this one was refused.
    pub target: Option<Arc<Target>>,
}
