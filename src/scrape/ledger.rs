//! What came of each query: counted every time, told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use super::counters::{Counters, TargetCounters};
use super::plan::Plan;
use crate::postgres::{MOST_DATABASES, Outcome, QueryError, Slot};
use crate::targets::{LeftOut, LeftOutReason, Target, Trouble};

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
    left_out: Vec<(String, LeftOutReason)>,
    /// The server has more databases than are known.
    many_databases: bool,
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
            many_databases: false,
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
            match &slot.outcome {
                Outcome::Failed(QueryError::Lost(message, reason)) => {
                    trouble.get_or_insert(Trouble {
                        reason: *reason,
                        message: message.clone(),
                    });
                }
                Outcome::Failed(QueryError::Timeout(message)) => {
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
                // Told once for all of them, by `note_left_out`.
                Outcome::Failed(QueryError::TooMany | QueryError::TooLarge(_)) => {
                    if let Some(reason) = slot.left_out() {
                        self.target_counters.leave_out(&metric.collector, reason);
                    }
                }
                // Told once for all of them, by `note_denied`.
                Outcome::Failed(QueryError::Denied(_)) | Outcome::Waiting | Outcome::Running => {}
            }
        }
        trouble
    }

    /// A database that could not be asked.
    pub(super) fn unreachable(&mut self, database: &str, trouble: &Trouble) {
        self.counters.errors.add(1);
        self.tell(database, "", &trouble.message);
    }

    /// A database that was asked again.
    pub(super) fn reached(&mut self, database: &str) {
        self.told.remove(&(database.to_owned(), String::new()));
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

    /// Tells what is left out for want of room when that is not what it was.
    pub(super) fn note_left_out(&mut self, left_out: &[LeftOut], limit: Option<usize>) {
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
    pub(super) fn note_databases(&mut self, known: usize) {
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

    pub(super) fn denied(&self) -> &[String] {
        &self.denied
    }
}
