//! Sessions with PostgreSQL: connect, send all queries at once, turn rows into samples.
//!
//! In go a target and the queries chosen for it; out come [`QuerySamples`], which write the lines of
//! each family, or a [`Trouble`](crate::targets::Trouble).

mod auth_history;
mod cancel;
mod charset;
mod connect;
mod error;
mod exchange;
mod facts;
mod guard;
mod histogram;
mod identity;
mod job_state;
mod login;
mod pipe;
mod query;
mod question;
mod quirks;
mod resolver;
mod result_cancel;
mod row;
mod run;
mod samples;
mod schedule;
mod session;
mod session_settings;
mod settings;
mod statement;
mod unrequested;
mod value;
mod wire;

pub use connect::{ConnectContext, Connector};
pub use error::QueryError;
pub use facts::{DatabaseEntry, Facts, MOST_DATABASES};
pub use identity::ServerIdentity;
pub use query::{Outcome, Shared, Slot};
pub use run::{Answer, Ask};
pub use samples::{QuerySamples, Room};
pub use schedule::{QuerySchedule, RunResult};
pub use session::{Orphan, Permits, Session};
pub use settings::{Setting, SettingsSamples};
pub use statement::Mode;

/// What a session asks beside the catalogue's queries, for whoever measures against them.
pub mod statements {
    pub use super::facts::{DATABASES, EXTENSIONS, PROBE, RIGHTS};
    pub use super::identity::{CONTROL, STARTED};
    pub use super::settings::SQL as SETTINGS;
}
