//! The shared server list: who is scraped, and how each of them is.
//!
//! One task publishes a [`TargetList`] on a watch channel, everyone else reads. Scraping writes a
//! [`Health`] for each target; pages, commands and conditions read it.

mod file;
mod health;
mod target;

pub use file::{TargetError, from_file};
pub use health::{Health, HealthReport, Trouble};
pub use target::{
    Address, ClientTls, CollectorChoice, DatabaseChoice, Origin, SocketOptions, Target, TargetList,
    Timeouts, TlsMode,
};
