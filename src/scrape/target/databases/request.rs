//! What is asked of a server's other databases, and how that ended.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::turns::ShareKind;
use crate::postgres::{Mode, QueryContext, QueryError, ScheduledQuery, ServerIdentity};
use crate::scrape::single_flight::SharedDeadline;

/// What is asked of the other databases.
#[derive(Clone, Copy, Debug)]
pub(in crate::scrape) struct DatabaseRequest<'a> {
    /// How the target's own session sends its queries.
    pub mode: &'a Mode,
    /// The server that the target's own session reached.
    pub server: ServerIdentity,
    /// Connections that may be made until one reaches that server, at least 1.
    pub tries: u32,
    /// When it was decided what is due.
    pub now: Instant,
    /// Overrides the catalogue's intervals.
    pub interval: Option<Duration>,
    pub shared: QueryContext<'a>,
    pub deadline: &'a SharedDeadline,
    /// What it says of a database that does not answer by that deadline.
    pub share: ShareKind,
}

/// What one database took, query by query: they run one after the other then.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Stopwatch {
    /// Until a new connection was there.
    pub connect: Option<Duration>,
    /// The queries that ran, by their place among the slots.
    pub runs: BTreeMap<usize, Duration>,
}

/// How asking one database ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scrape) enum DatabaseResult {
    /// It answered, all of it or in part.
    Answered,
    /// This database could not be asked; another one may be.
    Failed,
    /// The server cannot be reached: no other database can be asked either.
    ServerFailed,
    /// The exporter has no connection left for it.
    NoPlace,
    /// The connection reached another server than the target's session: nothing of it is shown.
    OtherServer,
}

/// Whether a query is to run now.
pub(in crate::scrape) fn is_due(slot: &ScheduledQuery, request: DatabaseRequest<'_>) -> bool {
    !slot.is_fresh() && slot.is_due(request.now, request.interval)
}

/// What is due in a database that is not asked shows nothing.
pub(in crate::scrape) fn miss(
    slots: &mut [ScheduledQuery],
    request: DatabaseRequest<'_>,
    why: &str,
) {
    for slot in slots.iter_mut().filter(|slot| is_due(slot, request)) {
        slot.miss(QueryError::Deadline(why.to_owned()));
    }
}
