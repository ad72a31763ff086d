//! What goes on beside a target's scrapes: an attempt to connect, and a session that has yet to
//! answer what it was asked. Neither is given up lightly, for the server counts both.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::Reason;
use crate::postgres::{Orphan, Session};
use crate::targets::{Target, Trouble};

/// How long an order waits for a session that a scrape before it left at work.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// An attempt to connect, which goes on beside the scrapes.
pub(super) struct Attempt {
    pub(super) result: Pin<Box<dyn Future<Output = Result<Session, Trouble>> + Send>>,
    /// When it had its place among the connections.
    pub(super) began: watch::Receiver<Option<Instant>>,
    /// It was told that it takes too long.
    pub(super) late: bool,
}

pub(super) type Settled = Result<Session, (Option<Orphan>, Trouble)>;
pub(super) type Settling = Pin<Box<dyn Future<Output = Settled> + Send>>;

/// The trouble of an attempt that takes too long.
pub(super) fn no_session(target: &Target) -> Trouble {
    Trouble {
        reason: Reason::Timeout,
        message: format!(
            "{}: no session within {:?}; the attempt goes on. The server hangs, is overloaded, \
             or does not speak PostgreSQL's protocol",
            target.address, target.timeouts.connect
        ),
    }
}

/// The end of an attempt, or `None` once when it takes longer than `limit`. It goes on then: one
/// that is given up still counts at a server that hangs, and a second would come on top.
pub(super) async fn attempted(
    connecting: &mut Option<Attempt>,
    limit: Duration,
) -> Option<Result<Session, Trouble>> {
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
pub(super) async fn settled(settling: &mut Option<(bool, Settling)>) -> (bool, Settled) {
    match settling {
        Some((keep, future)) => (*keep, future.await),
        None => std::future::pending().await,
    }
}

/// Completes when an order that waits for a session to settle has waited long enough.
pub(super) async fn patience(since: &Option<Instant>, waits: bool) {
    match since {
        Some(since) if waits && since.elapsed() < MOMENT => sleep_until(*since + MOMENT).await,
        _ => std::future::pending().await,
    }
}
