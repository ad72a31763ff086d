//! The bounded queue between the callers that log and the thread that writes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::line::{self, Content, LogLine};
use super::settings::LogState;
use super::sink::LogSink;
use super::{LogCounters, LogLevel};

/// How much may wait, in bytes.
const CAPACITY: usize = 1024 * 1024;

/// The target of lines about the log itself.
const TARGET: &str = "pgexporter::telemetry";

pub(super) struct LogQueue {
    waiting: Mutex<QueueState>,
    changed: Condvar,
    counters: Arc<LogCounters>,
}

#[derive(Default)]
struct QueueState {
    entries: VecDeque<QueuedLine>,
    bytes: usize,
    /// Entries ever put in, and entries ever done with.
    pushed: u64,
    done: u64,
    /// Lines dropped because the queue was full and not reported yet. The next line that fits is
    /// preceded by an entry with their number.
    refused: u64,
    closed: bool,
}

enum QueuedLine {
    Line(LogLevel, LogLine),
    /// So many lines are missing here.
    Gap(u64),
}

impl fmt::Debug for LogQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogQueue").finish_non_exhaustive()
    }
}

impl LogQueue {
    /// Starts the thread that writes to `sink`. It ends after [`LogQueue::close`].
    pub(super) fn start(
        mut sink: LogSink,
        shared: Arc<LogState>,
        counters: Arc<LogCounters>,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            counters,
        });
        let reader = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || reader.write_all_to(&mut sink, &shared))?;
        Ok(queue)
    }

    /// Puts a line in, or drops and counts it. Never waits.
    pub(super) fn push(&self, level: LogLevel, line: LogLine) {
        let mut waiting = self.lock();
        let size = line.whole().len();
        if waiting.closed || waiting.bytes + size > CAPACITY {
            waiting.refused += 1;
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.add_gap();
        waiting.bytes += size;
        waiting.add_line(QueuedLine::Line(level, line));
        self.changed.notify_all();
    }

    /// Waits until what was put in before is written; says whether it was within `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut waiting = self.lock();
        let goal = waiting.pushed;
        while waiting.done < goal {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self
                .changed
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// No more lines are taken; the thread ends when it has written those that wait.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn write_all_to(&self, sink: &mut LogSink, shared: &LogState) {
        while let Some(entry) = self.next() {
            match entry {
                QueuedLine::Line(level, line) => self.write(sink, shared, level, &line),
                QueuedLine::Gap(lines) => {
                    let message = format!(
                        "{lines} log lines were dropped here: the log could not be written fast enough"
                    );
                    self.write_notice(sink, shared, &message);
                }
            }
            let mut waiting = self.lock();
            if waiting.entries.is_empty() {
                waiting.add_gap();
            }
            waiting.done += 1;
            drop(waiting);
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<QueuedLine> {
        let mut waiting = self.lock();
        loop {
            if let Some(entry) = waiting.entries.pop_front() {
                if let QueuedLine::Line(_, line) = &entry {
                    waiting.bytes -= line.whole().len();
                }
                return Some(entry);
            }
            if waiting.closed {
                return None;
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write(&self, sink: &mut LogSink, shared: &LogState, level: LogLevel, line: &LogLine) {
        let outcome = sink.write(&shared.shape(), &shared.now(), level, line);
        if outcome.diverted {
            self.counters.diverted.fetch_add(1, Ordering::Relaxed);
        }
        if outcome.lost {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(news) = outcome.news {
            self.write_notice(sink, shared, &news);
        }
    }

    /// A line about the log itself: at WARN, and counted as such.
    fn write_notice(&self, sink: &mut LogSink, shared: &LogState, message: &str) {
        if shared.level() > LogLevel::Warn {
            return;
        }
        self.counters.warn.fetch_add(1, Ordering::Relaxed);
        let content = Content {
            level: LogLevel::Warn,
            target: TARGET,
            message,
            fields: &[],
        };
        let now = shared.now();
        let shape = shared.shape();
        let line = line::format(&shape, &now, &content);
        let outcome = sink.write(&shape, &now, LogLevel::Warn, &line);
        if outcome.lost {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn add_line(&mut self, entry: QueuedLine) {
        self.pushed += 1;
        self.entries.push_back(entry);
    }

    fn add_gap(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            self.add_line(QueuedLine::Gap(refused));
        }
    }
}
