//! The questions of a session itself: what comes back goes to a closure.

use std::sync::Arc;

use super::error::{QueryError, too_large};
use super::identity::STARTED;
use super::job::PipelineJob;
use super::row::{Fields, RowEvent};
use super::server_info::{DATABASES, EXTENSIONS, PROBE};
use super::settings;
use super::statement::Prepared;

/// The questions of every session beside the catalogue's.
#[derive(Debug)]
pub(super) struct SessionQueries {
    pub(super) probe: Prepared,
    pub(super) extensions: Prepared,
    pub(super) databases: Prepared,
    pub(super) settings: Prepared,
    pub(super) started: Prepared,
}

impl Default for SessionQueries {
    fn default() -> Self {
        Self {
            probe: Prepared::new(PROBE),
            extensions: Prepared::new(EXTENSIONS),
            databases: Prepared::new(DATABASES),
            settings: Prepared::new(settings::SQL),
            started: Prepared::new(STARTED),
        }
    }
}

impl SessionQueries {
    /// Those for [`ServerInfo`], in the order in which they are asked.
    pub(super) fn of_server_info(
        &self,
        extensions: bool,
        databases: bool,
    ) -> impl Iterator<Item = &Prepared> {
        let extensions = extensions.then_some(&self.extensions);
        let databases = databases.then_some(&self.databases);
        std::iter::once(&self.probe)
            .chain(extensions)
            .chain(databases)
    }
}

/// What all rows of an answer may take, in bytes: the settings of a server take 60 kB, the names of
/// its databases 64 bytes each at most.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A question.
pub(super) struct SessionQuery<'a> {
    statement: &'a Prepared,
    /// The same without a name, once the session does not know the other any more.
    unnamed: Option<Prepared>,
    /// How many bytes of rows may still come.
    room: usize,
    on_event: &'a mut (dyn FnMut(RowEvent<'_>) + Send),
}

impl<'a> SessionQuery<'a> {
    pub(super) fn new(
        statement: &'a Prepared,
        on_event: &'a mut (dyn FnMut(RowEvent<'_>) + Send),
    ) -> Self {
        Self {
            statement,
            unnamed: None,
            room: LONGEST_ANSWER,
            on_event,
        }
    }

    /// Whether the session did not know the statement any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.unnamed.is_some()
    }
}

impl PipelineJob for SessionQuery<'_> {
    fn statement(&self) -> &Prepared {
        self.unnamed.as_ref().unwrap_or(self.statement)
    }

    fn renew(&mut self) -> Option<&mut Prepared> {
        self.unnamed = Some(Prepared::new(Arc::clone(&self.statement.sql)));
        None
    }

    fn row(&mut self, fields: Fields<'_>, _: &mut Vec<u8>) -> Result<(), QueryError> {
        // What is kept of a row is of its size.
        self.room = self
            .room
            .checked_sub(fields.size())
            .ok_or_else(|| too_large("what the server says of itself", LONGEST_ANSWER))?;
        (self.on_event)(RowEvent::Row(fields));
        Ok(())
    }

    fn restart(&mut self, _: bool) {
        (self.on_event)(RowEvent::Restart);
    }

    fn finish(&mut self, result: Result<(), QueryError>) {
        (self.on_event)(RowEvent::End(result));
    }
}
