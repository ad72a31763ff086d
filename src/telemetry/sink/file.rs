//! The log file: opened again when it was moved or removed, begun anew when too old or too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::ZonedDateTime;

use super::super::line::LogLine;
use super::super::settings::LineFormat;
use super::super::{LogMode, TelemetryError};

/// After a rotation that failed, the next one is tried this much later.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct LogFile {
    path: PathBuf,
    open: Option<OpenFile>,
    /// No rotation before.
    not_before: Option<SystemTime>,
}

struct OpenFile {
    file: File,
    /// Device and number of the file, to notice that another one has its name now.
    identity: (u64, u64),
    begun: SystemTime,
    size: u64,
}

impl LogFile {
    /// # Errors
    /// The file cannot be opened or made.
    pub(super) fn open(path: &Path, mode: LogMode) -> Result<Self, TelemetryError> {
        // Absolute, so that a later change of the working folder does not move the log.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match OpenFile::at(&path, mode) {
            Ok(open) => Ok(Self {
                path,
                open: Some(open),
                not_before: None,
            }),
            Err(source) => Err(TelemetryError::Open { path, source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line, after a rotation if it is time. `Ok` may hold what a reader should be told.
    ///
    /// # Errors
    /// The file cannot be opened, or the disk is full; the line may have been written in part.
    pub(super) fn write(
        &mut self,
        shape: &LineFormat,
        now: &ZonedDateTime,
        line: &LogLine,
    ) -> io::Result<Option<String>> {
        let mut bytes = Vec::with_capacity(line.whole().len() + 1);
        bytes.extend_from_slice(line.whole().as_bytes());
        bytes.push(b'\n');

        let mut open = self.current()?;
        let mut news = None;
        let clock = SystemTime::now();
        if open.is_due(shape, clock, bytes.len() as u64)
            && self.not_before.is_none_or(|time| clock >= time)
        {
            match rotate(&self.path, now) {
                Ok(()) => {
                    self.not_before = None;
                    open = OpenFile::at(&self.path, LogMode::Append)?;
                }
                Err(error) => {
                    self.not_before = clock.checked_add(PATIENCE);
                    news = Some(format!(
                        "the log file {} cannot be renamed, and keeps growing: {error}",
                        self.path.display()
                    ));
                }
            }
        }
        // On an error the file stays closed, and the next line opens it again.
        open.file.write_all(&bytes)?;
        open.size += bytes.len() as u64;
        self.open = Some(open);
        Ok(news)
    }

    /// The file that has the name now: it is another one when somebody else rotates, and none when
    /// the folder was removed.
    fn current(&mut self) -> io::Result<OpenFile> {
        if let Some(open) = self.open.take() {
            match fs::metadata(&self.path) {
                Ok(found) if identity(&found) == open.identity => return Ok(open),
                _ => {}
            }
        }
        OpenFile::at(&self.path, LogMode::Append)
    }
}

impl OpenFile {
    fn at(path: &Path, mode: LogMode) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        let found = file.metadata()?;
        let regular = found.is_file();
        let fresh = found.len() == 0 || mode == LogMode::Create;
        if mode == LogMode::Create && regular {
            file.set_len(0)?;
        }
        Ok(Self {
            identity: identity(&found),
            begun: if fresh {
                SystemTime::now()
            } else {
                // Some file systems do not know when a file was made.
                found
                    .created()
                    .or_else(|_| found.modified())
                    .unwrap_or_else(|_| SystemTime::now())
            },
            size: if fresh { 0 } else { found.len() },
            file,
        })
    }

    fn is_due(&self, shape: &LineFormat, clock: SystemTime, more: u64) -> bool {
        if self.size == 0 {
            return false;
        }
        let large = shape.rotation_size > 0 && self.size + more > shape.rotation_size;
        let old = !shape.rotation_age.is_zero()
            && clock
                .duration_since(self.begun)
                .is_ok_and(|age| age >= shape.rotation_age);
        large || old
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Renames the file to `<path>.<timestamp>`, in local time; a name that is taken gets `.1`, `.2`, ….
fn rotate(path: &Path, now: &ZonedDateTime) -> io::Result<()> {
    let mut base = path.as_os_str().to_owned();
    base.push(now.strftime(".%Y%m%d%H%M%S").to_string());
    let mut target = PathBuf::from(&base);
    let mut number = 0_u32;
    while target.symlink_metadata().is_ok() {
        number += 1;
        let mut next = base.clone();
        next.push(format!(".{number}"));
        target = PathBuf::from(next);
    }
    fs::rename(path, &target)
}
