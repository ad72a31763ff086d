//! From the start of a reconcile to its outcome, which the controller hands to the writer of statuses.

use std::sync::Arc;
use std::time::Duration;

use super::resolve::ResolveRefsError;
use super::validate::Validated;
use crate::kubernetes::api::{
    ObjectVersions, PostgresTarget, Rejection, RejectionReason, ResourceKey,
};
use crate::targets::{OwnershipTerm, Target};

/// A reconcile that starts.
pub(crate) struct StartedReconcile {
    pub key: ResourceKey,
    /// The number of the reconcile, which no other one has.
    pub revision: u64,
    pub resource: Arc<PostgresTarget>,
}

/// The result of a reconcile.
pub(crate) struct ResolvedResource {
    pub started: StartedReconcile,
    /// The versions of the objects that were read.
    pub versions: ObjectVersions,
    pub result: Result<Validated, ResolveRefsError>,
    /// How long the reconcile took, and how long of it a processor was busy.
    pub took: Duration,
    pub busy: Duration,
}

/// What came of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReconcileResult {
    Accepted,
    Paused,
    Rejected(RejectionReason),
    /// The API server did not answer.
    Unavailable,
}

impl ReconcileResult {
    pub(crate) const WORDS: [&'static str; 4] = ["accepted", "paused", "refused", "unavailable"];

    /// Of an outcome; `None` is that of a resource that is paused.
    pub(crate) fn from_outcome(outcome: &Option<Result<Validated, Rejection>>) -> Self {
        match outcome {
            None => ReconcileResult::Paused,
            Some(Ok(validated)) => match &validated.left_out {
                None => ReconcileResult::Accepted,
                Some(rejection) => ReconcileResult::Rejected(rejection.reason),
            },
            Some(Err(rejection)) => ReconcileResult::Rejected(rejection.reason),
        }
    }

    /// The place of its word.
    pub(crate) fn label_index(self) -> usize {
        match self {
            ReconcileResult::Accepted => 0,
            ReconcileResult::Paused => 1,
            ReconcileResult::Rejected(_) => 2,
            ReconcileResult::Unavailable => 3,
        }
    }
}

/// The outcomes of all resources.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReconcileOutcomes {
    /// Those of the resources that this pod owns.
    pub own: Arc<Vec<ReconcileOutcome>>,
    /// How many resources other pods own.
    pub foreign: usize,
    /// How long this pod owns them. After that it writes no status: the new owner does.
    pub tenure: OwnershipTerm,
}

/// The outcome of the last reconcile of a resource.
#[derive(Clone, Debug)]
pub(crate) struct ReconcileOutcome {
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
