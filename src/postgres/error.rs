//! What went wrong, in the closed set of reasons and in words that say what to do.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend;
use tokio_postgres::error::SqlState;

use super::login_guard::GuardError;
use crate::model::TargetErrorKind;
use crate::security::tls::explain_tls;
use crate::targets::TargetError;
use crate::text::peer_text;

/// Why one query gave no samples. The session lives on unless it says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The role has no right to it.
    #[error("{0}")]
    Denied(String),
    /// `statement_timeout` or a cancel (57014).
    #[error("{0}")]
    Timeout(String),
    /// `lock_timeout` (55P03).
    #[error("{0}")]
    LockTimeout(String),
    /// The scrape's deadline came before its answer or before its turn.
    #[error("{0}")]
    Deadline(String),
    /// Anything else the server said of this query.
    #[error("{0}")]
    Server(String),
    /// The result has other columns than the definition.
    #[error("the query returns {found} columns, its definition lists {expected}")]
    Shape {
        /// Columns of the result.
        found: usize,
        /// Columns of the definition.
        expected: usize,
    },
    /// More samples than the target may have.
    #[error("more samples than sampleLimit leaves room for; raise it, or exclude collectors")]
    TooMany,
    /// More bytes than a message, a query, the target or all targets may have.
    #[error("{0}")]
    TooLarge(String),
    /// The session broke, and with it every query in flight.
    #[error("{0}")]
    Lost(String, TargetErrorKind),
}

impl QueryError {
    /// The same as the trouble of the whole target.
    #[must_use]
    pub fn into_target_error(self) -> TargetError {
        match self {
            QueryError::Lost(message, kind) => TargetError { kind, message },
            QueryError::Timeout(message)
            | QueryError::LockTimeout(message)
            | QueryError::Deadline(message) => TargetError {
                kind: TargetErrorKind::Timeout,
                message,
            },
            QueryError::TooLarge(message) => TargetError {
                kind: TargetErrorKind::MessageTooLarge,
                message,
            },
            other => TargetError {
                kind: TargetErrorKind::ServerError,
                message: other.to_string(),
            },
        }
    }

    /// The connection broke.
    pub(super) fn lost(error: &io::Error) -> Self {
        let trouble = of_stream(error);
        QueryError::Lost(trouble.message, trouble.kind)
    }
}

/// More bytes than `limit` came, of `what`.
pub(super) fn too_large(what: &str, limit: usize) -> QueryError {
    QueryError::TooLarge(format!("{what} takes more than {limit} bytes"))
}

/// The session ends: what came is not PostgreSQL's protocol.
pub(super) fn malformed() -> QueryError {
    let message = "the server's answer does not follow the protocol".to_owned();
    QueryError::Lost(message, TargetErrorKind::ConnectionLost)
}

/// The trouble of a session that was asked and did not answer.
pub(super) fn no_answer() -> TargetError {
    TargetError {
        kind: TargetErrorKind::Timeout,
        message: "no answer before the scrape's deadline".to_owned(),
    }
}

/// What the server said went wrong (PostgreSQL, "Error and Notice Message Fields").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    /// SQLSTATE.
    pub state: String,
    pub message: String,
    pub hint: Option<String>,
    /// The session ends with it.
    pub fatal: bool,
}

impl ServerError {
    /// Reads an ErrorResponse. What is not as the protocol has it is left out.
    pub(super) fn read(message: &[u8]) -> Self {
        let mut error = Self::default();
        let parsed = backend::Message::parse(&mut BytesMut::from(message));
        let Ok(Some(backend::Message::ErrorResponse(body))) = parsed else {
            return error;
        };
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.state = text,
                b'M' => error.message = peer_text(&text),
                b'H' => error.hint = Some(peer_text(&text)),
                // The first is translated; the second is not, and a pooler may leave it out.
                b'S' | b'V' => error.fatal |= matches!(text.as_str(), "FATAL" | "PANIC"),
                _ => {}
            }
        }
        error
    }

    /// Whether a prepared statement may fail with this because it is out of date, so that it is
    /// worth preparing anew: its result has changed (`0A000`, "cached plan must not change result
    /// type"), the session does not know it any more (`26000`, after `DEALLOCATE` or a pooler's
    /// reset), its name stands for another statement there (`08P01`, which PostgreSQL says when the
    /// numbers of columns differ), or what it names was replaced while it ran (`XX000`, "cache
    /// lookup failed").
    pub(super) fn may_be_stale(&self) -> bool {
        !self.fatal && (self.has_lost_statement() || matches!(&*self.state, "0A000" | "XX000"))
    }

    /// Whether the session does not hold a prepared statement under its name any more: others may
    /// be gone as well.
    pub(super) fn has_lost_statement(&self) -> bool {
        matches!(&*self.state, "26000" | "08P01")
    }

    /// The error of the query that was run.
    pub(super) fn of_query(&self) -> QueryError {
        let message = with_hint(&self.message, self.hint.as_deref());
        let state = SqlState::from_code(&self.state);
        if self.fatal {
            let kind = match state {
                // With the role's `exit_on_error` a timeout ends the session, as long as that is
                // not set to what we want; the next one may be quick enough.
                SqlState::QUERY_CANCELED => TargetErrorKind::NotReady,
                state => of_state(&state),
            };
            return QueryError::Lost(message, kind);
        }
        match state {
            SqlState::INSUFFICIENT_PRIVILEGE => QueryError::Denied(message),
            SqlState::QUERY_CANCELED => QueryError::Timeout(message),
            SqlState::LOCK_NOT_AVAILABLE => QueryError::LockTimeout(message),
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT => {
                QueryError::Lost(message, TargetErrorKind::NotReady)
            }
            _ => QueryError::Server(message),
        }
    }

    /// What may still bring an answer.
    pub(super) fn second_try(&self) -> Option<SecondTry> {
        match SqlState::from_code(&self.state) {
            SqlState::UNTRANSLATABLE_CHARACTER | SqlState::CHARACTER_NOT_IN_REPERTOIRE => {
                Some(SecondTry::Raw)
            }
            // On a replica the first is a conflict with what it replays.
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Some(SecondTry::Same)
            }
            _ => None,
        }
    }
}

/// How a query that failed may be run once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondTry {
    /// As it was.
    Same,
    /// With text as the database holds it.
    Raw,
}

pub(super) fn with_hint(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message.to_owned(),
    }
}

pub(super) fn of_guard(error: &GuardError) -> TargetError {
    let kind = match error {
        GuardError::TooLarge { .. } | GuardError::LoginTooLong(_) | GuardError::Flood => {
            TargetErrorKind::MessageTooLarge
        }
        GuardError::Authentication(_) | GuardError::TooManyRounds => {
            TargetErrorKind::AuthenticationFailed
        }
        GuardError::Malformed | GuardError::NotReady | GuardError::StillHeld => {
            TargetErrorKind::ConnectionLost
        }
        GuardError::Unrequested | GuardError::AnswerToNothing => TargetErrorKind::UnrequestedData,
    };
    TargetError {
        kind,
        message: error.to_string(),
    }
}

/// The trouble of a stream that broke: the socket, TLS, or what came over it.
pub(super) fn of_stream(error: &io::Error) -> TargetError {
    let guard = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<GuardError>());
    if let Some(guard) = guard {
        return of_guard(guard);
    }
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return TargetError {
            kind: TargetErrorKind::ConnectionLost,
            message: "the server closed the connection".to_owned(),
        };
    }
    // In TLS 1.3 a server looks at our certificate after the handshake.
    match explain_tls(error) {
        Some(message) => TargetError {
            kind: TargetErrorKind::TlsFailed,
            message,
        },
        None => of_io(error),
    }
}

/// The trouble of a socket.
pub(super) fn of_io(error: &io::Error) -> TargetError {
    use io::ErrorKind as Kind;
    let kind = match error.kind() {
        Kind::TimedOut => TargetErrorKind::Timeout,
        Kind::ConnectionRefused
        | Kind::NotFound
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::PermissionDenied
        | Kind::AddrNotAvailable => TargetErrorKind::ConnectionRefused,
        _ => TargetErrorKind::ConnectionLost,
    };
    TargetError {
        kind,
        message: error.to_string(),
    }
}

pub(super) fn of_state(state: &SqlState) -> TargetErrorKind {
    match state {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            TargetErrorKind::AuthenticationFailed
        }
        &SqlState::TOO_MANY_CONNECTIONS => TargetErrorKind::TooManyConnections,
        // A login that waited for a locked catalogue.
        &SqlState::LOCK_NOT_AVAILABLE => TargetErrorKind::Timeout,
        &SqlState::CANNOT_CONNECT_NOW
        | &SqlState::ADMIN_SHUTDOWN
        | &SqlState::CRASH_SHUTDOWN
        | &SqlState::IDLE_SESSION_TIMEOUT
        | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED => TargetErrorKind::NotReady,
        // `transaction_timeout` of PostgreSQL 17.
        other if other.code() == "25P04" => TargetErrorKind::NotReady,
        _ => TargetErrorKind::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_a_timeout_ends_may_be_replaced_at_once() {
        // SQLSTATE of a fatal error, and why the session is gone.
        for (state, kind) in [
            ("57014", TargetErrorKind::NotReady),
            ("57P01", TargetErrorKind::NotReady),
            ("25P04", TargetErrorKind::NotReady),
            ("XX000", TargetErrorKind::ServerError),
        ] {
            let error = ServerError {
                state: state.to_owned(),
                fatal: true,
                ..ServerError::default()
            };
            let of_query = error.of_query();
            assert!(
                matches!(&of_query, QueryError::Lost(_, found) if *found == kind),
                "{state}: {of_query:?}"
            );
        }
    }
}
