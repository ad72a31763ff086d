//! Sessions with PostgreSQL: connect, send all queries at once, turn rows into exposition text.
//!
//! In go a target and the queries chosen for it; out come [`QuerySamples`], the text of each family,
//! or a [`Trouble`](crate::targets::Trouble).

mod connect;
mod error;
mod guard;
mod query;
mod rows;
mod samples;
mod session;
mod settings;
mod value;

pub use connect::Connector;
pub use error::QueryError;
pub use query::{Outcome, Shared, Slot};
pub use samples::QuerySamples;
pub use session::{Answer, Ask, Facts, Mode, Orphan, Permits, Session};
pub use settings::{Setting, SettingsSamples};
