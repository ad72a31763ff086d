//! What came of each query: counted every time, told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use super::duplicates::Overlap;
use super::plan::CollectionPlan;
use super::reported::{ReportAction, ReportedProblems};
use crate::catalog::SETTINGS;
use crate::postgres::{MOST_DATABASES, QueryError, QueryOutcome, ScheduledQuery};
use crate::scrape::counters::{Counters, QueryFailure, TargetCounters};
use crate::targets::{
    DatabaseProblem, LeftOut, LeftOutReason, MissingDatabase, Target, TargetError,
};

/// The book of one target.
#[derive(Debug)]
pub(crate) struct QueryLog {
    target: Arc<Target>,
    counters: Arc<Counters>,
    target_counters: Arc<TargetCounters>,
    /// Databases and tags whose duplicate samples are in the log already.
    told_duplicates: ReportedProblems,
    /// Pairs of queries with samples of the same labels, which are in the log already.
    told_overlaps: BTreeSet<(String, String)>,
    /// Databases and tags whose failure is in the log already.
    told: ReportedProblems,
    /// Collectors that the role has no right to, sorted.
    denied: Vec<String>,
    /// What the role may do beside reading.
    excess_rights: Vec<String>,
    /// Collectors that are left out for want of room, sorted.
    left_out: Vec<(String, LeftOutReason)>,
    /// Databases that `pg_database` says are closed to the role.
    closed: Vec<MissingDatabase>,
    /// The server has more databases than are known.
    many_databases: bool,
}

impl QueryLog {
    pub(crate) fn new(
        target: &Arc<Target>,
        counters: &Arc<Counters>,
        target_counters: &Arc<TargetCounters>,
    ) -> Self {
        Self {
            target: Arc::clone(target),
            counters: Arc::clone(counters),
            target_counters: Arc::clone(target_counters),
            told_duplicates: ReportedProblems::default(),
            told_overlaps: BTreeSet::new(),
            told: ReportedProblems::default(),
            denied: Vec::new(),
            excess_rights: Vec::new(),
            left_out: Vec::new(),
            closed: Vec::new(),
            many_databases: false,
        }
    }

    /// Enters each slot that ran. Returns the trouble of the session, if one of them lost it. Where
    /// the whole target is in trouble (`is_down`), its queries are counted and not told.
    pub(crate) fn record<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a mut ScheduledQuery>,
        is_down: bool,
    ) -> Option<TargetError> {
        let mut trouble = None;
        for slot in slots {
            if !slot.take_fresh() {
                continue;
            }
            slot.cut_off();
            self.counters.executions.add(1);
            let metric = &slot.chosen.metric;
            let (database, tag) = (slot.database(), metric.tag.as_str());
            if let QueryOutcome::Failed(error) = &slot.outcome {
                let failure = QueryFailure::from_error(error);
                let allowed = metric.optional && failure == QueryFailure::Error;
                // A server that is in trouble as a whole is counted as such.
                if !is_down && !allowed {
                    self.target_counters.fail_query(&metric.collector, failure);
                }
            }
            if matches!(slot.outcome, QueryOutcome::Done)
                && (slot.duplicates() > 0 || !self.told_duplicates.is_empty())
            {
                self.note_duplicates(slot);
            }
            match &slot.outcome {
                QueryOutcome::Failed(QueryError::Lost(message, reason)) => {
                    trouble.get_or_insert_with(|| TargetError {
                        kind: *reason,
                        message: self.target.redact(message),
                    });
                }
                QueryOutcome::Failed(
                    QueryError::Timeout(message)
                    | QueryError::LockTimeout(message)
                    | QueryError::Deadline(message),
                ) => {
                    self.counters.timeouts.add(1);
                    if !is_down {
                        self.log_failure(database, tag, message);
                    }
                }
                QueryOutcome::Failed(
                    error @ (QueryError::Server(_) | QueryError::Shape { .. }),
                ) => {
                    if !metric.optional {
                        self.counters.errors.add(1);
                        self.log_failure(database, tag, &error.to_string());
                    }
                }
                // Nearly always nothing was told.
                QueryOutcome::Done if self.told.is_empty() => {}
                QueryOutcome::Done => {
                    self.told.remove(database, tag);
                }
                // Told once for all of them, by `note_left_out`.
                QueryOutcome::Failed(QueryError::TooMany | QueryError::TooLarge(_)) => {
                    if let Some(reason) = slot.left_out() {
                        self.target_counters.leave_out(&metric.collector, reason);
                    }
                }
                // Told once for all of them, by `note_denied`.
                QueryOutcome::Failed(QueryError::Denied(_))
                | QueryOutcome::Waiting
                | QueryOutcome::Running => {}
            }
        }
        trouble
    }

    /// Enters what was due in a database that could not be asked. It counts under the cause, and as
    /// a query cut off by the deadline only where that is the cause.
    pub(crate) fn record_missed<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a ScheduledQuery>,
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
    pub(crate) fn count_refusal(&self) {
        self.counters.errors.add(1);
    }

    fn log_failure(&mut self, database: &str, tag: &str, message: &str) {
        match self.told.add(database, tag) {
            ReportAction::Log => {
                let message = self.target.redact(message);
                warn!(server = %self.target.name, database, tag, "no samples: {message}");
            }
            ReportAction::LogFull => warn!(
                server = %self.target.name,
                "too many queries fail to log each of them; \
                 pgexporter_postgresql_query_failures_total counts all"
            ),
            ReportAction::Skip => {}
        }
    }

    /// Forgets what was logged of databases and queries that are gone.
    pub(crate) fn forget_gone(&mut self, plan: &CollectionPlan) {
        let is_there = |database: &str, tag: &str| tag == SETTINGS || plan.runs(database, tag);
        for reported in [&mut self.told, &mut self.told_duplicates] {
            if !reported.is_empty() {
                reported.retain(is_there);
            }
        }
    }

    /// Counts the samples of a query that had the labels of another row, and tells of them once.
    fn note_duplicates(&mut self, slot: &ScheduledQuery) {
        let (metric, database, samples) = (&slot.chosen.metric, slot.database(), slot.duplicates());
        let server = &self.target.name;
        if samples == 0 {
            if self.told_duplicates.remove(database, &metric.tag) {
                info!(
                    server,
                    database,
                    tag = metric.tag,
                    "no more duplicate samples"
                );
            }
            return;
        }
        self.target_counters
            .add_duplicates(&metric.collector, samples);
        if self.told_duplicates.add(database, &metric.tag) == ReportAction::Log {
            warn!(
                server,
                database,
                tag = metric.tag,
                "{samples} samples left out: several rows of the query have the same labels, and \
                 the first is kept ({}); group the rows, or add a label that tells them apart",
                metric.source
            );
        }
    }

    /// Counts the samples of queries that another query of the server brings as well, and tells of
    /// each pair once.
    pub(crate) fn note_overlaps(&mut self, overlaps: Vec<Overlap>) {
        let server = &self.target.name;
        let mut present = BTreeSet::new();
        for Overlap {
            collector,
            kept,
            dropped,
            samples,
        } in overlaps
        {
            self.target_counters.add_duplicates(&collector, samples);
            let pair = (kept, dropped);
            if !self.told_overlaps.contains(&pair) {
                let (kept, dropped) = &pair;
                warn!(
                    server,
                    "{samples} samples of {dropped} left out: {kept} brings samples of the same \
                     family with the same labels; rename a tag or column, or add a label"
                );
            }
            present.insert(pair);
        }
        for (kept, dropped) in self.told_overlaps.difference(&present) {
            info!(
                server,
                "{dropped} has no more samples that {kept} brings too"
            );
        }
        self.told_overlaps = present;
    }

    /// Counts settings whose names are the same as a metric's name, and tells of them once.
    pub(crate) fn note_same_settings(&mut self, settings: usize) {
        if settings == 0 {
            self.told_duplicates.remove("", SETTINGS);
            return;
        }
        self.target_counters.add_duplicates(SETTINGS, settings);
        if self.told_duplicates.add("", SETTINGS) == ReportAction::Log {
            warn!(
                server = %self.target.name,
                "{settings} settings left out: their names differ from that of another one only in \
                 characters that a metric's name cannot have"
            );
        }
    }

    /// Tells what the role may not see when that is not what it was.
    pub(crate) fn note_denied(&mut self, plan: &CollectionPlan) {
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
                self.target.user_in_words(),
                self.denied.join(", ")
            );
        }
    }

    /// Tells which databases `pg_database` says are closed when these are not what they were.
    pub(crate) fn note_closed(&mut self, plan: &CollectionPlan) {
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
    pub(crate) fn record_settings(&mut self, error: Option<&QueryError>) {
        let database = self.target.database.clone();
        let Some(error) = error else {
            self.told.remove(&database, SETTINGS);
            return;
        };
        match error {
            // The whole session is lost, which is told as such.
            QueryError::Lost(..) => return,
            QueryError::Timeout(_) | QueryError::LockTimeout(_) => self.counters.timeouts.add(1),
            _ => self.counters.errors.add(1),
        }
        let failure = QueryFailure::from_error(error);
        self.target_counters.fail_query(SETTINGS, failure);
        self.log_failure(&database, SETTINGS, &error.to_string());
    }

    /// Tells what the role may do beside reading when that is not what it was.
    pub(crate) fn note_excess_rights(&mut self, rights: Vec<String>) {
        if self.excess_rights == rights {
            return;
        }
        self.excess_rights = rights;
        if !self.excess_rights.is_empty() {
            warn!(
                server = %self.target.name,
                "role {} may do more than read: {}; a query of your own could use that. Give the \
                 exporter a role with pg_monitor alone",
                self.target.user,
                self.excess_rights.join(", ")
            );
        }
    }

    pub(crate) fn excess_rights(&self) -> &[String] {
        &self.excess_rights
    }

    /// Tells what is left out for want of room when that is not what it was.
    pub(crate) fn note_left_out(&mut self, left_out: &[LeftOut], limit: Option<usize>) {
        let now = left_out.iter().map(|one| (&one.collector, one.reason));
        if now.eq(self.left_out.iter().map(|(name, reason)| (name, *reason))) {
            return;
        }
        self.left_out = left_out
            .iter()
            .map(|one| (one.collector.clone(), one.reason))
            .collect();
        let server = &self.target.name;
        if left_out.is_empty() {
            info!(server = %server, "no samples are left out any more");
        }
        let of = |reason| {
            let all = left_out.iter().filter(move |one| one.reason == reason);
            all.map(|one| one.collector.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let many = of(LeftOutReason::TooManySamples);
        if let (false, Some(limit)) = (many.is_empty(), limit) {
            warn!(
                server = %server,
                "more than {limit} samples: {many} left out; raise sampleLimit, or exclude \
                 collectors"
            );
        }
        let large = of(LeftOutReason::TooLarge);
        let first = left_out
            .iter()
            .find(|one| one.reason == LeftOutReason::TooLarge);
        if let Some(first) = first {
            warn!(
                server = %server,
                reason = first.reason.as_str(),
                "{large} left out: {}", first.message
            );
        }
    }

    /// Tells that a server has more databases than are known, when it did not before.
    pub(crate) fn note_databases(&mut self, known: usize) {
        let many = known >= MOST_DATABASES;
        if many && !std::mem::replace(&mut self.many_databases, many) {
            warn!(
                server = %self.target.name,
                "it has {MOST_DATABASES} databases or more: those behind them by name are not \
                 asked; ask one server with fewer, or exclude the collectors that run in each"
            );
        }
        self.many_databases = many;
    }

    pub(crate) fn denied(&self) -> &[String] {
        &self.denied
    }
}
