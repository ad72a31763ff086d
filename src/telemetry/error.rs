//! What can be wrong with logging.

use std::io;
use std::path::PathBuf;

/// What can be wrong with logging.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file cannot be opened.
    #[error(
        "cannot open the log file {}: {source}; make its folder writable or choose another log_path",
        path.display()
    )]
    Open {
        /// `log_path`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `log_line_prefix` is no `strftime` format.
    #[error(
        "log_line_prefix '{prefix}' is not a strftime format: {reason}; a percent sign is written %%"
    )]
    Prefix {
        /// `log_line_prefix`.
        prefix: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes log lines: {0}; raise the limit of processes")]
    Thread(io::Error),
    /// Logging was started before in this process.
    #[error("logging is already running in this process; it can be started once")]
    AlreadyRunning,
}
