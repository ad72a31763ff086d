//! A scrape: asks every target at once, waits no longer than the deadline, and lays the answers
//! together by family.
//!
//! In goes the list of targets; out comes an [`Exposition`], which the HTTP edge streams.

mod backoff;
mod beside;
mod collected;
mod collector;
mod commons;
mod counters;
mod databases;
mod duplicates;
mod exposition;
mod flight;
mod identity;
mod ledger;
mod overview;
mod own;
mod places;
mod plan;
mod profile;
mod reported;
mod scraper;
mod settings;
mod silence;
mod walk;
mod worker;

pub use exposition::Exposition;
pub use overview::{FamilyOverview, Overview};
pub use scraper::{Scrape, Scraper};
pub use settings::ScrapeSettings;
