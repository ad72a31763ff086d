//! A scrape that goes on: what is known to stay, then all the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::{Handle, Scraper};
use crate::exposition::{Format, write_self_metrics};
use crate::model::TargetErrorKind;
use crate::scrape::collected::Collected;
use crate::scrape::exposition::{Own, Sent};
use crate::scrape::flight::Ticket;
use crate::scrape::settings::ScrapeSettings;
use crate::scrape::{Exposition, own};
use crate::targets::TargetError;

/// A scrape that goes on. Whoever drops it hears no more of it; the collections end by themselves.
#[derive(Debug)]
pub struct Scrape {
    pub(super) scraper: Scraper,
    pub(super) settings: ScrapeSettings,
    pub(super) deadline: Instant,
    pub(super) cached: Option<Exposition>,
    pub(super) tickets: Vec<(Arc<Handle>, Ticket)>,
    pub(super) sent: Option<Sent>,
}

impl Scrape {
    /// What the collections will not change: the samples of collectors that are not due, and the
    /// settings. Comes once every server has answered that it is as it was, while they work on.
    pub async fn early(&mut self) -> Option<Exposition> {
        if self.tickets.is_empty() {
            return None;
        }
        let all = join_all(self.tickets.iter_mut().map(|(_, ticket)| ticket.early()));
        let found = tokio::select! {
            biased;
            found = all => found,
            () = sleep_until(self.deadline) => return None,
            () = self.scraper.0.commons.end.clone().reached() => return None,
        };
        let found = found.into_iter().collect::<Option<Vec<_>>>()?;
        let catalog = self.scraper.0.commons.catalog.borrow().clone();
        let (exposition, sent) = Exposition::early(catalog, found)?;
        self.sent = Some(sent);
        Some(exposition)
    }

    /// All the rest, with the exporter's own families in that format.
    pub async fn rest(self, format: Format) -> Exposition {
        if let Some(kept) = self.cached {
            return kept;
        }
        let (scraper, deadline) = (&self.scraper.0, self.deadline);
        let all_answered = &AtomicBool::new(true);
        let answers = self
            .tickets
            .into_iter()
            .map(|(handle, mut ticket)| async move {
                let answer = tokio::select! {
                    biased;
                    answer = ticket.answer(deadline) => answer,
                    () = scraper.commons.end.clone().reached() => None,
                };
                answer.unwrap_or_else(|| {
                    all_answered.store(false, Ordering::Relaxed);
                    handle.no_answer(&ticket)
                })
            });
        let mut answers = join_all(answers).await;
        // The process may have been frozen meanwhile.
        answers.retain(|one| one.target.ownership_term.holds());
        let catalog = scraper.commons.catalog.borrow().clone();
        let more = scraper.more.get();
        let not_accepted = more.map(|more| more.not_accepted()).unwrap_or_default();
        let render = |format| {
            let counters = &scraper.commons.counters;
            let mut out = own::render(
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
        if !self.settings.cache_age.is_zero() && all_answered.load(Ordering::Relaxed) {
            let own = Own::both(render);
            let whole = Exposition::new(own, Arc::clone(&catalog), answers.clone(), None);
            if whole.size() as u64 <= self.settings.cache_size {
                self.scraper.keep(&whole);
            }
        }
        let own = Own::one(format, render);
        Exposition::new(own, catalog, answers, self.sent.as_ref())
    }
}

impl Handle {
    /// A stand-in that says that there was no answer in time. It is a failure of the server if
    /// the collection is over for everybody, and then it counts once, whoever waited for it.
    fn no_answer(&self, ticket: &Ticket) -> Arc<Collected> {
        let trouble = TargetError {
            kind: TargetErrorKind::Timeout,
            message: format!(
                "{}: no answer before the scrape's deadline",
                self.target.address
            ),
        };
        if ticket.claim_failure() {
            self.worker.counters.fail(trouble.kind);
            self.worker.health.update(|health| {
                health.active = false;
                health.trouble = Some(trouble.clone());
            });
        }
        Arc::new(Collected {
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
