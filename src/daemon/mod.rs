//! The one place that wires: arguments and configuration go in; a running exporter, its reloads and
//! its end come out.

mod arguments;
mod changes;
mod cluster;
pub mod process;
mod reload;
mod run;
mod settings;
mod start;
mod steward;

pub use start::main;

/// The command lines of the three programs, for pages and completions that are made from them.
#[must_use]
pub fn command_lines() -> [clap::Command; 3] {
    use clap::CommandFactory as _;
    [
        arguments::Arguments::command(),
        crate::cli::client::command_line(),
        crate::cli::admin::command_line(),
    ]
}

/// Systemd may not listen any more; the program goes on without it.
fn tell(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("telling systemd or the system failed: {error}");
    }
}
