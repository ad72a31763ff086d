//! One scrape: all targets are asked, and what they brought by the deadline is the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Scraper, TargetHandle};
use crate::exposition::{Format, write_self_metrics};
use crate::model::TargetErrorKind;
use crate::scrape::collection_result::CollectionResult;
use crate::scrape::exposition::SelfMetricsText;
use crate::scrape::single_flight::Waiter;
use crate::scrape::{Exposition, self_metrics};
use crate::targets::TargetError;

impl Scraper {
    /// Collects from every target; what is ready at `deadline` counts. Never fails: a server that
    /// could not be asked is in the answer as `pgexporter_postgresql_active 0`. The exporter's own
    /// families are in that format. Whoever drops the future hears no more of it; the collections
    /// end by themselves.
    pub async fn scrape(&self, deadline: Instant, format: Format) -> Exposition {
        let scraper = &*self.0;
        let asked = |asked: &mut bool| !std::mem::replace(asked, true);
        scraper.asked.send_if_modified(asked);
        let settings = scraper.context.settings.borrow().clone();
        scraper.context.memory.set_limit(settings.memory);
        if let Some(kept) = self.cached(settings.cache_age) {
            return kept;
        }
        let mut handles = self.handles();
        handles.retain(|one| one.target.ownership_term.holds());
        // All are asked before the first is waited for.
        let waiters: Vec<Waiter> = handles
            .iter()
            .map(|one| one.worker.single_flight.join(deadline))
            .collect();
        let all_answered = &AtomicBool::new(true);
        let answers = handles
            .into_iter()
            .zip(waiters)
            .map(|(handle, mut waiter)| async move {
                let answer = tokio::select! {
                    biased;
                    answer = waiter.answer(deadline) => answer,
                    () = scraper.context.end.clone().reached() => None,
                };
                answer.unwrap_or_else(|| {
                    all_answered.store(false, Ordering::Relaxed);
                    handle.no_answer(&waiter)
                })
            });
        let mut answers = join_all(answers).await;
        // The process may have been frozen meanwhile.
        answers.retain(|one| one.target.ownership_term.holds());
        let catalog = scraper.context.catalog.borrow().clone();
        let more = scraper.more.get();
        let not_accepted = more.map(|more| more.not_accepted()).unwrap_or_default();
        let render = |format| {
            let counters = &scraper.context.counters;
            let mut out = self_metrics::render(
                &answers,
                &not_accepted,
                (counters, &scraper.logs, &scraper.displaced),
                format,
            );
            if let Some(more) = more {
                write_self_metrics(&**more, &mut out, format);
            }
            out
        };
        // What one client did not wait for is not shown to others as the state of a server.
        if settings.cache_age.is_zero() || !all_answered.load(Ordering::Relaxed) {
            return Exposition::new(SelfMetricsText::one(format, render), catalog, answers);
        }
        let own = SelfMetricsText::both(render);
        let whole = Exposition::new(own, catalog, answers);
        if whole.size() as u64 <= settings.cache_size {
            self.keep(&whole);
        }
        whole
    }
}

impl TargetHandle {
    /// A stand-in that says that there was no answer in time.
    fn no_answer(&self, waiter: &Waiter) -> Arc<CollectionResult> {
        let trouble = TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!(
                "{}: no answer before the scrape's deadline",
                self.target.address
            ),
        };
        waiter.note_missed();
        Arc::new(CollectionResult {
            target: Arc::clone(&self.target),
            catalog: Arc::default(),
            queries: Vec::new(),
            settings: None,
            facts: None,
            trouble: Some(trouble),
            denied: Vec::new(),
            excess_rights: Vec::new(),
            left_out: Vec::new(),
            missing: Vec::new(),
            duration: Duration::ZERO,
            counters: Arc::clone(&self.worker.counters),
        })
    }
}
