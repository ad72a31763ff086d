//! Runs the driver of one target, and starts it anew when it panics.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::context::TargetContext;
use super::driver::{DriverInputs, TargetDriver};
use crate::scrape::counters::TargetCounters;
use crate::scrape::profile::ProfileRequest;
use crate::scrape::single_flight::CollectRequest;
use crate::supervision::{TaskName, restart_after_panic};
use crate::targets::{Health, Target};

/// What outlives a driver that panics.
pub(in crate::scrape) struct TargetTaskParts {
    /// The target as it is to be.
    pub changes: watch::Receiver<Arc<Target>>,
    pub requests: mpsc::UnboundedReceiver<CollectRequest>,
    pub profiles: mpsc::UnboundedReceiver<ProfileRequest>,
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
pub(in crate::scrape) fn run_target(parts: TargetTaskParts) -> BoxFuture<'static, ()> {
    let TargetTaskParts {
        changes,
        requests,
        profiles,
        health,
        counters,
        context,
        cancelled,
        mut before,
        ended,
    } = parts;
    let inputs = Arc::new(Mutex::new(DriverInputs { requests, profiles }));
    Box::pin(async move {
        let stop = cancelled.clone();
        let start = || {
            let closed = CancellationToken::new();
            let before = before.replace(closed.clone());
            let driver = TargetDriver::new(
                changes.clone(),
                health.clone(),
                Arc::clone(&counters),
                context.clone(),
                cancelled.clone(),
                before,
                closed,
            );
            let inputs = Arc::clone(&inputs);
            // On the heap, once: what awaits it has room for a pointer.
            Box::pin(async move { driver.run(&mut *inputs.lock().await).await })
        };
        restart_after_panic(TaskName::Target, stop.cancelled(), start).await;
        if let Some(last) = before {
            last.cancelled().await;
        }
        ended.cancel();
    })
}
