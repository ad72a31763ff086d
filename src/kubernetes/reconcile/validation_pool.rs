//! Runs validations on threads outside the runtime: parsing what tenants wrote may keep a processor
//! busy for long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::validate::Validated;
use crate::kubernetes::api::rejection::{Rejection, RejectionReason};

/// Validations that run at once.
pub(in crate::kubernetes) const CONCURRENT_VALIDATIONS: usize = 2;
/// How long one validation may take.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a validation on a blocking thread. Returns its result and how long it took.
pub(in crate::kubernetes) async fn run_validation(
    checks: &Arc<Semaphore>,
    check: impl FnOnce() -> Result<Validated, Rejection> + Send + 'static,
) -> (Result<Validated, Rejection>, Duration) {
    // The semaphore is never closed. After a timeout the thread keeps its permit until it ends, so
    // that no more than [`CONCURRENT_VALIDATIONS`] threads are ever busy.
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
