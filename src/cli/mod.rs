//! The command lines.
//!
//! `pgexporter-admin` is [`admin`]; `pgexporter-cli` is [`client`], and under the name
//! `kubectl-pgexporter` it is `kubectl`:
//!
//! ```text
//! arguments ─► AdminCommand ─► request (transport: Unix socket or TCP) ─► AdminAnswer ─► text_output
//! ```

pub mod admin;
mod arguments;
mod check_files;
mod check_url;
pub mod client;
mod crypt;
mod error;
mod kubectl;
mod local_time;
mod output;
mod password;
mod print;
mod progress;
mod remote;
mod request;
mod stream;
mod style;
mod table;
mod text_output;
mod transport;
mod watch_servers;
