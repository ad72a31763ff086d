//! What a session knows of its server, and the questions for that.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::error::{QueryError, no_answer};
use super::identity::{CONTROL, ControlData};
use super::pipeline::Pipeline;
use super::request::SentAhead;
use super::row::RowEvent;
use super::server_info::{RIGHTS, ServerInfo};
use super::session_query::{SessionQueries, SessionQuery};
use super::statement::{Mode, Prepared};
use crate::targets::TargetError;

/// What one session knows.
#[derive(Debug, Default)]
pub(super) struct SessionInfo {
    /// What the server last said of itself.
    pub facts: Option<ServerInfo>,
    /// System identifier and timeline; the outer `None` until they were asked for.
    pub control: Option<Option<ControlData>>,
    /// What the facts are made of holds text that the server cannot turn into UTF-8.
    pub raw: bool,
    pub queries: Arc<SessionQueries>,
    /// Questions for the facts that were sent already.
    pub ahead: Option<SentAhead>,
}

impl SessionInfo {
    /// Prepares the questions where the session does not hold them.
    ///
    /// # Errors
    /// The session broke, or did not answer in time.
    pub(super) async fn prepare(
        &mut self,
        session: &mut Pipeline,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        if !self.queries.probe.is_new_to(session.session()) {
            return Ok(());
        }
        let mut queries = SessionQueries::default();
        let SessionQueries {
            probe,
            extensions,
            databases,
            settings,
            started: _,
        } = &mut queries;
        // That of the extensions comes last: one that waits for a lock keeps those behind it from
        // being prepared.
        let mut all = vec![probe, databases, settings];
        let due = session.connector.quirks.lists_extensions();
        if due {
            all.push(extensions);
        }
        // One that cannot be prepared, as where a pooler's other client took its name, is sent
        // without one; what is wrong with it is told then.
        let results = timeout_at(deadline, session.prepare_all(&mut all, None))
            .await
            .map_err(|_| no_answer())?
            .map_err(QueryError::into_target_error)?;
        let waited = |result: &&Result<(), QueryError>| {
            matches!(
                result,
                Err(QueryError::LockTimeout(_) | QueryError::Timeout(_))
            )
        };
        if let Some(result) = results.last().filter(|_| due).filter(waited) {
            session.connector.record_extensions(result);
        }
        self.queries = Arc::new(queries);
        Ok(())
    }

    /// Sends the questions for [`ServerInfo`], with `databases` that for their list. Nothing is sent
    /// where something else must go before.
    pub(super) fn send_ahead(&mut self, session: &mut Pipeline, databases: bool) {
        let id = session.session();
        let connection = &mut session.connection;
        let ready = session.mode == Mode::Kept
            && !session.careful
            && connection.trouble().is_none()
            && connection.owed() == 0
            && !self.raw
            && !self.queries.probe.is_new_to(id);
        if !ready {
            return;
        }
        let mut jobs = Vec::new();
        let extensions = session.connector.quirks.lists_extensions();
        for query in self.queries.of_server_info(extensions, databases) {
            // One that cannot be put, and those after it, go with the others, which tells why.
            let Ok(encodings) = query.put(id, connection.outbox()) else {
                break;
            };
            jobs.push(encodings);
        }
        self.ahead = Some(SentAhead {
            extensions,
            databases,
            jobs,
        });
        connection.sync();
        connection.send_now();
    }

    /// Asks for system identifier and timeline, once a session.
    ///
    /// # Errors
    /// The session broke, or did not answer in time. That the role may not ask is none.
    pub(super) async fn ask_control(
        &mut self,
        session: &mut Pipeline,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        if self.control.is_some() {
            return Ok(());
        }
        let mut control = None;
        let mut on_event = |event: RowEvent<'_>| {
            if let RowEvent::Row(fields) = event {
                control = ControlData::read(&fields);
            }
        };
        ask(session, CONTROL, &mut on_event, deadline).await?;
        self.control = Some(control);
        Ok(())
    }

    /// Takes what the server said of itself, and completes it.
    pub(super) fn update(&mut self, facts: &mut ServerInfo) {
        // Behind a pooler it may be another server than the one that was asked for these.
        let before = self.facts.as_ref().map(|before| before.identity.started);
        if before.is_some_and(|before| before != facts.identity.started) {
            self.control = Some(None);
        }
        facts.identity.complete(self.control.flatten());
        self.facts = Some(facts.clone());
    }
}

/// Asks what the role may do beside reading; `None` when that is refused.
///
/// # Errors
/// The session's trouble.
pub(super) async fn ask_rights(
    session: &mut Pipeline,
    deadline: Instant,
) -> Result<Option<Vec<String>>, TargetError> {
    let (mut rights, mut answered) = (Vec::new(), false);
    let mut on_event = |event: RowEvent<'_>| match event {
        RowEvent::Row(fields) => rights.push(fields.text(0)),
        RowEvent::Restart => rights.clear(),
        RowEvent::End(result) => answered = result.is_ok(),
    };
    ask(session, RIGHTS, &mut on_event, deadline).await?;
    Ok(answered.then_some(rights))
}

/// Asks one question, and gives what comes back to `on_event`.
///
/// # Errors
/// The session broke, or did not answer in time.
pub(super) async fn ask(
    session: &mut Pipeline,
    sql: &str,
    on_event: &mut (dyn FnMut(RowEvent<'_>) + Send),
    deadline: Instant,
) -> Result<(), TargetError> {
    let query = Prepared::new(sql);
    let mut question = SessionQuery::new(&query, on_event);
    timeout_at(deadline, session.ask(&mut question))
        .await
        .map_err(|_| no_answer())?
        .map_err(QueryError::into_target_error)
}
