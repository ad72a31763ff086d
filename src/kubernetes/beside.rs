//! Work that may keep a processor busy, beside the runtime's threads: reading what tenants wrote.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::refusal::{Refusal, RefusalReason};
use super::validate::Validated;

/// Texts of resources that are read at once: each may keep a processor busy.
pub(super) const CHECKS: usize = 2;
/// How long one of them may take.
const CHECK: Duration = Duration::from_secs(10);

/// Does work that keeps a processor busy beside the runtime's threads. Returns for how long it did.
pub(super) async fn beside(
    checks: &Arc<Semaphore>,
    check: impl FnOnce() -> Result<Validated, Refusal> + Send + 'static,
) -> (Result<Validated, Refusal>, Duration) {
    // It is never closed. Who is given up goes on to hold its place until its work ends.
    let permit = Arc::clone(checks).acquire_owned().await.ok();
    let begin = Instant::now();
    let work = tokio::task::spawn_blocking(move || {
        let result = check();
        drop(permit);
        result
    });
    let refuse = |words: &str| {
        let message = format!("the texts that the resource names {words}; make them smaller");
        Err(Refusal::new(RefusalReason::InvalidMetrics, message))
    };
    let result = match tokio::time::timeout(CHECK, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => refuse("cannot be read"),
        Err(_) => refuse("take too long to read"),
    };
    (result, begin.elapsed())
}
