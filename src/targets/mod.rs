//! The shared server list: who is scraped, and how each of them is.
//!
//! [`Sources`] reads `pgexporter.conf` and every file it names, all or nothing. The
//! [`Publisher`] merges them with those of the cluster into a [`TargetList`] on a watch channel,
//! everyone else reads. Scraping writes a [`Health`] for each
//! target; pages, commands and conditions read it.

mod databases;
mod file;
mod health;
mod limits;
mod load;
mod load_errors;
mod memory;
mod ownership_term;
mod ports;
mod publisher;
mod redact;
mod report;
mod target;

pub use databases::{DatabaseProblem, MissingDatabase};
pub use file::{TargetConfigError, byte_limits, timeouts};
pub use health::{Health, HealthBoard, HealthReport, LeftOut, LeftOutReason, TargetError};
pub use limits::ByteLimits;
pub use load::{Loaded, Sources};
pub use load_errors::{ConfigNotice, LoadError, LoadErrors};
pub use memory::{MemoryExhausted, MemoryLease, SampleMemory, TargetMemory};
pub use ownership_term::OwnershipTerm;
pub use publisher::Publisher;
pub use report::{Profile, ProfiledQuery, ServerReport};
pub use target::{
    Address, ClientTls, CollectorChoice, DatabaseChoice, Origin, SocketOptions, Target, TargetList,
    Timeouts, TlsMode,
};
