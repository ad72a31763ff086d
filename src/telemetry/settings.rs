//! Where log lines go and how they look, in types.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::TelemetryError;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogType {
    #[default]
    Console,
    File,
    Syslog,
}

/// `log_level`. `Debug` stands for `debug`, `debug1` to `debug4`; `debug5` is `Trace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Fatal,
}

/// `log_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogMode {
    #[default]
    Append,
    Create,
}

/// `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What the layer and the writer share, and a reload changes.
#[derive(Debug)]
pub(super) struct LogState {
    level: AtomicU8,
    shape: RwLock<Arc<LineFormat>>,
    zone: TimeZone,
}

/// How a line looks, and when the file is begun anew.
#[derive(Debug)]
pub(super) struct LineFormat {
    pub(super) prefix: String,
    pub(super) format: LogFormat,
    pub(super) rotation_age: Duration,
    pub(super) rotation_size: u64,
}

impl LogState {
    pub(super) fn new(settings: &LogSettings) -> Result<Self, TelemetryError> {
        let zone = TimeZone::system();
        let shape = LineFormat::checked(settings, &zone)?;
        Ok(Self {
            level: AtomicU8::new(settings.level as u8),
            shape: RwLock::new(Arc::new(shape)),
            zone,
        })
    }

    pub(super) fn reload(&self, settings: &LogSettings) -> Result<(), TelemetryError> {
        let shape = Arc::new(LineFormat::checked(settings, &self.zone)?);
        *self.shape.write().unwrap_or_else(PoisonError::into_inner) = shape;
        self.set_level(settings.level);
        Ok(())
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// The ceiling for `tracing`, and whether only FATAL is wanted.
    pub(super) fn level(&self) -> LogLevel {
        match self.level.load(Ordering::Relaxed) {
            0 => LogLevel::Trace,
            1 => LogLevel::Debug,
            2 => LogLevel::Info,
            3 => LogLevel::Warn,
            4 => LogLevel::Error,
            _ => LogLevel::Fatal,
        }
    }

    /// A copy, so that no lock is held while the fields of an event are formatted: that may log.
    pub(super) fn shape(&self) -> Arc<LineFormat> {
        Arc::clone(&self.shape.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time now, in the zone of this machine.
    pub(super) fn now(&self) -> ZonedDateTime {
        ZonedDateTime::now().with_time_zone(self.zone.clone())
    }
}

impl LineFormat {
    fn checked(settings: &LogSettings, zone: &TimeZone) -> Result<Self, TelemetryError> {
        let now = ZonedDateTime::now().with_time_zone(zone.clone());
        if let Err(error) = strtime::format(&settings.line_prefix, &now) {
            return Err(TelemetryError::Prefix {
                prefix: settings.line_prefix.clone(),
                reason: error.to_string(),
            });
        }
        Ok(Self {
            prefix: settings.line_prefix.clone(),
            format: settings.format,
            rotation_age: settings.rotation_age,
            rotation_size: settings.rotation_size,
        })
    }
}
