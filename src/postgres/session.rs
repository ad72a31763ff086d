//! A session: one connection to one database, from login to goodbye.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connector::Connector;
use super::drain::cancel_and_drain;
use super::error::{QueryError, no_answer};
use super::open::open;
use super::pipeline::Pipeline;
use super::query::ScheduledQuery;
use super::query_run::QueryContext;
use super::row::RowEvent;
use super::run::{PipelineRequest, PipelineResponse, run};
use super::sample_budget::SampleBudget;
use super::scrape_session::{LeakedBackend, ScrapeSession};
use super::server_info::ServerInfo;
use super::session_info::{SessionInfo, ask, ask_rights};
use super::session_query::SessionQuery;
use super::simple_query::wait_for_end;
use super::statement::{Mode, Prepared};
use crate::catalog::Catalog;
use crate::model::{OLDEST_MAJOR, TargetErrorKind};
use crate::targets::TargetError;

/// What a connection holds of the limits of the whole process, given back at its end.
pub type ConnectionPermits = Vec<OwnedSemaphorePermit>;

/// One connection to one database.
#[derive(Debug)]
pub struct Session {
    pub(super) pipeline: Pipeline,
    pub(super) info: SessionInfo,
    pub(super) permits: ConnectionPermits,
}

impl Session {
    /// Connects. Takes as long as the server does, up to ten minutes: whoever gives up a connection
    /// that a sleeping server has yet to notice, and makes another, soon has many. `id` tells this
    /// session's prepared statements from those of others. `mode` is what is wished for; before a
    /// pooler the session takes [`Mode::Pooled`] by itself.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn open(
        connector: &Arc<Connector>,
        database: &str,
        id: u64,
        mode: Mode,
        permits: ConnectionPermits,
    ) -> Result<Self, TargetError> {
        Ok(Self {
            pipeline: open(connector, database, id, mode).await?,
            info: SessionInfo::default(),
            permits,
        })
    }

    /// Ends what a session before this one may have left running.
    ///
    /// Returns whether it still ran, so that nobody opens one connection too many meanwhile.
    pub async fn end_leaked_backend(&mut self, orphan: LeakedBackend, deadline: Instant) -> bool {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE a.pid = {} AND a.usename = SESSION_USER AND a.application_name = 'pgexporter'",
            orphan.0
        );
        let (mut found, mut answered) = (false, false);
        let mut on_event = |event: RowEvent<'_>| match event {
            RowEvent::Row(_) => found = true,
            RowEvent::Restart => {}
            RowEvent::End(result) => answered = result.is_ok(),
        };
        // Whether it broke or was late, it has not answered.
        let _ = ask(&mut self.pipeline, &sql, &mut on_event, deadline).await;
        found || !answered
    }

    /// Ends a login of ours that hangs in another database, as a trigger there may make it do. It is
    /// known by our own port, so that nobody else's is ended. Over a Unix socket, where `port` is 0,
    /// the server knows of none: there it is a login of our role, to another database, that has
    /// come to no first query for a while. Returns whether this session answered;
    /// if not it must be [`Self::settled`].
    pub async fn end_login(&mut self, port: u16, deadline: Instant) -> bool {
        let which = match port {
            0 => "a.client_port = -1 AND a.state IS NULL \
                  AND a.datname <> pg_catalog.current_database() \
                  AND a.backend_start < pg_catalog.clock_timestamp() - interval '1 second'"
                .to_owned(),
            port => format!("a.client_port = {port}"),
        };
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE {which} AND a.usename = CURRENT_USER \
             AND a.application_name = 'pgexporter' AND a.pid <> pg_catalog.pg_backend_pid()"
        );
        let query = Prepared::new(sql);
        let mut on_event = |_: RowEvent<'_>| {};
        let mut ask = SessionQuery::new(&query, &mut on_event);
        let asked = timeout_at(deadline, self.pipeline.ask(&mut ask)).await;
        asked.is_ok()
    }

    /// Tells it from the sessions before and beside it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.pipeline.session()
    }

    /// The address at the other end; `None` for a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.pipeline.key.address()
    }

    /// The backend that serves it, to be ended when it is left behind.
    #[must_use]
    pub fn backend(&self) -> Option<LeakedBackend> {
        self.facts().map(|facts| LeakedBackend(facts.pid))
    }

    /// What the server last said of itself.
    #[must_use]
    pub fn facts(&self) -> Option<&ServerInfo> {
        self.info.facts.as_ref()
    }

    /// The same queries all answered in time before: they may go together at once.
    pub fn trust(&mut self) {
        self.pipeline.careful = false;
    }

    /// How queries are sent.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.pipeline.mode
    }

    /// Why the connection ended; `None` while it lives, as far as is known.
    #[must_use]
    pub fn trouble(&self) -> Option<&TargetError> {
        self.pipeline.connection.trouble()
    }

    /// Looks whether the server has closed the connection meanwhile.
    pub fn is_alive(&mut self) -> bool {
        self.ended().now_or_never().is_none()
    }

    /// Completes when the connection has ended. For a session that is asked nothing.
    pub async fn ended(&mut self) {
        wait_for_end(&mut self.pipeline.connection).await;
    }

    /// Asks what the role may do beside reading: attributes in capitals, then roles that it is a
    /// member of. `None` when that was asked of this server within the last hour, or is refused.
    ///
    /// # Errors
    /// The session's trouble.
    pub async fn ask_rights(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Vec<String>>, TargetError> {
        match self.pipeline.connector.quirks.rights_are_due() {
            true => ask_rights(&mut self.pipeline, deadline).await,
            false => Ok(None),
        }
    }

    /// Asks the server for its version, role, extensions, and for the other databases if wanted.
    ///
    /// # Errors
    /// The session's trouble, or the server's word.
    pub async fn ask_server_info(
        &mut self,
        databases: bool,
        deadline: Instant,
    ) -> Result<&ServerInfo, TargetError> {
        if self.pipeline.mode == Mode::Kept {
            self.info.prepare(&mut self.pipeline, deadline).await?;
        }
        self.info.ask_control(&mut self.pipeline, deadline).await?;
        let ask = PipelineRequest {
            facts: Some(databases),
            ..PipelineRequest::default()
        };
        let (none, budget) = (Catalog::default(), SampleBudget::unlimited());
        let context = QueryContext {
            catalog: &none,
            labels: &[],
            query_text: 0,
            label_value: 0,
            budget: &budget,
        };
        let found = self
            .run(&mut [], ask, context, &mut |_| {}, sleep_until(deadline))
            .await
            .facts
            .ok_or_else(no_answer)?
            .map_err(QueryError::into_target_error)?;
        if found.version.major() < OLDEST_MAJOR {
            return Err(TargetError {
                kind: TargetErrorKind::UnsupportedVersion,
                message: format!(
                    "{}: PostgreSQL {} is older than {OLDEST_MAJOR}, the oldest that is scraped; \
                     upgrade the server",
                    self.pipeline.connector.target.address, found.version
                ),
            });
        }
        Ok(self.info.facts.insert(found))
    }

    /// Prepares what is not prepared yet. A query that cannot be is marked and left out.
    ///
    /// # Errors
    /// The session broke, or did not answer in time: it must be [`Session::settled`] then.
    pub async fn prepare(
        &mut self,
        slots: &mut [ScheduledQuery],
        deadline: Instant,
    ) -> Result<(), TargetError> {
        let session = &mut self.pipeline;
        if session.mode != Mode::Kept {
            return Ok(());
        }
        // A session of another database is never asked for facts.
        if self.info.facts.is_some() {
            self.info.prepare(session, deadline).await?;
        }
        let around = session.settings.around_users_prepare();
        for own in [true, false] {
            let id = session.session();
            let missing = |slot: &&mut ScheduledQuery| {
                slot.chosen.metric.builtin == own && slot.is_missing_in(id)
            };
            let mut slots: Vec<&mut ScheduledQuery> = slots.iter_mut().filter(missing).collect();
            if slots.is_empty() {
                continue;
            }
            let mut statements: Vec<&mut Prepared> =
                slots.iter_mut().map(|slot| &mut slot.prepared).collect();
            // The server analyses a statement by the path of the moment, now and whenever it is run
            // under another one.
            let path = (!own).then_some(&around);
            let results = timeout_at(deadline, session.prepare_all(&mut statements, path))
                .await
                .map_err(|_| no_answer())?
                .map_err(QueryError::into_target_error)?;
            for (slot, result) in slots.into_iter().zip(results) {
                if result.is_err() {
                    slot.refused();
                }
            }
        }
        Ok(())
    }

    /// Sends the questions for [`ServerInfo`], with `databases` that for their list, before it is
    /// known what follows: the server works on them while that is made ready. The next
    /// [`Session::run`], which must follow without a wait, hears the answers. Nothing is sent where
    /// something else must go before.
    pub fn ask_ahead(&mut self, slots: &[ScheduledQuery], databases: bool) {
        if !slots.iter().any(|slot| slot.is_missing_in(self.id())) {
            self.info.send_ahead(&mut self.pipeline, databases);
        }
    }

    /// Sends all of `slots` at once, with the questions for [`ServerInfo`] and for the settings
    /// before them, and waits no longer than until `late` completes. What did not answer is left in
    /// [`QueryOutcome::Running`](super::QueryOutcome::Running). `known` hears the facts as soon as
    /// they are there.
    pub async fn run(
        &mut self,
        slots: &mut [&mut ScheduledQuery],
        ask: PipelineRequest,
        context: QueryContext<'_>,
        known: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()>,
    ) -> PipelineResponse {
        let Self { pipeline, info, .. } = self;
        run(pipeline, info, slots, ask, context, known, late).await
    }

    /// After a run that did not end: cancels what still runs, and waits until the server has
    /// answered all that it was sent.
    ///
    /// # Errors
    /// The backend that was left behind, when that takes longer than `limit`: the session's state
    /// is then unsure, and it is closed.
    pub async fn settled(
        mut self,
        limit: Duration,
    ) -> Result<Self, (Option<LeakedBackend>, TargetError)> {
        match tokio::time::timeout(limit, cancel_and_drain(&mut self.pipeline)).await {
            Ok(Ok(())) => Ok(self),
            Ok(Err(error)) => Err((None, error.into_target_error())),
            Err(_) => {
                let trouble = TargetError {
                    kind: TargetErrorKind::Timeout,
                    message: format!(
                        "{}: no answer for {limit:?} after a scrape; the session was given up",
                        self.pipeline.connector.target.address
                    ),
                };
                Err((self.backend(), trouble))
            }
        }
    }

    /// Says Terminate and waits until the server has closed the connection, no longer than
    /// `limit`.
    ///
    /// # Errors
    /// What still waits, when it takes longer: the server may still count the connection.
    pub async fn close(self, limit: Duration) -> Result<(), JoinHandle<()>> {
        let (connection, permits) = (self.pipeline.connection, self.permits);
        let mut terminate = Box::pin(async move {
            connection.terminate().await;
            drop(permits);
        });
        match tokio::time::timeout(limit, &mut terminate).await {
            Ok(()) => Ok(()),
            Err(_) => Err(tokio::spawn(terminate)),
        }
    }
}

impl ScrapeSession for Session {
    fn id(&self) -> u64 {
        self.id()
    }

    fn mode(&self) -> &Mode {
        self.mode()
    }

    fn ask_ahead(&mut self, slots: &[ScheduledQuery], databases: bool) {
        self.ask_ahead(slots, databases);
    }

    async fn end_login(&mut self, port: u16, deadline: Instant) -> bool {
        self.end_login(port, deadline).await
    }

    fn facts(&self) -> Option<&ServerInfo> {
        self.facts()
    }

    fn trouble(&self) -> Option<&TargetError> {
        self.trouble()
    }

    async fn prepare(
        &mut self,
        slots: &mut [ScheduledQuery],
        deadline: Instant,
    ) -> Result<(), TargetError> {
        self.prepare(slots, deadline).await
    }

    async fn run(
        &mut self,
        slots: &mut [&mut ScheduledQuery],
        ask: PipelineRequest,
        context: QueryContext<'_>,
        known: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()> + Send,
    ) -> PipelineResponse {
        self.run(slots, ask, context, known, late).await
    }

    async fn drain(self, limit: Duration) -> Result<Self, (Option<LeakedBackend>, TargetError)> {
        self.settled(limit).await
    }

    async fn close(self, limit: Duration) -> Result<(), JoinHandle<()>> {
        self.close(limit).await
    }
}
