//! A question of our own: rows go to a closure.

use super::error::QueryError;
use super::exchange::{Job, Scratch};
use super::row::Fields;
use super::statement::Prepared;

/// A question and its end.
pub(super) struct Question<'a> {
    statement: &'a Prepared,
    each: &'a mut (dyn FnMut(Fields<'_>) + Send),
    /// `None` until it has ended.
    pub result: Option<Result<(), QueryError>>,
}

impl<'a> Question<'a> {
    pub(super) fn new(
        statement: &'a Prepared,
        each: &'a mut (dyn FnMut(Fields<'_>) + Send),
    ) -> Self {
        Self {
            statement,
            each,
            result: None,
        }
    }
}

impl Job for Question<'_> {
    fn statement(&self) -> &Prepared {
        self.statement
    }

    fn row(&mut self, fields: Fields<'_>, _: &mut Scratch) -> Result<(), QueryError> {
        (self.each)(fields);
        Ok(())
    }

    fn end(&mut self, result: Result<(), QueryError>) {
        self.result = Some(result);
    }
}
