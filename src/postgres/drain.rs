//! A session whose run was given up: what still runs is cancelled, and what is still to come is read.

use tokio::time::{Instant, sleep_until};

use super::cancel::CancelPace;
use super::error::{QueryError, ServerError};
use super::login::cancel;
use super::pipeline::Pipeline;
use super::statement::Mode;

/// Cancels what still runs, waits until the server has answered all that it was sent, and sets the
/// session as it was.
///
/// # Errors
/// The session broke, or cannot be set as it was.
pub(super) async fn cancel_and_drain(session: &mut Pipeline) -> Result<(), QueryError> {
    let mut pace = CancelPace::new(Instant::now());
    while session.connection.owed() > 0 {
        let owed = session.connection.owed();
        let due = async {
            match pace.next() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = session.connection.next() => {
                let message = answer.map_err(|error| QueryError::lost(&error))?;
                if message.kind == b'E'
                    && let lost @ QueryError::Lost(..) =
                        ServerError::read(message.whole).of_query()
                {
                    session.connection.end_with(lost.clone().into_target_error());
                    return Err(lost);
                }
                if session.connection.owed() < owed {
                    pace.record_answer(Instant::now());
                }
            }
            () = due => {
                // A cancel ends one batch, and others may stand in line behind it. The server has
                // taken it to heart when this returns, so none comes late and hits a later scrape.
                cancel(&session.connector, &session.key).await;
                pace.record_sent(Instant::now());
            }
        }
    }
    restore_settings(session).await
}

/// The run may have been cut off between a setting of one query and its way back, or within a
/// transaction.
async fn restore_settings(session: &mut Pipeline) -> Result<(), QueryError> {
    let back = match session.mode {
        Mode::Pooled => String::new(),
        Mode::Kept | Mode::Once => session.settings.usual() + &session.settings.encoding(false),
    };
    // The last cancel may hit this one. Where it hit the end of a transaction, that is still open.
    let mut done = Ok(());
    for _ in 0..3 {
        let end = if session.connection.in_transaction() {
            "ROLLBACK; "
        } else {
            ""
        };
        done = session.execute(&format!("{end}{back}")).await;
        match done {
            Ok(()) if session.connection.in_transaction() => {}
            Ok(()) | Err(QueryError::Lost(..)) => break,
            Err(_) => {}
        }
    }
    done
}
