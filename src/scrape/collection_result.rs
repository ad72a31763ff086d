//! What one collection of one target brought.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::postgres::{QuerySamples, ServerInfo, SettingsSamples};
use crate::targets::{LeftOut, MissingDatabase, Target, TargetError};

use super::counters::TargetCounters;

/// Samples of a target, or its trouble.
#[derive(Debug)]
pub(super) struct CollectionResult {
    pub target: Arc<Target>,
    /// What the indexes in `queries` refer to.
    pub catalog: Arc<Catalog>,
    pub queries: Vec<Arc<QuerySamples>>,
    pub settings: Option<Arc<SettingsSamples>>,
    pub facts: Option<ServerInfo>,
    /// `None`: it answered.
    pub trouble: Option<TargetError>,
    /// Collectors that the role has no right to, sorted.
    pub denied: Vec<String>,
    /// What the role may do beside reading.
    pub excess_rights: Vec<String>,
    /// Databases whose metrics are missing, sorted by name; not more than are named.
    pub missing: Vec<MissingDatabase>,
    /// Collectors that are left out because the target has too many samples or bytes, sorted.
    pub left_out: Vec<LeftOut>,
    pub duration: Duration,
    pub counters: Arc<TargetCounters>,
}

impl CollectionResult {
    /// Whether it answered.
    pub(super) fn active(&self) -> bool {
        self.trouble.is_none()
    }

    /// What is kept of its samples, in bytes.
    pub(super) fn size(&self) -> usize {
        self.queries.iter().map(|query| query.size()).sum::<usize>()
            + self.settings.as_ref().map_or(0, |settings| settings.size())
    }
}
