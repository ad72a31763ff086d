//! What a reload may change about scraping.

use std::time::Duration;

/// Settings of all scrapes.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeSettings {
    /// Overrides the catalogue's intervals; `None` takes them as they are.
    pub interval: Option<Duration>,
    /// Longest text of a statement in a label, in characters.
    pub query_text: usize,
    /// Longest value of a label, in bytes.
    pub label_value: usize,
    /// The memory that the samples of all servers may take together, in bytes.
    pub memory: Option<usize>,
    /// How long a collection is served again; zero collects at each scrape.
    pub cache_age: Duration,
    /// Larger collections are not kept, in bytes.
    pub cache_size: u64,
    /// How long a session lives; zero is for ever.
    pub session_max_age: Duration,
}

impl Default for ScrapeSettings {
    fn default() -> Self {
        Self {
            interval: None,
            query_text: 100,
            label_value: 1024,
            memory: None,
            cache_age: Duration::ZERO,
            cache_size: 256 * 1024,
            session_max_age: Duration::from_secs(3_600),
        }
    }
}
