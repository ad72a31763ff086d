//! Logging: one event is one line and one counter.
//!
//! In go events of `tracing` (and of the older `log`, which some dependencies use); out come lines
//! on the console, in a file or at syslog, and [`LogCounters`].
//!
//! * Text: `<line_prefix> LEVEL target: message key=value`. JSON: one object a line with
//!   `timestamp` (RFC 3339, UTC), `level`, `target`, `message` and `fields`.
//! * Fields of the spans around an event are appended, the nearest first.
//! * The console is standard error, for every level: standard output stays free for answers.
//! * A line never holds a line-break or another control character: they are escaped.
//! * A caller puts its line into a bounded queue and never waits. A thread of its own writes. When the
//!   queue is full, because nobody reads the other end of a pipe, lines are dropped and counted,
//!   and the next line that gets through is followed by one that says how many.
//! * A file or a syslog that fails is tried again with each line; meanwhile lines go to standard
//!   error, and are counted.
//! * Of some dependencies only `WARN` and above is logged, unless the level is `Trace`.
//!
//! Nothing here hides secrets: who logs must not hand one in.

mod counters;
mod error;
mod layer;
mod line;
mod queue;
mod settings;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use counters::LogCounters;
pub use error::TelemetryError;
pub use settings::{LogFormat, LogLevel, LogMode, LogSettings, LogType};

use layer::LogLayer;
use queue::LogQueue;
use settings::LogState;
use sink::{LogDestinations, LogSink};

/// How long [`Telemetry::flush`] waits for a reader that does not read.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Logs at the level FATAL: an `ERROR` event with the field `fatal = true`.
///
/// It ends nothing; who calls it does. Takes what `tracing::error!` takes.
#[macro_export]
macro_rules! fatal {
    ($($event:tt)+) => {
        ::tracing::error!(fatal = true, $($event)+)
    };
}

/// A handle on the running log. Clones are handles on the same log; when the last of them is
/// dropped, what waits is written.
#[derive(Clone, Debug)]
pub struct Telemetry {
    inner: Arc<TelemetryState>,
}

#[derive(Debug)]
struct TelemetryState {
    shared: Arc<LogState>,
    queue: Arc<LogQueue>,
    counters: Arc<LogCounters>,
}

/// Starts logging for the whole process: the one global of this program.
///
/// A syslog that does not answer is no error: its lines go to standard error until it does.
///
/// # Errors
/// The file cannot be opened, the prefix is no `strftime` format, or logging runs already.
pub fn init(settings: &LogSettings) -> Result<Telemetry, TelemetryError> {
    let (telemetry, layer) = build(settings, LogDestinations::of_the_system())?;
    // `log` fixes its own ceiling now, and it cannot be raised later: so it has to be the highest.
    telemetry.inner.shared.set_level(LogLevel::Trace);
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|_| TelemetryError::AlreadyRunning)?;
    telemetry.inner.shared.set_level(settings.level);
    tracing::callsite::rebuild_interest_cache();
    Ok(telemetry)
}

/// All but making it global.
fn build(
    settings: &LogSettings,
    destinations: LogDestinations,
) -> Result<(Telemetry, LogLayer), TelemetryError> {
    let shared = Arc::new(LogState::new(settings)?);
    let counters = Arc::new(LogCounters::default());
    let sink = LogSink::open(settings, destinations)?;
    let queue = LogQueue::start(sink, Arc::clone(&shared), Arc::clone(&counters))
        .map_err(TelemetryError::Thread)?;
    let layer = LogLayer::new(
        Arc::clone(&shared),
        Arc::clone(&queue),
        Arc::clone(&counters),
    );
    let inner = TelemetryState {
        shared,
        queue,
        counters,
    };
    Ok((
        Telemetry {
            inner: Arc::new(inner),
        },
        layer,
    ))
}

impl Telemetry {
    /// The counters; they live as long as the log.
    #[must_use]
    pub fn counters(&self) -> Arc<LogCounters> {
        Arc::clone(&self.inner.counters)
    }

    /// Takes over level, prefix, format and rotation. The mode speaks of the start alone, so that
    /// a new one has no effect yet; `log_type` and `path` need a restart and are left as they are.
    ///
    /// # Errors
    /// The prefix is no `strftime` format; then nothing was changed.
    pub fn reload(&self, settings: &LogSettings) -> Result<(), TelemetryError> {
        self.inner.shared.reload(settings)?;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Waits until all lines logged so far are written, for at most two seconds. Blocks the thread.
    /// Returns whether they were.
    pub fn flush(&self) -> bool {
        self.inner.queue.flush(FLUSH_LIMIT)
    }
}

impl Drop for TelemetryState {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_LIMIT);
    }
}

#[cfg(test)]
mod tests;
