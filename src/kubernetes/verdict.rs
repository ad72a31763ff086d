//! What became of each resource: handed from the controller to the writer of statuses.

use std::sync::Arc;

use super::refusal::Refusal;
use super::resource::PostgresTarget;
use crate::targets::Target;

/// All resources, each with what became of it.
pub(super) type Verdicts = Arc<Vec<Verdict>>;

/// What became of one generation of a resource.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// As it was when it was judged; its status may be older than what was written since.
    pub resource: Arc<PostgresTarget>,
    /// Why it is not accepted.
    pub refusal: Option<Refusal>,
    /// What is in the server list for it: of an earlier generation when this one was refused.
    pub target: Option<Arc<Target>>,
}
