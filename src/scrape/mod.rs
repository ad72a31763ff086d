//! A scrape: asks every target at once, waits no longer than the deadline, and lays the answers
//! together by family.
//!
//! In goes the list of targets; out comes an [`Exposition`], which the HTTP edge streams.

mod collection_result;
mod connection_limiter;
mod counters;
mod exposition;
mod overview;
mod profile;
mod scraper;
mod self_metrics;
mod settings;
mod single_flight;
mod target;

pub use exposition::Exposition;
pub use overview::{FamilyOverview, Overview};
pub use scraper::Scraper;
pub use settings::ScrapeSettings;
