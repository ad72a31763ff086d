//! Management: what an administrator asks a running exporter, over a Unix socket on its machine or
//! over TCP from afar.
//!
//! In go listening sockets, [`Settings`] that may change while it runs, and a [`Control`] that
//! carries commands out; out come answers. One request and one answer a connection.
//!
//! ```text
//! Unix socket ──────────────────────────────┐
//! TCP ─► startup ─► TLS? ─► SCRAM exchange ─┴► frame ─► codec ─► document ─► Command ─► Control
//!                                              frame ◄─ codec ◄─ document ◄───── report ◄──┘
//! ```
//!
//! The frames, documents and exchanges are pure and touch no socket; the command line uses them
//! from the other side.

pub mod codec;
mod command;
mod connection;
mod control;
mod dispatch;
pub mod document;
mod doorman;
pub mod frame;
mod local;
mod remote;
mod report;
// Hidden: for the fuzzer, which reads what comes in before anybody has logged in.
#[doc(hidden)]
pub mod scram;
mod serve;
mod settings;
#[doc(hidden)]
pub mod startup;

pub use codec::{CodecError, Compression, Encryption};
pub use command::{Command, Verb};
pub use control::{
    Change, CheckReport, CheckedServer, Control, LastError, LeftOutCollector, Reloaded,
    ScrapeReport, ScrapedQuery, Server, Setting,
};
pub use dispatch::Peer;
pub use local::{LocalError, LocalSocket, SOCKET_NAME};
pub use serve::{ServeError, serve_local, serve_remote};
pub use settings::Settings;
