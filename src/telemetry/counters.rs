//! Counters of log lines.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many lines were logged, by level, since the start. Lines below the log level and lines of
/// the levels DEBUG and TRACE are not counted.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines at INFO; `pgexporter_logging_info`.
    pub info: AtomicU64,
    /// Lines at WARN; `pgexporter_logging_warn`.
    pub warn: AtomicU64,
    /// Lines at ERROR; `pgexporter_logging_error`.
    pub error: AtomicU64,
    /// Lines at FATAL; `pgexporter_logging_fatal`.
    pub fatal: AtomicU64,
    /// Lines, of those above and of the lower levels, that were lost: the queue was full, or
    /// nothing could be written to.
    pub dropped: AtomicU64,
    /// Lines that went to standard error because the file or syslog failed.
    pub diverted: AtomicU64,
}

impl LogCounters {
    /// Begins again at 0.
    pub fn clear(&self) {
        let all = [
            &self.info,
            &self.warn,
            &self.error,
            &self.fatal,
            &self.dropped,
            &self.diverted,
        ];
        all.iter().for_each(|one| one.store(0, Ordering::Relaxed));
    }
}
