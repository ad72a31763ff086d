//! A reconcile as a whole: resolve, then validate. Validations run on threads outside the runtime:
//! tenants wrote the texts that are parsed, and parsing them may keep a processor busy for long.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::outcome::{ResolvedResource, StartedReconcile};
use super::resolve::{ResolveRefsError, resolve};
use super::validate::{Validated, ValidationContext, validate};
use crate::kubernetes::api::{ObjectVersions, Rejection, RejectionReason};

/// Validations that run at once.
pub(crate) const CONCURRENT_VALIDATIONS: usize = 2;
/// How long one validation may take.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves and validates a resource. `validations` limits how many keep a processor busy at once.
pub(crate) async fn reconcile(
    started: StartedReconcile,
    client: Client,
    validations: Arc<Semaphore>,
    context: ValidationContext,
) -> ResolvedResource {
    let begin = Instant::now();
    let mut versions = ObjectVersions::new();
    let (result, busy) = match resolve(&client, &started.resource, &mut versions).await {
        Err(error) => (Err(error), Duration::ZERO),
        Ok(refs) => {
            let resource = Arc::clone(&started.resource);
            let check = move || validate(&resource, refs, &context);
            let (result, busy) = run_validation(&validations, check).await;
            (result.map_err(ResolveRefsError::Rejected), busy)
        }
    };
    ResolvedResource {
        started,
        versions,
        result,
        took: begin.elapsed(),
        busy,
    }
}

/// Runs a validation on a blocking thread. Returns its result and how long it took.
async fn run_validation(
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
