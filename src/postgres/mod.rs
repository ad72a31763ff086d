//! Sessions with PostgreSQL: connect, send all queries at once, turn rows into samples.
//!
//! In go a target and the queries chosen for it; out come [`QuerySamples`], which write the lines of
//! each family, or a [`TargetError`](crate::targets::TargetError).
//!
//! A file uses files above it in this list alone:
//!
//! ```text
//! transport  connection  connect  login         socket, messages in and out, login
//! value  row  statement  error                  what messages hold
//! identity  server_info  settings  query_run    rows become facts and samples; know no session
//! job  batch  request  replies  pipeline        many statements in one write, and their answers
//! open  drain  session_info  run                what is done over a pipeline
//! scrape_session  session                       what scraping uses
//! ```

mod auth_history;
mod batch;
mod cancel;
mod charset;
mod connect;
mod connection;
mod connector;
mod drain;
mod error;
mod histogram;
mod identity;
mod job;
mod login;
mod login_error;
mod login_guard;
mod open;
mod pipeline;
mod prepare;
mod query;
mod query_run;
mod quirks;
mod replies;
mod request;
mod resolver;
mod result_cancel;
mod row;
mod run;
mod sample_budget;
mod sample_buffer;
mod samples;
mod schedule;
mod scrape_session;
#[cfg(test)]
pub(crate) mod scripted_session;
mod server_info;
mod session;
mod session_info;
mod session_query;
mod session_settings;
mod settings;
mod simple_query;
mod statement;
#[cfg(test)]
mod tests;
mod transport;
mod unrequested;
mod value;

pub use connector::{ConnectContext, Connector};
pub use error::QueryError;
pub use identity::ServerIdentity;
pub use query::{QueryOutcome, ScheduledQuery};
pub use query_run::QueryContext;
pub use run::{PipelineRequest, PipelineResponse};
pub use sample_budget::SampleBudget;
pub use samples::QuerySamples;
pub use schedule::{QuerySchedule, RunResult};
pub use scrape_session::{LeakedBackend, ScrapeSession};
pub use server_info::{DatabaseEntry, MOST_DATABASES, ServerInfo};
pub use session::{ConnectionPermits, Session};
pub use settings::{Setting, SettingsSamples};
pub use statement::Mode;

/// What a session asks beside the catalogue's queries, for whoever measures against them.
pub mod statements {
    pub use super::identity::{CONTROL, STARTED};
    pub use super::server_info::{DATABASES, EXTENSIONS, PROBE, RIGHTS};
    pub use super::settings::SQL as SETTINGS;
}
