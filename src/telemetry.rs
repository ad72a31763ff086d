//! Logging: one event is one line and one counter.

use std::path::PathBuf;
use std::time::Duration;

/// Where lines go and how they look.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// Console, file or syslog.
    pub log_type: LogType,
    /// Lines below it are left out.
    pub level: LogLevel,
    /// The file, for [`LogType::File`].
    pub path: PathBuf,
    /// The file is begun anew when older; zero is never.
    pub rotation_age: Duration,
    /// The file is begun anew when larger, in bytes; zero is never.
    pub rotation_size: u64,
    /// `strftime` format before each line of text.
    pub line_prefix: String,
    /// Whether an existing file is kept at start.
    pub mode: LogMode,
    /// Text or JSON lines.
    pub format: LogFormat,
}

/// `log_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogType {
    Console,
    File,
    Syslog,
}

/// `log_level`. `Debug` stands for `debug`, `debug1` to `debug4`; `debug5` is `Trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// `log_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogMode {
    Append,
    Create,
}

/// `log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}
