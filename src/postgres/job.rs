//! What a pipeline runs: a statement, what becomes of its rows, and whether a query that failed is
//! run once more in the same scrape, which its SQLSTATE alone decides.

use super::charset::Charset;
use super::error::{QueryError, SecondTry, ServerError};
use super::row::Fields;
use super::statement::Prepared;

/// A statement, and what becomes of its answer.
pub(super) trait PipelineJob: Send {
    /// What is run.
    fn statement(&self) -> &Prepared;
    /// The statement, to be prepared anew before it is sent again. `None` where it is sent without
    /// a name from now on.
    fn renew(&mut self) -> Option<&mut Prepared>;
    /// Whether it is one of ours, that names every schema.
    fn is_builtin(&self) -> bool {
        true
    }
    /// Forgets what came: it is run again, from now on with text as the database holds it if `raw`.
    fn restart(&mut self, raw: bool);
    /// Takes one row; `scratch` is used again for the next. After an error it gets no more.
    fn row(&mut self, fields: Fields<'_>, scratch: &mut Vec<u8>) -> Result<(), QueryError>;
    /// It gives nothing, though its rows may still come; it ends with that error.
    fn stop(&mut self, _error: &QueryError) {}
    /// It ended, so or so; called once.
    fn finish(&mut self, result: Result<(), QueryError>);
}

/// How a job is run, and what was tried already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JobState {
    /// Text comes as the database holds it.
    pub raw: bool,
    /// How often it was run once more as it was.
    pub repeated: u8,
    /// How often it was put off until all others of its round have had their turn: it was skipped,
    /// or is run once more.
    pub put_off: u8,
    /// The server said that it ends the session while it was at work, or right behind it.
    pub ended_session: bool,
}

/// A replica that replays much may cancel the same query more than once; it has other tries than
/// this at the next scrape.
const REPEATS: u8 = 3;

impl JobState {
    /// It is sent again, behind all that were sent with it.
    pub(super) fn put_off(&mut self) {
        self.put_off = self.put_off.saturating_add(1);
    }

    /// Whether a job that failed so is run once more; then how it is.
    pub(super) fn try_again(&mut self, error: &ServerError, charset: Charset) -> bool {
        match error.second_try() {
            Some(SecondTry::Raw) if !self.raw && charset != Charset::Any => {
                self.raw = true;
                true
            }
            Some(SecondTry::Same) if self.repeated < REPEATS => {
                self.repeated += 1;
                true
            }
            _ => false,
        }
    }
}

/// Jobs, by their places in a list, that have not ended.
#[derive(Debug, Default)]
pub(super) struct UnfinishedJobs {
    /// Skipped, because one before them failed, or to be sent without a name.
    pub skipped: Vec<usize>,
    /// Their prepared statement may be out of date.
    pub stale: Vec<usize>,
    /// The session lost a statement that it held: others may be gone as well.
    pub forgot: bool,
}

impl UnfinishedJobs {
    pub(super) fn skip(&mut self, job: usize, states: &mut [JobState]) {
        states[job].put_off();
        self.skipped.push(job);
    }

    pub(super) fn add_stale(&mut self, job: usize, states: &mut [JobState]) {
        states[job].put_off();
        self.stale.push(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(state: &str) -> ServerError {
        ServerError {
            state: state.to_owned(),
            ..ServerError::default()
        }
    }

    #[test]
    fn what_another_try_can_mend_is_tried_so_often_and_no_more() {
        // SQLSTATE, the database's encoding, how often it is run once more, whether raw then.
        let latin = Charset::from_name(Some("WIN1252"));
        for (state, charset, times, raw) in [
            ("22P05", latin, 1, true),
            ("22021", Charset::Utf8, 1, true),
            ("22P05", Charset::Any, 0, false),
            ("40001", latin, REPEATS, false),
            ("40P01", Charset::Any, REPEATS, false),
            ("57014", latin, 0, false),
            ("42501", latin, 0, false),
            ("", latin, 0, false),
        ] {
            let mut job = JobState::default();
            let tries = (0..10).filter(|_| job.try_again(&error(state), charset));
            assert_eq!(tries.count(), usize::from(times), "{state}");
            assert_eq!(job.raw, raw, "{state}");
        }
    }
}
