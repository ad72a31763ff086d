//! What a person should know of all servers together.

use std::sync::PoisonError;

use tracing::{info, warn};

use super::Scraper;
use crate::targets::TargetList;

impl Scraper {
    /// Remembers whether there are places for all sessions, and says it when that changes.
    pub(super) fn note_shortage(&self, list: &TargetList) {
        let kept = list.iter().filter(|one| one.keep_session).count();
        let shortage = self.0.context.limiter.shortage(kept);
        let mut known = self
            .0
            .shortage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (&*known, &shortage) {
            (None, Some(text)) => warn!("{text}"),
            (Some(_), None) => info!("there are connections enough to keep every session"),
            _ => {}
        }
        *known = shortage;
    }

    /// What a person should know of all servers together, one sentence each.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let shortage = self
            .0
            .shortage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shortage.iter().cloned().collect()
    }
}
