//! Management: what an administrator asks a running exporter, over a Unix socket on its machine or
//! over TCP from afar.
//!
//! In go listening sockets, [`ManagementSettings`] that may change while it runs, and an [`AdminApi`]
//! that runs commands; out come answers. One request and one answer a connection.
//!
//! ```text
//! Unix socket ──────────────────────────────┐
//! TCP ─► startup ─► TLS? ─► SCRAM exchange ─┴► frame ─► codec ─► document ─► AdminCommand ─► AdminApi
//!                                              frame ◄─ codec ◄─ document ◄─────── report ◄───────┘
//! ```
//!
//! The frames, documents and exchanges are pure and touch no socket; the command line uses them
//! from the other side.

mod admin_api;
pub mod codec;
mod command;
mod connection;
mod dispatch;
pub mod document;
pub mod frame;
mod local;
mod login_throttle;
mod remote;
mod report;
// Hidden: for the fuzzer, which reads what comes in before anybody has logged in.
#[doc(hidden)]
pub mod scram;
mod serve;
mod settings;
#[doc(hidden)]
pub mod startup;

pub use admin_api::{
    AdminApi, AdminApiError, CheckReport, ReloadReport, SetOutcome, SettingReport,
};
pub use codec::{CodecError, Compression, Encryption};
pub use command::{AdminCommand, AdminVerb};
pub use dispatch::AdminPeer;
pub use local::{LocalError, LocalSocket, SOCKET_NAME};
pub use serve::{ManagementServeError, serve_local, serve_remote};
pub use settings::ManagementSettings;
