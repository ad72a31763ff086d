//! A scrape that goes on: what is known to stay, then all the rest.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::{Handle, Scraper};
use crate::exposition::{Format, write_own};
use crate::model::Reason;
use crate::scrape::collected::Collected;
use crate::scrape::exposition::{Own, Sent};
use crate::scrape::flight::Ticket;
use crate::scrape::settings::ScrapeSettings;
use crate::scrape::{Exposition, own};
use crate::targets::Trouble;

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
        let answers = self
            .tickets
            .into_iter()
            .map(|(handle, mut ticket)| async move {
                tokio::select! {
                    biased;
                    answer = ticket.answer(deadline) => handle.answer(answer),
                    () = scraper.commons.end.clone().reached() => handle.answer(None),
                }
            });
        let mut answers = join_all(answers).await;
        // The process may have been frozen meanwhile.
        answers.retain(|one| one.target.tenure.holds());
        let catalog = scraper.commons.catalog.borrow().clone();
        let render = |format| {
            let mut out = own::render(&answers, &scraper.commons.counters, &scraper.logs, format);
            if let Some(more) = scraper.more.get() {
                write_own(&**more, &mut out, format);
            }
            out
        };
        if !self.settings.cache_age.is_zero() {
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
    /// The target's answer, or a stand-in that says that there was none in time.
    fn answer(&self, collected: Option<Arc<Collected>>) -> Arc<Collected> {
        if let Some(collected) = collected {
            return collected;
        }
        let trouble = Trouble {
            reason: Reason::Timeout,
            message: format!(
                "{}: no answer before the scrape's deadline",
                self.target.address
            ),
        };
        self.worker.counters.fail(trouble.reason);
        self.worker.health.update(|health| {
            health.active = false;
            health.trouble = Some(trouble.clone());
        });
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
            duration: Duration::ZERO,
            counters: Arc::clone(&self.worker.counters),
        })
    }
}
