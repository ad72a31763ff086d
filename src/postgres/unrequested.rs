//! What a server sends without being asked: notices, changed settings, notifications
//! (PostgreSQL, "Asynchronous Operations"). A server may, at any time; one that does not stop costs
//! work and keeps the session from being heard.

use std::time::Duration;

use tokio::time::Instant;

/// So many bytes are taken within [`WINDOW`].
const MOST: usize = 1024 * 1024;
const WINDOW: Duration = Duration::from_secs(60);

/// The bytes of one session.
#[derive(Debug, Default)]
pub(super) struct UnrequestedBytes {
    since: Option<Instant>,
    bytes: usize,
}

impl UnrequestedBytes {
    /// Counts a message; whether the session may go on.
    pub(super) fn allow(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes <= MOST
    }
}

/// Whether a message of this type may come at any time.
pub(super) fn is_unrequested(kind: u8) -> bool {
    // NoticeResponse, ParameterStatus, NotificationResponse.
    matches!(kind, b'N' | b'S' | b'A')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mebibyte_a_minute_is_taken_and_no_more() {
        let mut unrequested = UnrequestedBytes::default();
        for _ in 0..5 {
            for _ in 0..1_024 {
                assert!(unrequested.allow(1_024));
            }
            assert!(!unrequested.allow(1));
            tokio::time::advance(WINDOW).await;
        }
        assert!(!unrequested.allow(MOST + 1));
        assert!(!unrequested.allow(usize::MAX));
    }
}
