//! Sessions with PostgreSQL: connect, send all queries at once, turn rows into samples.
//!
//! In go a target and the queries chosen for it; out come [`QuerySamples`], which write the lines of
//! each family, or a [`TargetError`](crate::targets::Trouble).

mod auth_history;
mod cancel;
mod charset;
mod connect;
mod connection;
mod error;
mod histogram;
mod identity;
mod job_state;
mod login;
mod login_guard;
mod pipeline;
mod query;
mod quirks;
mod resolver;
mod result_cancel;
mod row;
mod run;
mod samples;
mod schedule;
mod server_info;
mod session;
mod session_query;
mod session_settings;
mod settings;
mod statement;
mod transport;
mod unrequested;
mod value;

pub use connect::{ConnectContext, Connector};
pub use error::QueryError;
pub use identity::ServerIdentity;
pub use query::{QueryContext, QueryOutcome, ScheduledQuery};
pub use run::{PipelineRequest, PipelineResponse};
pub use samples::{QuerySamples, SampleBudget};
pub use schedule::{QuerySchedule, RunResult};
pub use server_info::{DatabaseEntry, MOST_DATABASES, ServerInfo};
pub use session::{ConnectionPermits, LeakedBackend, Session};
pub use settings::{Setting, SettingsSamples};
pub use statement::Mode;

/// What a session asks beside the catalogue's queries, for whoever measures against them.
pub mod statements {
    pub use super::identity::{CONTROL, STARTED};
    pub use super::server_info::{DATABASES, EXTENSIONS, PROBE, RIGHTS};
    pub use super::settings::SQL as SETTINGS;
}
