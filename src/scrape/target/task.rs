//! Runs the driver of one target, and starts it anew when it panics.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::TargetContext;
use super::driver::{DriverInputs, TargetDriver};
use crate::scrape::counters::TargetCounters;
use crate::supervision::{TaskName, restart_after_panic};
use crate::targets::{Health, Target};

/// What outlives a driver that panics.
pub(crate) struct TargetTaskParts {
    /// The target as it is to be.
    pub changes: watch::Receiver<Arc<Target>>,
    pub inputs: DriverInputs,
    pub health: Health,
    pub counters: Arc<TargetCounters>,
    pub context: TargetContext,
    /// Ends the task.
    pub cancelled: CancellationToken,
    /// Done when nothing of the task before this one counts at the server.
    pub before: Option<CancellationToken>,
    /// The same of this one.
    pub ended: CancellationToken,
}

/// The task. Each driver connects only after the sessions of the one before it have ended.
pub(crate) fn run_target(mut parts: TargetTaskParts) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let stop = parts.cancelled.clone();
        let run = run_driver;
        restart_after_panic(TaskName::Target, stop.cancelled(), &mut parts, run).await;
        if let Some(last) = parts.before {
            last.cancelled().await;
        }
        parts.ended.cancel();
    })
}

fn run_driver<'a>(parts: &'a mut &mut TargetTaskParts) -> BoxFuture<'a, ()> {
    let closed = CancellationToken::new();
    let before = parts.before.replace(closed.clone());
    // On the heap by itself: a future that holds it and awaits it has room for it more than once.
    let mut driver = Box::new(TargetDriver::new(
        parts.changes.clone(),
        parts.health.clone(),
        Arc::clone(&parts.counters),
        parts.context.clone(),
        parts.cancelled.clone(),
        before,
        closed,
    ));
    let inputs = &mut parts.inputs;
    Box::pin(async move { driver.run(inputs).await })
}
