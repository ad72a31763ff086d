//! The one place that wires: arguments and configuration go in; a running exporter, its reloads and
//! its end come out.

mod admin_service;
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

/// Systemd may not listen any more; the program goes on without it.
fn warn_on_error(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("telling systemd or the system failed: {error}");
    }
}
