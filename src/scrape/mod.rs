//! A scrape: asks every target at once, waits no longer than the deadline, and lays the answers
//! together by family.
//!
//! In goes the list of targets; out comes an [`Exposition`], which the HTTP edge streams.

mod exposition;
mod overview;
mod scraper;

pub use exposition::Exposition;
pub use overview::{FamilyOverview, Overview, ServerOverview};
pub use scraper::Scraper;
