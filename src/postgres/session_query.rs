//! A question of our own: what comes back goes to a closure.

use std::sync::Arc;

use super::error::{QueryError, too_large};
use super::pipeline::PipelineJob;
use super::row::Fields;
use super::statement::Prepared;

/// What comes back of a question.
pub(super) enum RowEvent<'a> {
    Row(Fields<'a>),
    /// What came so far counts no more: the question is put again.
    Restart,
    End(Result<(), QueryError>),
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
