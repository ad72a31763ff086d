//! Work that may keep a processor busy, beside the runtime's threads: reading what tenants wrote.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::rejection::{Rejection, RejectionReason};
use super::validate::Validated;

/// Texts of resources that are read at once: each may keep a processor busy.
pub(super) const CONCURRENT_VALIDATIONS: usize = 2;
/// How long one of them may take.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Does work that keeps a processor busy beside the runtime's threads. Returns for how long it did.
pub(super) async fn run_validation(
    checks: &Arc<Semaphore>,
    check: impl FnOnce() -> Result<Validated, Rejection> + Send + 'static,
) -> (Result<Validated, Rejection>, Duration) {
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
        Err(Rejection::new(RejectionReason::InvalidMetrics, message))
    };
    let result = match tokio::time::timeout(VALIDATION_TIMEOUT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => refuse("cannot be read"),
        Err(_) => refuse("take too long to read"),
    };
    (result, begin.elapsed())
}
