//! What came of each query: counted every time, told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::counters::Counters;
use super::plan::Plan;
use crate::postgres::{Outcome, QueryError, Slot};
use crate::targets::{Target, Trouble};

/// The book of one target.
#[derive(Debug)]
pub(super) struct Ledger {
    target: Arc<Target>,
    counters: Arc<Counters>,
    /// Databases and tags whose failure is in the log already.
    told: BTreeSet<(String, String)>,
    /// Collectors that the role has no right to, sorted.
    denied: Vec<String>,
    /// What the role may do beside reading.
    excess_rights: Vec<String>,
    /// Collectors that are left out for want of room, sorted.
    left_out: Vec<String>,
}

impl Ledger {
    pub(super) fn new(target: &Arc<Target>, counters: &Arc<Counters>) -> Self {
        Self {
            target: Arc::clone(target),
            counters: Arc::clone(counters),
            told: BTreeSet::new(),
            denied: Vec::new(),
            excess_rights: Vec::new(),
            left_out: Vec::new(),
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
                // Told once for all of them, by `note_denied`.
                Outcome::Failed(QueryError::Denied(_) | QueryError::TooMany)
                | Outcome::Waiting
                | Outcome::Running => {}
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

    /// Tells what the role may do beside reading when that is not what it was.
    pub(super) fn note_excess_rights(&mut self, rights: Vec<String>) {
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

    pub(super) fn excess_rights(&self) -> &[String] {
        &self.excess_rights
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
