//! What goes on beside a target's scrapes: an attempt to connect, and a session that has yet to
//! answer what it was asked. Neither is given up lightly, for the server counts both: whoever drops
//! one of them leaves its end to a task.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::DropGuard;

use super::connect_queue::ConnectTurn;
use super::event::DownCause;
use crate::model::TargetErrorKind;
use crate::postgres::{LeakedBackend, Session};
use crate::targets::{Target, TargetError};

/// How long a connection that nobody needs is waited for.
const GONE: Duration = Duration::from_secs(60);

/// Held by everything that may count at the server. Once all of it is gone, whoever has the target
/// next may connect.
pub(crate) type EndGuard = Arc<DropGuard>;

/// What came of an attempt, and the turn that it was made in.
pub(crate) type AttemptResult = (Result<Session, DownCause>, ConnectTurn);

/// An attempt to connect, which goes on beside the scrapes.
pub(crate) struct ConnectAttempt {
    result: Option<BoxFuture<'static, AttemptResult>>,
    /// Told when somebody begins to wait for it.
    pub(crate) hurry: Arc<Notify>,
    /// When it had its place among the connections.
    began: watch::Receiver<Option<Instant>>,
    /// It was told that it takes too long.
    is_late: bool,
    guard: EndGuard,
}

impl ConnectAttempt {
    pub(crate) fn new(
        result: BoxFuture<'static, AttemptResult>,
        hurry: Arc<Notify>,
        began: watch::Receiver<Option<Instant>>,
        guard: EndGuard,
    ) -> Self {
        Self {
            result: Some(result),
            hurry,
            began,
            is_late: false,
            guard,
        }
    }

    /// When it was given its connection; `None` while it queues.
    pub(crate) fn began(&self) -> Option<Instant> {
        *self.began.borrow()
    }

    /// Gives it up at once, and its connection back.
    pub(crate) fn abandon(mut self) {
        self.result = None;
    }

    /// Leaves it to a task: a server that counts it sees an orderly end. `None`: it has not begun.
    pub(crate) fn leave(mut self) -> Option<JoinHandle<()>> {
        self.spawn_end()
    }

    /// Waits no longer than that until it is let in.
    pub(crate) async fn finish(mut self, limit: Duration) -> Option<Session> {
        self.began()?;
        let result = self.result.as_mut()?;
        let (opened, _) = tokio::time::timeout(limit, result).await.ok()?;
        self.result = None;
        opened.ok()
    }

    fn spawn_end(&mut self) -> Option<JoinHandle<()>> {
        let result = self.result.take().filter(|_| self.began().is_some())?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let guard = Arc::clone(&self.guard);
        Some(runtime.spawn(async move {
            if let (Ok(session), _) = result.await {
                let _ = session.close(GONE).await;
            }
            drop(guard);
        }))
    }
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        self.spawn_end();
    }
}

/// The trouble of an attempt that takes too long.
pub(crate) fn no_session(target: &Target) -> TargetError {
    TargetError {
        kind: TargetErrorKind::Timeout,
        message: format!(
            "{}: no session within {:?}; the attempt goes on. The server hangs, is overloaded, \
             or does not speak PostgreSQL's protocol",
            target.address, target.timeouts.connect
        ),
    }
}

/// The end of an attempt, or `None` once when it takes longer than `limit`. It goes on then: one
/// that is given up still counts at a server that hangs, and a second would come on top.
pub(crate) async fn attempt_ended(
    connecting: &mut Option<ConnectAttempt>,
    limit: Duration,
) -> Option<AttemptResult> {
    let Some(attempt) = connecting else {
        return std::future::pending().await;
    };
    let Some(result) = &mut attempt.result else {
        return std::future::pending().await;
    };
    let mut began = attempt.began.clone();
    let is_late = attempt.is_late;
    let late = async {
        let began = began
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|at| *at);
        match began {
            Some(at) if !is_late => sleep_until(at + limit).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = result => {
            attempt.result = None;
            Some(done)
        }
        () = late => {
            attempt.is_late = true;
            None
        }
    }
}

/// A session that was drained, or the backend that was left behind, and why.
pub(crate) type DrainResult = Result<Session, (Option<LeakedBackend>, TargetError)>;

/// A session that has yet to answer what it was asked.
pub(crate) struct Draining {
    /// It is of use when it has answered.
    pub(crate) keep: bool,
    result: Option<BoxFuture<'static, DrainResult>>,
    guard: EndGuard,
}

impl Draining {
    /// Waits for the session no longer than `limit`.
    pub(crate) fn new(session: Session, keep: bool, limit: Duration, guard: EndGuard) -> Self {
        Self {
            keep,
            result: Some(Box::pin(session.settled(limit))),
            guard,
        }
    }

    /// Gives it up at once: another server is shown from now on.
    pub(crate) fn abandon(mut self) {
        self.result = None;
    }

    /// Completes when the session has answered, or is given up.
    pub(crate) fn ended(&mut self) -> impl Future<Output = DrainResult> + Send {
        let result = &mut self.result;
        async move {
            let Some(running) = result else {
                return std::future::pending().await;
            };
            let done = running.await;
            *result = None;
            done
        }
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let (Some(result), Ok(runtime)) =
            (self.result.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let guard = Arc::clone(&self.guard);
        runtime.spawn(async move {
            if let Ok(session) = result.await {
                let _ = session.close(GONE).await;
            }
            drop(guard);
        });
    }
}

/// The end of draining; never without a session that is drained.
pub(crate) async fn drain_ended(draining: &mut Option<Draining>) -> DrainResult {
    match draining {
        Some(draining) => draining.ended().await,
        None => std::future::pending().await,
    }
}
