//! Which queries one server runs.

use std::sync::Arc;

use super::{Catalog, Metric, Query, Side, Version};
use crate::model::{NEWEST_MAJOR, Role, ServerVersion};

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The server's version.
    pub version: ServerVersion,
    /// Its role.
    pub role: Role,
    /// Installed extensions with their versions.
    pub extensions: &'a [(String, String)],
    /// Only these collectors; empty is all.
    pub include: &'a [String],
    /// Not these.
    pub exclude: &'a [String],
    /// Only these extensions; `None` is all that are installed.
    pub wanted_extensions: Option<&'a [String]>,
}

/// A metric and which of its alternatives runs.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The metric.
    pub metric: Arc<Metric>,
    /// Index into its queries.
    pub at: usize,
}

impl Chosen {
    /// The query to send.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.metric.queries[self.at]
    }
}

impl Catalog {
    /// The queries that such a server runs, in the catalogue's order. A server newer than the
    /// catalogue runs what the newest version in it runs.
    #[must_use]
    pub fn choose(&self, choice: Choice<'_>) -> Vec<Chosen> {
        self.metrics
            .iter()
            .filter_map(|metric| chosen(metric, choice))
            .collect()
    }
}

fn chosen(metric: &Arc<Metric>, choice: Choice<'_>) -> Option<Chosen> {
    let side = match metric.side {
        Side::Both => true,
        Side::Primary => choice.role == Role::Primary,
        Side::Replica => choice.role == Role::Replica,
    };
    let listed = |list: &[String]| list.contains(&metric.collector);
    if !side || listed(choice.exclude) || (!choice.include.is_empty() && !listed(choice.include)) {
        return None;
    }
    let major = choice.version.major().min(NEWEST_MAJOR);
    if metric.until.is_some_and(|until| major > until) {
        return None;
    }
    let version = match &metric.extension {
        None => Version(vec![major]),
        Some(name) => {
            if choice
                .wanted_extensions
                .is_some_and(|wanted| !wanted.contains(name))
            {
                return None;
            }
            let (_, version) = choice.extensions.iter().find(|(have, _)| have == name)?;
            Version::parse(version)?
        }
    };
    let at = metric
        .queries
        .iter()
        .rposition(|query| query.version <= version)?;
    Some(Chosen {
        metric: Arc::clone(metric),
        at,
    })
}
