//! What the overview page shows.

use crate::model::Kind;
use crate::targets::HealthReport;

/// All that a person wants to see at a glance.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The servers, in the order of the list.
    pub servers: Vec<ServerOverview>,
    /// Every family that may appear, sorted by name.
    pub families: Vec<FamilyOverview>,
    /// What a person should know of all servers together, one sentence each.
    pub notices: Vec<String>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerOverview {
    /// The value of the label `server`.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Where it came from: `file` or `kubernetes`.
    pub origin: &'static str,
    /// How it is.
    pub health: HealthReport,
    /// Connections that were made to it.
    pub connections: u64,
    /// Collections that brought nothing for the reason of its last error.
    pub failures: u64,
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
