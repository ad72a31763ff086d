//! The HTTP edge: the metrics port (`/`, `/metrics`) and the health port (`/livez`, `/readyz`).
//!
//! In go listening sockets ([`bind`]), a [`Scraper`](crate::scrape::Scraper) or a [`Readiness`],
//! and [`HttpSettings`] that may change while it runs; out come answers. A client that is slow, hangs
//! up, sends rubbish or comes a thousand times costs itself its connection and nobody else
//! anything:
//!
//! ```text
//! accept ─► limit ─► io_timeout (idle and stall) ─► TLS ─► hyper http/1 ─► router ─► pages
//! ```

mod accept;
mod bind;
mod connection;
mod health;
mod html;
mod io_timeout;
mod metrics;
mod negotiate;
mod overview;
mod reply;
mod semaphore;
mod send_margin;
mod sending;
mod serve;
mod settings;
#[cfg(test)]
mod tests;

pub use bind::{BindError, bind};
pub use health::{Readiness, serve_health};
pub use metrics::serve_metrics;
pub use serve::ServeError;
pub use settings::HttpSettings;
