//! What a collection shows in the end: samples, what is left out of them, and what is missing.

use std::sync::Arc;
use std::time::Duration;

use super::{CollectionRunner, ServerAnswer, unasked};
use crate::catalog::SETTINGS;
use crate::scrape::collection_result::CollectionResult;
use crate::scrape::target::plan::CollectionPlan;
use crate::targets::{LeftOut, LeftOutReason, MissingDatabase, TargetError};

impl CollectionRunner {
    pub(super) fn build_result(
        &mut self,
        plan: &mut CollectionPlan,
        found: ServerAnswer,
    ) -> CollectionResult {
        let mut collected = self.nothing(unasked());
        if found.trouble.is_none() {
            collected.left_out = self.leave_out(plan);
            if let Some(overlaps) = plan.drop_duplicates() {
                self.query_log.note_overlaps(overlaps);
            }
            collected.queries = plan
                .slots()
                .filter_map(|slot| slot.samples().cloned())
                .collect();
            collected.settings = self.shown_settings();
            collected.missing = self.missing(plan);
        }
        collected.facts = found.facts;
        collected.trouble = found.trouble;
        collected.catalog = Arc::clone(plan.catalog());
        collected
    }

    /// Databases that are not seen, and why.
    fn missing(&self, plan: &CollectionPlan) -> Vec<MissingDatabase> {
        let closed = plan.closed.iter().cloned();
        let mut missing: Vec<MissingDatabase> = closed.chain(self.databases.missing()).collect();
        missing.sort_by(|a, b| a.name.cmp(&b.name));
        missing.dedup_by(|a, b| a.name == b.name);
        missing.truncate(MissingDatabase::MOST_NAMED);
        missing
    }

    /// What has no room, by collector.
    pub(super) fn leave_out(&mut self, plan: &mut CollectionPlan) -> Vec<LeftOut> {
        let mut left_out = plan.leave_out();
        if let (Some((_, all)), None) = (&self.settings, self.shown_settings())
            && self.wants_settings()
        {
            let (reason, message) = self.settings_do_not_fit(all);
            left_out.push(LeftOut {
                collector: SETTINGS.to_owned(),
                families: all.len(),
                reason,
                message,
            });
        }
        if let Some(message) = &self.settings_too_large {
            left_out.push(LeftOut {
                collector: SETTINGS.to_owned(),
                families: 1,
                reason: LeftOutReason::TooLarge,
                message: message.clone(),
            });
        }
        left_out.sort_by(|a, b| a.collector.cmp(&b.collector));
        self.query_log
            .note_left_out(&left_out, self.target.sample_limit);
        left_out
    }

    /// An answer without samples.
    pub(crate) fn nothing(&self, trouble: TargetError) -> CollectionResult {
        CollectionResult {
            target: Arc::clone(&self.target),
            catalog: self.context.catalog.borrow().clone(),
            queries: Vec::new(),
            settings: None,
            facts: None,
            trouble: Some(trouble),
            denied: self.query_log.denied().to_vec(),
            excess_rights: self.query_log.excess_rights().to_vec(),
            left_out: Vec::new(),
            missing: Vec::new(),
            duration: Duration::ZERO,
            counters: Arc::clone(&self.counters),
        }
    }
}
