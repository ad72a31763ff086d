//! One text that is sent and answered by itself, and a connection over which nothing is asked.

use super::connection::{Connection, refused};
use super::error::{QueryError, ServerError};
use super::login_guard::GuardError;
use super::unrequested::is_unrequested;

/// Sends one simple query and waits until it is done.
///
/// # Errors
/// What the server said.
pub(super) async fn execute(connection: &mut Connection, sql: &str) -> Result<(), QueryError> {
    let lost = |error: std::io::Error| QueryError::lost(&error);
    connection.query(sql).map_err(lost)?;
    let mut failed = None;
    loop {
        let message = connection.next().await.map_err(lost)?;
        let length = message.cut.unwrap_or(message.whole.len());
        match message.kind {
            b'E' => {
                let error = ServerError::read(message.whole).of_query();
                if matches!(error, QueryError::Lost(..)) {
                    connection.end_with(error.clone().into_target_error());
                    return Err(error);
                }
                // Before the last stands what a scrape left.
                if connection.owed() == 1 {
                    failed.get_or_insert(error);
                }
            }
            b'Z' if connection.owed() == 0 => return failed.map_or(Ok(()), Err),
            // Notices, and what a scrape left.
            _ => connection.waste(length).map_err(lost)?,
        }
    }
}

/// Completes when the connection has ended. For one over which nothing is asked.
pub(super) async fn wait_for_end(connection: &mut Connection) {
    while connection.trouble().is_none() {
        let next = connection.next().await.map(|message| {
            let fatal = (message.kind == b'E').then(|| ServerError::read(message.whole));
            (message.kind, fatal)
        });
        let error = match next {
            Ok((_, Some(error))) => match error.of_query() {
                lost @ QueryError::Lost(..) => lost,
                // Only a fatal error comes unasked.
                _ => continue,
            },
            // A notice, or a setting that has changed.
            Ok((kind, None)) if is_unrequested(kind) || connection.owed() > 0 => continue,
            Ok(_) => QueryError::lost(&refused(GuardError::AnswerToNothing)),
            Err(error) => QueryError::lost(&error),
        };
        connection.end_with(error.into_target_error());
    }
}
