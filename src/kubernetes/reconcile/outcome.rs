//! The outcome of reconciles, which the controller hands to the writer of statuses.

use std::sync::Arc;

use crate::kubernetes::api::rejection::Rejection;
use crate::kubernetes::api::resource::PostgresTarget;
use crate::targets::{OwnershipTerm, Target};

/// The outcomes of all resources.
#[derive(Clone, Debug, Default)]
pub(in crate::kubernetes) struct ReconcileOutcomes {
    /// Those of the resources that this pod owns.
    pub own: Arc<Vec<ReconcileOutcome>>,
    /// How many resources other pods own.
    pub foreign: usize,
    /// How long this pod owns them. After that it writes no status: the new owner does.
    pub tenure: OwnershipTerm,
}

/// The outcome of the last reconcile of a resource.
#[derive(Clone, Debug)]
pub(in crate::kubernetes) struct ReconcileOutcome {
    /// The resource that was reconciled.
    pub resource: Arc<PostgresTarget>,
    /// The resource as it was seen last, with its present status.
    pub present: Arc<PostgresTarget>,
    /// It is a Service, which has no status that we could write.
    pub service: bool,
    /// Why it, or a part of it, was rejected.
    pub rejection: Option<Rejection>,
    /// The target that is served: without the parts that were rejected, or that of an earlier
    /// generation when this one was rejected.
    pub target: Option<Arc<Target>>,
}
