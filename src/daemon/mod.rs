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

/// Systemd may not listen any more; the program goes on without it.
fn tell(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("telling systemd or the system failed: {error}");
    }
}
