//! What happens when a task panics: one line in the log, one count, and then, by the kind of the
//! task, the end of the program or a new start.
//!
//! * The panic hook writes the line and counts. It knows the task by a name that is bound to the
//!   task's future while it runs ([`supervise`]); a panic anywhere else counts as `other`.
//! * A task without which the program does not do its work (`Shutdown::spawn_essential`) ends it: in
//!   order, with exit status 1.
//! * A task that serves one target starts anew, later each time ([`restart_after_panic`]).

use std::future::Future;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tracing::error;

use crate::exposition::{FamilyHead, SampleWriter, SelfMetrics};
use crate::jitter::random_fraction;
use crate::model::Kind;

/// The longest message of a panic that is logged, in bytes.
const MESSAGE: usize = 1024;
/// The first pause before a task that panicked starts anew, and the longest. A task that ran for
/// longer than that begins again with the first one.
const FIRST_RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_secs(60);

/// The families, in the order they are sent.
pub const FAMILIES: [FamilyHead<'static>; 1] = [FamilyHead {
    name: "pgexporter_task_panics_total",
    kind: Kind::Counter,
    help: "Number of panics, which are faults of the exporter itself, by the task that panicked.",
}];

/// A task, as the log and the metric of panics name it. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskName {
    /// Wires the others: reload and shutdown.
    Main,
    /// The port of `/metrics`.
    Metrics,
    /// The port of probes.
    Health,
    /// The remote port and the Unix socket of management.
    Management,
    /// A connection to any of these.
    Connection,
    /// Follows the list of targets.
    Targets,
    /// The task of one target.
    Target,
    /// The loop of the controller, and what asks for the cluster's version.
    Controller,
    /// Writes statuses.
    Status,
    /// Holds the Lease.
    Lease,
    /// Everything else: threads, and short tasks that nobody waits for.
    Other,
}

impl TaskName {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Main,
        Self::Metrics,
        Self::Health,
        Self::Management,
        Self::Connection,
        Self::Targets,
        Self::Target,
        Self::Controller,
        Self::Status,
        Self::Lease,
        Self::Other,
    ];

    /// The value of the label `task`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Management => "management",
            Self::Connection => "connection",
            Self::Targets => "targets",
            Self::Target => "target",
            Self::Controller => "controller",
            Self::Status => "status",
            Self::Lease => "lease",
            Self::Other => "other",
        }
    }
}

tokio::task_local! {
    /// The name of the task whose future is being polled on this thread. A panic hook gets no
    /// argument that could say it.
    static RUNNING: TaskName;
}

/// How often each task panicked. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct TaskPanics(Arc<[AtomicU64; TaskName::ALL.len()]>);

impl TaskPanics {
    /// How often a task panicked.
    #[must_use]
    pub fn number(&self, task: TaskName) -> u64 {
        self.0[task as usize].load(Ordering::Relaxed)
    }

    /// Makes every panic of this process one line of the log and one count. Programs for the command
    /// line do without: their panics are printed.
    pub fn install_hook(&self) {
        let (panics, print) = (self.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |panic| {
            let task = RUNNING.try_with(|task| *task).unwrap_or(TaskName::Other);
            panics.0[task as usize].fetch_add(1, Ordering::Relaxed);
            // Nobody else reads the queue of lines that wait to be written.
            if thread::current().name() == Some("log") {
                return print(panic);
            }
            let place = panic.location().map(ToString::to_string);
            let place = place.unwrap_or_default();
            error!(
                task = task.as_str(),
                "panicked at {place}: {}",
                message(panic)
            );
        }));
    }
}

/// What the panic says, cut to [`MESSAGE`].
fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let whole = payload.downcast_ref::<&str>().copied();
    let whole = whole.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let whole = whole.unwrap_or("no message");
    &whole[..whole.floor_char_boundary(MESSAGE)]
}

impl SelfMetrics for TaskPanics {
    fn heads(&self) -> Vec<FamilyHead<'static>> {
        FAMILIES.to_vec()
    }

    fn samples(&self, family: &str, out: &mut Vec<u8>) {
        if family != FAMILIES[0].name {
            return;
        }
        for task in TaskName::ALL {
            let mut sample = SampleWriter::begin(out, family);
            sample.label("task", task.as_str().as_bytes());
            sample.integer(i64::try_from(self.number(task)).unwrap_or(i64::MAX));
        }
    }
}

/// A task has panicked. The panic hook has said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {} failed, and pgexporter ended with it; report the line of the log that says where", self.0.as_str())]
pub struct TaskPanicked(pub TaskName);

/// Runs a task under a name, and drops all that it holds when it panics.
///
/// # Errors
/// It panicked.
pub fn supervise<T>(
    task: TaskName,
    future: impl Future<Output = T>,
) -> impl Future<Output = Result<T, TaskPanicked>> {
    #[cfg(debug_assertions)]
    let future = provoked::unless_provoked(task, future);
    let future = AssertUnwindSafe(future).catch_unwind();
    let ended = RUNNING.scope(task, future);
    // An async block that awaits what it captured has room for it twice.
    ended.map(move |ended| ended.map_err(|_| TaskPanicked(task)))
}

/// Runs a task on `state`, and starts it anew each time that it panics: after a second, then twice as
/// long each time, up to a minute, with jitter. Ends when the task ends, or with `stop` between two
/// starts. What must outlive a panic, such as the receiver of requests, belongs into the state; what
/// the panic may have left half done belongs into the future, which is dropped.
///
/// ```text
/// let task = restart_after_panic(TaskName::Target, stop, worker, |worker| Box::pin(worker.run()));
/// shutdown.spawn("session", task);
/// ```
pub async fn restart_after_panic<S>(
    task: TaskName,
    stop: impl Future<Output = ()>,
    mut state: S,
    run: impl for<'a> Fn(&'a mut S) -> BoxFuture<'a, ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut pause = FIRST_RESTART;
    loop {
        let begun = Instant::now();
        if supervise(task, run(&mut state)).await.is_ok() {
            return;
        }
        if begun.elapsed() > LONGEST_RESTART {
            pause = FIRST_RESTART;
        }
        let half = pause / 2;
        tokio::select! {
            () = &mut stop => return,
            () = sleep(half + half.mul_f64(random_fraction())) => {}
        }
        pause = (pause * 2).min(LONGEST_RESTART);
    }
}

/// Panics that a test asks for. Not in programs that are built for release.
#[cfg(debug_assertions)]
mod provoked {
    use std::path::Path;

    use super::{Duration, Future, TaskName, sleep};

    /// `task=file`: that task panics once the file is there, with the file's text as the message.
    const VARIABLE: &str = "PGEXPORTER_TEST_PANIC";
    const LOOK: Duration = Duration::from_millis(20);

    #[allow(clippy::panic)]
    pub(super) async fn unless_provoked<T>(task: TaskName, future: impl Future<Output = T>) -> T {
        let wanted = std::env::var(VARIABLE).unwrap_or_default();
        let file = wanted
            .split_once('=')
            .filter(|(name, _)| *name == task.as_str());
        let Some((_, file)) = file else {
            return future.await;
        };
        tokio::select! {
            ended = future => ended,
            message = wait_for_file(Path::new(file)) => {
                std::panic::panic_any(message)
            }
        }
    }

    async fn wait_for_file(file: &Path) -> String {
        loop {
            // Who removes it panics: once, though several tasks may have the name.
            if let Ok(message) = std::fs::read_to_string(file)
                && std::fs::remove_file(file).is_ok()
            {
                return message;
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_starts_anew_later_each_time_until_it_ends() {
        fn run<'a>(times: &'a mut &mut Vec<Instant>) -> BoxFuture<'a, ()> {
            times.push(Instant::now());
            let start = times.len();
            async move {
                // The fifth one runs well for a long time before it panics.
                match start {
                    5 => sleep(2 * LONGEST_RESTART).await,
                    7 => return,
                    _ => {}
                }
                panic!("on purpose");
            }
            .boxed()
        }
        let mut times = Vec::new();
        restart_after_panic(TaskName::Target, pending(), &mut times, run).await;
        let pauses: Vec<f64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        assert_eq!(pauses.len(), 6);
        for (pause, most) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 121.0, 2.0]) {
            assert!(*pause <= most + 0.01, "{pauses:?}");
            assert!(*pause >= most / 2.0 - 0.01, "{pauses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_for_its_next_start_ends_with_the_program() {
        fn run((): &mut ()) -> BoxFuture<'_, ()> {
            async { panic!("on purpose") }.boxed()
        }
        let (stop, begun) = (sleep(Duration::from_millis(100)), Instant::now());
        let task = restart_after_panic(TaskName::Target, stop, (), run);
        // As a task of the runtime: it is `Send`.
        tokio::spawn(task).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(200));
    }

    #[tokio::test]
    async fn what_a_task_holds_is_dropped_when_it_panics() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let ended = supervise(TaskName::Controller, async move {
            let _inside = inside;
            panic!("on purpose");
        });
        let ended: Result<(), _> = ended.await;
        assert_eq!(ended, Err(TaskPanicked(TaskName::Controller)));
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn each_task_has_a_sample_of_its_own() {
        for (at, task) in TaskName::ALL.into_iter().enumerate() {
            assert_eq!(task as usize, at);
        }
        let mut out = Vec::new();
        TaskPanics::default().samples(FAMILIES[0].name, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), TaskName::ALL.len());
        assert!(text.contains("pgexporter_task_panics_total{task=\"controller\"} 0\n"));
    }
}
