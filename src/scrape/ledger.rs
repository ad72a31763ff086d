//! What came of each query: counted every time, told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::counters::{Counters, QueryFailure, TargetCounters};
use super::plan::Plan;
use crate::catalog::SETTINGS;
use crate::postgres::{Outcome, QueryError, Slot};
use crate::targets::{DatabaseProblem, MissingDatabase, Target, Trouble};

/// The book of one target.
#[derive(Debug)]
pub(super) struct Ledger {
    target: Arc<Target>,
    counters: Arc<Counters>,
    target_counters: Arc<TargetCounters>,
    /// Databases and tags whose failure is in the log already.
    told: BTreeSet<(String, String)>,
    /// Collectors that the role has no right to, sorted.
    denied: Vec<String>,
    /// Collectors that are left out for want of room, sorted.
    left_out: Vec<String>,
    /// Databases that `pg_database` says are closed to the role.
    closed: Vec<MissingDatabase>,
}

impl Ledger {
    pub(super) fn new(
        target: &Arc<Target>,
        counters: &Arc<Counters>,
        target_counters: &Arc<TargetCounters>,
    ) -> Self {
        Self {
            target: Arc::clone(target),
            counters: Arc::clone(counters),
            target_counters: Arc::clone(target_counters),
            told: BTreeSet::new(),
            denied: Vec::new(),
            left_out: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Enters each slot that ran. Returns the trouble of the session, if one of them lost it. Where
    /// the whole target is in trouble (`quiet`), its queries are counted and not told.
    pub(super) fn enter<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a mut Slot>,
        quiet: bool,
    ) -> Option<Trouble> {
        let mut trouble = None;
        for slot in slots {
            if !slot.take_fresh() {
                continue;
            }
            slot.cut_off();
            self.counters.executions.add(1);
            let metric = &slot.chosen.metric;
            let (database, tag) = (slot.database(), metric.tag.as_str());
            if let Outcome::Failed(error) = &slot.outcome {
                let failure = QueryFailure::of(error);
                let allowed = metric.optional && failure == QueryFailure::Error;
                // A server that is in trouble as a whole is counted as such.
                if !quiet && !allowed {
                    self.target_counters.fail_query(&metric.collector, failure);
                }
            }
            match &slot.outcome {
                Outcome::Failed(QueryError::Lost(message, reason)) => {
                    trouble.get_or_insert(Trouble {
                        reason: *reason,
                        message: message.clone(),
                    });
                }
                Outcome::Failed(
                    QueryError::Timeout(message)
                    | QueryError::LockTimeout(message)
                    | QueryError::Deadline(message),
                ) => {
                    self.counters.timeouts.add(1);
                    if !quiet {
                        self.tell(database, tag, message);
                    }
                }
                Outcome::Failed(error @ (QueryError::Server(_) | QueryError::Shape { .. })) => {
                    if !metric.optional {
                        self.counters.errors.add(1);
                        self.tell(database, tag, &error.to_string());
                    }
                }
                // Nearly always nothing was told.
                Outcome::Done if self.told.is_empty() => {}
                Outcome::Done => {
                    self.told.remove(&(database.to_owned(), tag.to_owned()));
                }
                // Told once for all of them, by `note_denied`.
                Outcome::Failed(QueryError::Denied(_) | QueryError::TooMany)
                | Outcome::Waiting
                | Outcome::Running => {}
            }
        }
        trouble
    }

    /// Enters what was due in a database that could not be asked. It counts under the cause, and as
    /// a query cut off by the deadline only where that is the cause.
    pub(super) fn enter_missed<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a Slot>,
        problem: DatabaseProblem,
    ) {
        let late = matches!(problem, DatabaseProblem::NoTurn | DatabaseProblem::TooSlow);
        for slot in slots {
            if late {
                self.counters.timeouts.add(1);
            }
            self.target_counters.fail_query(
                &slot.chosen.metric.collector,
                QueryFailure::Database(problem),
            );
        }
    }

    /// A database could not be asked.
    pub(super) fn count_refusal(&self) {
        self.counters.errors.add(1);
    }

    fn tell(&mut self, database: &str, tag: &str, message: &str) {
        if self.told.insert((database.to_owned(), tag.to_owned())) {
            warn!(server = %self.target.name, database, tag, "no samples: {message}");
        }
    }

    /// Tells what the role may not see when that is not what it was.
    pub(super) fn note_denied(&mut self, plan: &Plan) {
        let denied: BTreeSet<&str> = plan
            .slots()
            .filter(|slot| slot.is_denied())
            .map(|slot| slot.chosen.metric.collector.as_str())
            .collect();
        if self
            .denied
            .iter()
            .map(String::as_str)
            .eq(denied.iter().copied())
        {
            return;
        }
        self.denied = denied.into_iter().map(str::to_owned).collect();
        if !self.denied.is_empty() {
            warn!(
                server = %self.target.name,
                "role {} may not see: {}; grant it pg_monitor, or more where a collector's page \
                 says so, or exclude these collectors",
                self.target.user,
                self.denied.join(", ")
            );
        }
    }

    /// Tells which databases `pg_database` says are closed when these are not what they were.
    pub(super) fn note_closed(&mut self, plan: &Plan) {
        if self.closed == plan.closed {
            return;
        }
        self.closed.clone_from(&plan.closed);
        let Some(first) = self.closed.first() else {
            return;
        };
        warn!(
            server = %self.target.name,
            database = first.name,
            reason = first.problem.as_str(),
            "no samples of {} of its databases, which are closed to role {}; of {}: {}",
            self.closed.len(), self.target.user, first.name, first.message
        );
    }

    /// Enters what came of asking for the settings.
    pub(super) fn enter_settings(&mut self, error: Option<&QueryError>) {
        let database = self.target.database.clone();
        let Some(error) = error else {
            self.told.remove(&(database, SETTINGS.to_owned()));
            return;
        };
        match error {
            // The whole session is lost, which is told as such.
            QueryError::Lost(..) => return,
            QueryError::Timeout(_) | QueryError::LockTimeout(_) => self.counters.timeouts.add(1),
            _ => self.counters.errors.add(1),
        }
        let failure = QueryFailure::of(error);
        self.target_counters.fail_query(SETTINGS, failure);
        self.tell(&database, SETTINGS, &error.to_string());
    }

    /// Tells what is left out for want of room when that is not what it was.
    pub(super) fn note_left_out(&mut self, left_out: &[(String, usize)], limit: Option<usize>) {
        let names = || left_out.iter().map(|(name, _)| name);
        if self.left_out.iter().eq(names()) {
            return;
        }
        self.left_out = names().cloned().collect();
        if let (false, Some(limit)) = (left_out.is_empty(), limit) {
            warn!(
                server = %self.target.name,
                "more than {limit} samples: {} left out; raise sampleLimit, or exclude collectors",
                self.left_out.join(", ")
            );
        }
    }

    pub(super) fn denied(&self) -> &[String] {
        &self.denied
    }
}
