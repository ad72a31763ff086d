//! The command lines.
//!
//! `pgexporter-admin` is [`admin`]; `pgexporter-cli` is [`client`], and under the name
//! `kubectl-pgexporter` it is `kubectl`:
//!
//! ```text
//! arguments ─► Command ─► exchange (endpoint: Unix socket or TCP) ─► Answer ─► say, print
//! ```

pub mod admin;
mod arguments;
mod check;
pub mod client;
mod clock;
mod crypt;
mod endpoint;
mod error;
mod exchange;
mod kubectl;
mod password;
mod print;
mod progress;
mod remote;
mod say;
mod style;
mod table;
mod visit;
mod watch;
