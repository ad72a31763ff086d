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
#[doc(hidden)]
pub mod auth;
mod commands;
mod connection;
mod dispatch;
pub mod document;
mod local;
mod report;
mod server;
mod settings;
pub mod wire;

pub use admin_api::{
    AdminApi, AdminApiError, CheckReport, ReloadReport, SetOutcome, SettingReport,
};
pub use commands::{AdminCommand, AdminVerb};
pub use dispatch::AdminPeer;
pub use local::{LocalError, LocalSocket, SOCKET_NAME};
pub use server::{ManagementServeError, serve_local, serve_remote};
pub use settings::ManagementSettings;
pub use wire::codec::{CodecError, Compression, Encryption};
