//! What went wrong, in the closed set of reasons and in words that say what to do.

use std::error::Error as _;
use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend;
use tokio_postgres::error::SqlState;

use super::guard::GuardError;
use crate::model::Reason;
use crate::security::tls::explain_tls;
use crate::targets::{Address, Trouble};

/// Why one query gave no samples. The session lives on unless it says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The role has no right to it.
    #[error("{0}")]
    Denied(String),
    /// `statement_timeout`, `lock_timeout` or a cancel.
    #[error("{0}")]
    Timeout(String),
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
    #[error("more samples than sampleLimit leaves room for")]
    TooMany,
    /// The session broke, and with it every query in flight.
    #[error("{0}")]
    Lost(String, Reason),
}

impl QueryError {
    /// The same as the trouble of the whole target.
    #[must_use]
    pub fn into_trouble(self) -> Trouble {
        match self {
            QueryError::Lost(message, reason) => Trouble { reason, message },
            QueryError::Timeout(message) => Trouble {
                reason: Reason::Timeout,
                message,
            },
            other => Trouble {
                reason: Reason::ServerError,
                message: other.to_string(),
            },
        }
    }

    /// The connection broke.
    pub(super) fn lost(error: &io::Error) -> Self {
        let trouble = of_stream(error);
        QueryError::Lost(trouble.message, trouble.reason)
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
                b'M' => error.message = text,
                b'H' => error.hint = Some(text),
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
        let message = said(&self.message, self.hint.as_deref());
        let state = SqlState::from_code(&self.state);
        if self.fatal {
            return QueryError::Lost(message, of_state(&state));
        }
        match state {
            SqlState::INSUFFICIENT_PRIVILEGE => QueryError::Denied(message),
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => QueryError::Timeout(message),
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT => QueryError::Lost(message, Reason::NotReady),
            _ => QueryError::Server(message),
        }
    }
}

fn said(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message.to_owned(),
    }
}

/// The trouble of a connection that could not be made.
pub(super) fn of_connect(error: &tokio_postgres::Error, address: &Address, user: &str) -> Trouble {
    let mut trouble = of_login(error);
    trouble.message = match trouble.reason {
        Reason::AuthenticationFailed => format!(
            "{}; check user {user}, its password and the server's pg_hba.conf",
            trouble.message
        ),
        Reason::TooManyConnections => format!(
            "{}; raise max_connections or the role's connection limit, or give the role \
             pg_use_reserved_connections (16 and newer)",
            trouble.message
        ),
        _ => format!("{address}: {}", trouble.message),
    };
    trouble
}

/// The trouble of a login.
fn of_login(error: &tokio_postgres::Error) -> Trouble {
    if let Some(db) = error.as_db_error() {
        return Trouble {
            reason: of_state(db.code()),
            // Without the `db error:` that the driver puts before it.
            message: said(db.message(), db.hint()),
        };
    }
    if let Some(found) = source::<GuardError>(error) {
        return of_guard(found);
    }
    if let Some(found) = source::<io::Error>(error) {
        return of_stream(found);
    }
    let text = match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    // The driver has no kinds for these: it found no password to send, or the server's proof of
    // knowing it was wrong.
    let authentication = [
        "password",
        "authentication",
        "SASL",
        "SCRAM",
        "channel binding",
    ];
    let reason = if error.is_closed() {
        Reason::ConnectionLost
    } else if authentication.iter().any(|word| text.contains(word)) {
        Reason::AuthenticationFailed
    } else {
        Reason::ServerError
    };
    Trouble {
        reason,
        message: text,
    }
}

fn of_guard(error: &GuardError) -> Trouble {
    let reason = match error {
        GuardError::TooLarge(_) => Reason::MessageTooLarge,
        GuardError::PasswordInTheClear => Reason::AuthenticationFailed,
        GuardError::Malformed => Reason::ConnectionLost,
    };
    Trouble {
        reason,
        message: error.to_string(),
    }
}

/// The trouble of a stream that broke: the socket, TLS, or what came over it.
pub(super) fn of_stream(error: &io::Error) -> Trouble {
    let guard = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<GuardError>());
    if let Some(guard) = guard {
        return of_guard(guard);
    }
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return Trouble {
            reason: Reason::ConnectionLost,
            message: "the server closed the connection".to_owned(),
        };
    }
    // In TLS 1.3 a server looks at our certificate after the handshake.
    match explain_tls(error) {
        Some(message) => Trouble {
            reason: Reason::TlsFailed,
            message,
        },
        None => of_io(error),
    }
}

/// The trouble of a socket.
pub(super) fn of_io(error: &io::Error) -> Trouble {
    use io::ErrorKind as Kind;
    let reason = match error.kind() {
        Kind::TimedOut => Reason::Timeout,
        Kind::ConnectionRefused
        | Kind::NotFound
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::PermissionDenied
        | Kind::AddrNotAvailable => Reason::ConnectionRefused,
        _ => Reason::ConnectionLost,
    };
    Trouble {
        reason,
        message: error.to_string(),
    }
}

fn of_state(state: &SqlState) -> Reason {
    match state {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            Reason::AuthenticationFailed
        }
        &SqlState::TOO_MANY_CONNECTIONS => Reason::TooManyConnections,
        &SqlState::CANNOT_CONNECT_NOW
        | &SqlState::ADMIN_SHUTDOWN
        | &SqlState::CRASH_SHUTDOWN
        | &SqlState::IDLE_SESSION_TIMEOUT => Reason::NotReady,
        _ => Reason::ServerError,
    }
}

/// The first cause of that type. An `io::Error` may hold it inside instead of beside.
fn source<E: std::error::Error + 'static>(error: &tokio_postgres::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(found) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<E>())
        {
            return Some(found);
        }
        next = cause.source();
    }
    None
}
