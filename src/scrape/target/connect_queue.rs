//! What goes on beside a target's scrapes: an attempt to connect, and a session that has yet to
//! answer what it was asked. Neither is given up lightly, for the server counts both.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::driver::DownCause;
use crate::model::TargetErrorKind;
use crate::postgres::{LeakedBackend, Session};
use crate::targets::{Target, TargetError};

/// How long an order waits for a session that a scrape before it left at work.
pub(in crate::scrape) const MOMENT: Duration = Duration::from_secs(1);

/// Targets that connect at once while nobody waits for them. When a thousand arrive together, each
/// has a server or a proxy that works for it, and who reads the list is not to be the last of them.
const TURNS: usize = 8;
/// A server that hangs takes nobody else's turn for longer.
const TURN: Duration = Duration::from_secs(1);

/// Turns to connect, for those whom nobody waits for. Cloning shares them.
#[derive(Clone, Debug)]
pub(in crate::scrape) struct ConnectQueue(Arc<Semaphore>);

/// A turn, given back when dropped.
pub(in crate::scrape) type ConnectTurn = Option<OwnedSemaphorePermit>;

impl Default for ConnectQueue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TURNS)))
    }
}

impl ConnectQueue {
    /// For one at a time.
    pub(in crate::scrape) fn for_one() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// A turn, or none as soon as somebody is in a `hurry`.
    pub(in crate::scrape) async fn next(&self, hurry: &Notify) -> ConnectTurn {
        tokio::select! {
            turn = Arc::clone(&self.0).acquire_owned() => turn.ok(),
            () = hurry.notified() => None,
        }
    }
}

/// Works in a turn, and goes on without it when that takes long.
pub(in crate::scrape) async fn in_turn<T>(
    mut turn: ConnectTurn,
    work: impl Future<Output = T>,
) -> (T, ConnectTurn) {
    let mut work = pin!(work);
    let done = tokio::time::timeout(TURN, &mut work).await;
    match done {
        Ok(done) => (done, turn),
        Err(_) => {
            turn = None;
            (work.await, turn)
        }
    }
}

/// What came of an attempt, and the turn that it was made in.
pub(in crate::scrape) type AttemptResult = (Result<Session, DownCause>, ConnectTurn);

/// An attempt to connect, which goes on beside the scrapes.
pub(in crate::scrape) struct ConnectAttempt {
    pub(in crate::scrape) result: Pin<Box<dyn Future<Output = AttemptResult> + Send>>,
    /// Told when somebody begins to wait for it.
    pub(in crate::scrape) hurry: Arc<Notify>,
    /// When it had its place among the connections.
    pub(in crate::scrape) began: watch::Receiver<Option<Instant>>,
    /// It was told that it takes too long.
    pub(in crate::scrape) late: bool,
}

impl ConnectAttempt {
    /// Whether a connection is being made.
    pub(in crate::scrape) fn has_begun(&self) -> bool {
        self.began.borrow().is_some()
    }
}

pub(in crate::scrape) type DrainResult = Result<Session, (Option<LeakedBackend>, TargetError)>;
pub(in crate::scrape) type Draining = Pin<Box<dyn Future<Output = DrainResult> + Send>>;

/// The trouble of an attempt that takes too long.
pub(in crate::scrape) fn no_session(target: &Target) -> TargetError {
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
pub(in crate::scrape) async fn attempt_ended(
    connecting: &mut Option<ConnectAttempt>,
    limit: Duration,
) -> Option<AttemptResult> {
    let Some(attempt) = connecting else {
        return std::future::pending().await;
    };
    let mut began = attempt.began.clone();
    let late = async {
        let began = began
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|at| *at);
        match began {
            Some(at) if !attempt.late => sleep_until(at + limit).await,
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = &mut attempt.result => Some(result),
        () = late => {
            attempt.late = true;
            None
        }
    }
}

/// The end of settling, and whether the session is kept then.
pub(in crate::scrape) async fn drain_ended(
    draining: &mut Option<(bool, Draining)>,
) -> (bool, DrainResult) {
    match draining {
        Some((keep, future)) => (*keep, future.await),
        None => std::future::pending().await,
    }
}

/// Completes when an order that waits for a session to settle has waited long enough.
pub(in crate::scrape) async fn patience(since: &Option<Instant>, waits: bool) {
    match since {
        Some(since) if waits && since.elapsed() < MOMENT => sleep_until(*since + MOMENT).await,
        _ => std::future::pending().await,
    }
}
