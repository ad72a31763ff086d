//! Sessions with PostgreSQL: connect, send all queries at once, turn rows into exposition text.
//!
//! In go a target and the queries chosen for it; out come [`QuerySamples`], the text of each family,
//! or a [`Trouble`](crate::targets::Trouble).

mod connect;
mod error;
mod facts;
mod guard;
mod query;
mod rows;
mod run;
mod samples;
mod session;
mod settings;
mod value;

pub use connect::Connector;
pub use error::QueryError;
pub use facts::Facts;
pub use query::{Outcome, Shared, Slot};
pub use rows::Mode;
pub use run::{Answer, Ask};
pub use samples::QuerySamples;
pub use session::{Orphan, Permits, Session};
pub use settings::{Setting, SettingsSamples};

/// What a session asks beside the catalogue's queries, for whoever measures against them.
pub mod statements {
    pub use super::facts::{DATABASES, EXTENSIONS, PROBE};
    pub use super::settings::SQL as SETTINGS;
}
