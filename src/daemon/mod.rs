//! Connects all rooms: from arguments and configuration to a running exporter, its reloads and its
//! shutdown.

mod admin_service;
mod admin_settings;
mod arguments;
mod file_watcher;
mod kubernetes;
pub mod process;
mod reload;
mod run;
mod settings;
mod start;

pub use start::main;

/// The command lines of the three programs, for pages and completions that are made from them.
#[must_use]
pub fn command_lines() -> [clap::Command; 3] {
    use clap::CommandFactory as _;
    [
        arguments::DaemonArguments::command(),
        crate::cli::client::command_line(),
        crate::cli::admin::command_line(),
    ]
}

/// Logs an error of something that the program can do without, such as a message to systemd.
fn warn_on_error(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("telling systemd or the system failed: {error}");
    }
}
