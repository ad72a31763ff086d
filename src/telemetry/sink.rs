//! Writes lines to standard error, a file, or syslog. Used by the writing thread alone.

mod file;
mod syslog;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use jiff::ZonedDateTime;

use super::line::LogLine;
use super::settings::LineFormat;
use super::{LogLevel, LogSettings, LogType, TelemetryError};
use file::LogFile;
use syslog::Syslog;

/// How often, and how long apart, a console that takes nothing just now is tried.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The destinations of this machine that lines can go to.
pub(super) struct LogDestinations {
    /// Standard error; `None` when the process was started without one.
    pub(super) console: Option<File>,
    /// The socket of syslog.
    pub(super) syslog: PathBuf,
}

impl LogDestinations {
    pub(super) fn of_the_system() -> Self {
        Self {
            // A handle of our own: the one of the standard library has a lock, and a writer that is
            // stuck in it would also stop a panic from being printed.
            console: io::stderr()
                .as_fd()
                .try_clone_to_owned()
                .ok()
                .map(File::from),
            syslog: PathBuf::from("/dev/log"),
        }
    }
}

pub(super) struct LogSink {
    console: Option<File>,
    target: SinkTarget,
    /// Whether the last line was diverted to the console.
    failing: bool,
}

enum SinkTarget {
    Console,
    File(LogFile),
    Syslog(Syslog),
}

/// The outcome of writing a line.
#[derive(Debug, Default)]
pub(super) struct WriteOutcome {
    /// It went to the console instead.
    pub(super) diverted: bool,
    /// It went nowhere.
    pub(super) lost: bool,
    /// What a reader of the log should be told, once.
    pub(super) news: Option<String>,
}

impl LogSink {
    /// # Errors
    /// The log file cannot be opened.
    pub(super) fn open(
        settings: &LogSettings,
        destinations: LogDestinations,
    ) -> Result<Self, TelemetryError> {
        let target = match settings.log_type {
            LogType::Console => SinkTarget::Console,
            LogType::File => SinkTarget::File(LogFile::open(&settings.path, settings.mode)?),
            LogType::Syslog => SinkTarget::Syslog(Syslog::new(destinations.syslog)),
        };
        Ok(Self {
            console: destinations.console,
            target,
            failing: false,
        })
    }

    pub(super) fn write(
        &mut self,
        shape: &LineFormat,
        now: &ZonedDateTime,
        level: LogLevel,
        line: &LogLine,
    ) -> WriteOutcome {
        let mut outcome = WriteOutcome::default();
        let result = match &mut self.target {
            SinkTarget::Console => {
                outcome.lost = !to_console(self.console.as_mut(), line);
                return outcome;
            }
            SinkTarget::File(file) => file.write(shape, now, line),
            SinkTarget::Syslog(syslog) => syslog.write(now, level, line).map(|()| None),
        };
        match result {
            Ok(news) => {
                self.failing = false;
                outcome.news = news;
            }
            Err(error) => {
                outcome.diverted = true;
                outcome.lost = !to_console(self.console.as_mut(), line);
                if !self.failing {
                    outcome.news = Some(format!(
                        "{} cannot be written: {error}; lines go to standard error until it can",
                        self.target.name()
                    ));
                }
                self.failing = true;
            }
        }
        outcome
    }
}

impl SinkTarget {
    fn name(&self) -> String {
        match self {
            SinkTarget::Console => "the console".to_owned(),
            SinkTarget::File(file) => format!("the log file {}", file.path().display()),
            SinkTarget::Syslog(syslog) => format!("syslog at {}", syslog.path().display()),
        }
    }
}

/// Writes to the console. May block this thread as long as nobody reads; callers that log only fill
/// the queue meanwhile.
fn to_console(console: Option<&mut File>, line: &LogLine) -> bool {
    let Some(console) = console else { return false };
    let mut bytes = Vec::with_capacity(line.whole().len() + 1);
    bytes.extend_from_slice(line.whole().as_bytes());
    bytes.push(b'\n');
    let mut rest = bytes.as_slice();
    let mut tries = 0;
    while !rest.is_empty() {
        match console.write(rest) {
            Ok(0) => return false,
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that has the same terminal made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            Err(_) => return false,
        }
    }
    true
}
