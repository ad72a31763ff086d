//! The walk through a server's other databases, one after the other over one more connection, so
//! that the server never counts more than two. Each has its turn and its share of the deadline; one
//! that refuses or hangs is left alone for a while.

mod abandoned;
mod one_database;
mod replacement;
pub(super) mod request;
pub(super) mod turns;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use self::abandoned::AbandonedConnection;
use self::abandoned::GONE;
use self::replacement::SessionReplacement;
use self::request::{DatabaseRequest, DatabaseResult, Stopwatch, is_due, miss};
use self::turns::{DatabaseTurns, ShareKind, share};
use super::context::TargetContext;
use super::plan::CollectionPlan;
use super::query_log::QueryLog;
use super::silence::ServerSilence;
use crate::postgres::{Connector, ScheduledQuery, Session};
use crate::scrape::counters::TargetCounters;
use crate::scrape::single_flight::SharedDeadline;
use crate::targets::{DatabaseProblem, MissingDatabase};

/// Walks for one target.
#[derive(Debug)]
pub(crate) struct DatabaseCollection {
    connector: Arc<Connector>,
    context: TargetContext,
    counters: Arc<TargetCounters>,
    /// Sessions that are kept, for those who chose to spend connections on it.
    kept: BTreeMap<String, Session>,
    /// Databases whose last walk came to its end.
    proven: BTreeSet<String>,
    /// A connection that was given up and may still count at the server.
    abandoned: Option<AbandonedConnection>,
    /// Whose turn is next, and which of them are left alone for now.
    pub(crate) turns: DatabaseTurns,
    /// Those that had no turn in the last walk, and why.
    skipped: Vec<MissingDatabase>,
    /// Those that did not answer in the last walk within a share that was too short to judge them by.
    late: Vec<MissingDatabase>,
    /// What may still be done for sessions that end in a walk.
    replacement: SessionReplacement,
    /// That some had no turn was told, and so many walks came to their end since.
    told_skipped: Option<u32>,
    /// Skip the next walk: a backend that was given up may still be there.
    hold: bool,
    /// A limit of one connection leaves none for other databases; that was told.
    told: bool,
    next_session: u64,
    /// When the servers were started that new connections reached, since they were last taken.
    reached: Vec<i64>,
}

/// Ids of these sessions; those of the target's own database count from 1.
const FIRST_ID: u64 = 1 << 32;
/// How long a server may take to close a connection that we closed.
const GOODBYE: Duration = Duration::from_secs(1);
/// After so many whole walks all databases have their turn again.
const WHOLE_WALKS: u32 = 20;
/// After so many databases in a row that refuse, the walk goes on with the next scrape.
const MOST_REFUSALS: usize = 8;

impl DatabaseCollection {
    pub(crate) fn new(
        connector: &Arc<Connector>,
        context: &TargetContext,
        counters: &Arc<TargetCounters>,
    ) -> Self {
        Self {
            connector: Arc::clone(connector),
            context: context.clone(),
            counters: Arc::clone(counters),
            kept: BTreeMap::new(),
            proven: BTreeSet::new(),
            abandoned: None,
            turns: DatabaseTurns::default(),
            skipped: Vec::new(),
            late: Vec::new(),
            replacement: SessionReplacement::default(),
            told_skipped: None,
            hold: false,
            told: false,
            next_session: FIRST_ID,
            reached: Vec::new(),
        }
    }

    /// When the servers were started that new connections have reached, in microseconds of the Unix
    /// epoch, since this was last asked.
    pub(crate) fn take_reached(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.reached)
    }

    /// Ends the sessions that were kept, beside what comes next: the next walk opens others.
    pub(crate) fn close_kept(&mut self) {
        for (_, session) in std::mem::take(&mut self.kept) {
            self.wait_for(tokio::spawn(async move {
                let _ = session.close(GONE).await;
            }));
        }
    }

    /// Leaves the next walk out, if `hold`.
    pub(crate) fn hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// Runs what is due in the other databases. What could not be run shows nothing: old rows would
    /// pass for new.
    pub(crate) async fn collect_due(
        &mut self,
        plan: &mut CollectionPlan,
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) {
        self.turns.retain(|name| plan.others.contains_key(name));
        self.proven.retain(|name| plan.others.contains_key(name));
        let due = plan
            .others
            .iter()
            .filter(|(_, slots)| slots.iter().any(|slot| is_due(slot, request)))
            .map(|(name, _)| name.clone());
        let (due, resting): (Vec<String>, Vec<String>) =
            due.partition(|name| self.turns.may_try(name, request.now));
        for name in &resting {
            if let Some(slots) = plan.others.get_mut(name) {
                miss(slots, request, "the last attempt to query it failed");
            }
        }
        self.late.clear();
        let order = self.turns.order(due);
        let visited = self.collect_in_turn(&order, plan, request, query_log).await;
        query_log.record(plan.others.values_mut().flatten(), false);
        self.skip(&order[visited..], plan, request, query_log);
        let gone: Vec<String> = self
            .kept
            .keys()
            .filter(|name| !plan.others.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(session) = self.kept.remove(&name) {
                self.bid_goodbye(&name, session, GOODBYE).await;
            }
        }
    }

    /// Visits them in that order. Returns how many had their turn.
    async fn collect_in_turn(
        &mut self,
        order: &[String],
        plan: &mut CollectionPlan,
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) -> usize {
        if order.is_empty() || !self.may_walk(request.deadline).await {
            return 0;
        }
        let mut refusals = 0;
        self.replacement.of_broken = true;
        for (at, name) in order.iter().enumerate() {
            let left = order.len() - at;
            let (now, end) = (Instant::now(), request.deadline.at());
            let Some(until) = share(now, end, left) else {
                return at;
            };
            let Some(slots) = plan.others.get_mut(name) else {
                continue;
            };
            let deadline = SharedDeadline::fixed(until);
            let request = DatabaseRequest {
                deadline: &deadline,
                share: ShareKind::from_share(now, until, end),
                ..request
            };
            self.replacement.of_visit = true;
            let mut result = self
                .collect_database(name, slots, request, query_log, None)
                .await;
            if self.replacement.take_due() {
                for slot in slots.iter_mut().filter(|slot| slot.is_lost()) {
                    slot.take_fresh();
                }
                result = self
                    .collect_database(name, slots, request, query_log, None)
                    .await;
            }
            if result != DatabaseResult::NoPlace {
                self.turns.visited(name);
            }
            refusals = match result {
                DatabaseResult::Answered => 0,
                DatabaseResult::Failed => refusals + 1,
                DatabaseResult::OtherServer => refusals,
                DatabaseResult::NoPlace => return at,
                DatabaseResult::ServerFailed => return at + 1,
            };
            // What so many have in common is the server's, and not worth an attempt for each.
            if refusals >= MOST_REFUSALS || !self.abandoned_is_gone().await {
                return at + 1;
            }
        }
        order.len()
    }

    /// Those that had no turn show nothing; that is told when it begins and when it is over.
    fn skip(
        &mut self,
        names: &[String],
        plan: &mut CollectionPlan,
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) {
        let message = match &self.abandoned {
            _ if self.context.limiter.is_for_one() => {
                "max_connections = 1 leaves no connection for it".to_owned()
            }
            Some(abandoned) => format!(
                "the connection to database {} does not close",
                abandoned.database
            ),
            None => DatabaseProblem::NoTurn.explain().to_owned(),
        };
        let problem = match self.context.limiter.is_for_one() {
            true => DatabaseProblem::ConnectionLimit,
            false => DatabaseProblem::NoTurn,
        };
        for name in names {
            if let Some(slots) = plan.others.get_mut(name) {
                query_log.record_missed(slots.iter().filter(|slot| is_due(slot, request)), problem);
                miss(slots, request, &message);
            }
        }
        if problem == DatabaseProblem::NoTurn {
            self.tell_skipped(names, &message);
        }
        let missing = |name: &String| MissingDatabase {
            name: name.clone(),
            problem,
            message: message.clone(),
        };
        let named = names.iter().take(MissingDatabase::MOST_NAMED);
        self.skipped = named.map(missing).collect();
    }

    fn tell_skipped(&mut self, names: &[String], message: &str) {
        let server = &self.connector.target.name;
        self.told_skipped = match (self.told_skipped, names.first()) {
            (None, Some(first)) => {
                warn!(
                    server = %server,
                    "no samples of {} of its databases in this scrape, {first} among them: \
                     {message}; the next scrape begins with them. Raise the scrape timeout or \
                     exclude databases",
                    names.len()
                );
                Some(0)
            }
            (Some(_), Some(_)) => Some(0),
            // A walk with little to do says little.
            (Some(whole), None) if whole < WHOLE_WALKS => Some(whole + 1),
            (Some(_), None) => {
                info!(server = %server, "all of its databases are collected again");
                None
            }
            (None, None) => None,
        };
    }

    /// Databases whose metrics are missing, beside those that are closed.
    pub(crate) fn missing(&self) -> impl Iterator<Item = MissingDatabase> {
        let in_last_walk = self.skipped.iter().chain(&self.late);
        self.turns.failed().chain(in_last_walk.cloned())
    }

    /// Runs everything in one other database, query by query.
    pub(crate) async fn profile(
        &mut self,
        database: &str,
        slots: &mut [ScheduledQuery],
        request: DatabaseRequest<'_>,
        query_log: &mut QueryLog,
    ) -> Stopwatch {
        let mut watch = Stopwatch::default();
        slots.iter_mut().for_each(ScheduledQuery::make_due);
        if self.may_walk(request.deadline).await {
            self.collect_database(database, slots, request, query_log, Some(&mut watch))
                .await;
        } else {
            miss(slots, request, "not asked in time");
        }
        query_log.record(slots.iter_mut(), false);
        watch
    }

    async fn may_walk(&mut self, deadline: &SharedDeadline) -> bool {
        if self.context.limiter.is_for_one() {
            if !std::mem::replace(&mut self.told, true) {
                warn!(
                    server = %self.connector.target.name,
                    "max_connections = 1 leaves no connection for its other databases; raise it"
                );
            }
            return false;
        }
        if std::mem::take(&mut self.hold) {
            return false;
        }
        !deadline.is_over() && self.abandoned_is_gone().await
    }

    async fn bid_goodbye(&mut self, database: &str, session: Session, left: Duration) {
        if let Err(abandoned) = session.close(left.min(GOODBYE)).await {
            self.abandoned = Some(AbandonedConnection {
                closed: abandoned,
                database: database.to_owned(),
                login_port: None,
                silence: ServerSilence::default(),
            });
        }
    }

    /// Ends the sessions that were kept.
    pub(crate) async fn close(&mut self) {
        self.close_kept();
        if let Some(abandoned) = self.abandoned.take() {
            // Whoever takes the target over now begins with the server as it is.
            let _ = timeout(GOODBYE, abandoned.closed).await;
        }
    }
}
