//! What the overview page shows.

use crate::model::Kind;
use crate::targets::ServerReport;

/// All that a person wants to see at a glance.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The servers, in the order of the list.
    pub servers: Vec<ServerReport>,
    /// Every family that may appear, sorted by name.
    pub families: Vec<FamilyOverview>,
    /// What a person should know of all servers together, one sentence each.
    pub notices: Vec<String>,
}

/// One family.
#[derive(Clone, Debug)]
pub struct FamilyOverview {
    /// Full name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// What it measures.
    pub help: String,
    /// The collector that brings it.
    pub collector: String,
}
