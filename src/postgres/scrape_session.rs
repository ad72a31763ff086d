//! What scraping needs of a session. Everything above can be driven by another implementation of
//! this: without PostgreSQL, and with a clock that stands still.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::query::ScheduledQuery;
use super::query_run::QueryContext;
use super::run::{PipelineRequest, PipelineResponse};
use super::server_info::ServerInfo;
use super::statement::Mode;
use crate::targets::TargetError;

/// A backend that may still run what a session left behind when its connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakedBackend(pub(super) i32);

/// A session as scraping sees it.
pub trait ScrapeSession: Send + Sized {
    /// Tells it from the sessions before and beside it.
    fn id(&self) -> u64;

    /// How queries are sent.
    fn mode(&self) -> &Mode;

    /// What the server last said of itself.
    fn facts(&self) -> Option<&ServerInfo>;

    /// Why the connection ended; `None` while it lives, as far as is known.
    fn trouble(&self) -> Option<&TargetError>;

    /// Prepares what is not prepared yet. A query that cannot be is marked and left out.
    ///
    /// # Errors
    /// The session broke, or did not answer in time: it must be [drained](Self::drain) then.
    fn prepare(
        &mut self,
        slots: &mut [ScheduledQuery],
        deadline: Instant,
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Runs all of `slots`, with what is asked beside them, and waits no longer than until `late`
    /// completes. What did not answer is left in
    /// [`QueryOutcome::Running`](super::QueryOutcome::Running). `known` hears the facts as soon as
    /// they are there.
    fn run(
        &mut self,
        slots: &mut [&mut ScheduledQuery],
        ask: PipelineRequest,
        context: QueryContext<'_>,
        known: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = PipelineResponse> + Send;

    /// Sends the questions of what the server is before the rest of a run is made ready.
    fn ask_ahead(&mut self, slots: &[ScheduledQuery], databases: bool);

    /// Ends a login of ours that hangs in another database, by our own port. Returns whether the
    /// session answered.
    fn end_login(&mut self, port: u16, deadline: Instant) -> impl Future<Output = bool> + Send;

    /// After a run that did not end: cancels what still runs, and waits until the server has
    /// answered all that it was sent.
    ///
    /// # Errors
    /// The backend that was left behind, when that takes longer than `limit`.
    fn drain(
        self,
        limit: Duration,
    ) -> impl Future<Output = Result<Self, (Option<LeakedBackend>, TargetError)>> + Send;

    /// Says goodbye and waits until the server has closed the connection, no longer than `limit`.
    ///
    /// # Errors
    /// What still waits, when it takes longer: the server may still count the connection.
    fn close(self, limit: Duration) -> impl Future<Output = Result<(), JoinHandle<()>>> + Send;
}
