//! What went wrong, in the closed set of reasons and in words that say what to do.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use super::guard::GuardError;
use crate::model::Reason;
use crate::security::tls::explain_tls;
use crate::targets::{Address, Trouble};

/// Why one query gave no samples. The session lives on unless it says otherwise.
#[derive(Debug, thiserror::Error)]
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

    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let trouble = of_session(error);
            return QueryError::Lost(trouble.message, trouble.reason);
        };
        let message = db_message(db);
        match db.code() {
            &SqlState::INSUFFICIENT_PRIVILEGE => QueryError::Denied(message),
            &SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE => {
                QueryError::Timeout(message)
            }
            &SqlState::ADMIN_SHUTDOWN
            | &SqlState::CRASH_SHUTDOWN
            | &SqlState::CANNOT_CONNECT_NOW
            | &SqlState::IDLE_SESSION_TIMEOUT => QueryError::Lost(message, Reason::NotReady),
            _ => QueryError::Server(message),
        }
    }
}

/// What the server said, without the `db error:` that the driver puts before it.
fn db_message(db: &tokio_postgres::error::DbError) -> String {
    match db.hint() {
        Some(hint) => format!("{} ({hint})", db.message()),
        None => db.message().to_owned(),
    }
}

/// The trouble of a connection that could not be made.
pub(super) fn of_connect(error: &tokio_postgres::Error, address: &Address, user: &str) -> Trouble {
    let mut trouble = of_session(error);
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

/// The trouble of a session.
pub(super) fn of_session(error: &tokio_postgres::Error) -> Trouble {
    if let Some(db) = error.as_db_error() {
        return Trouble {
            reason: of_state(db.code()),
            message: db_message(db),
        };
    }
    if let Some(found) = source::<GuardError>(error) {
        let reason = match found {
            GuardError::TooLarge(_) => Reason::MessageTooLarge,
            GuardError::PasswordInTheClear => Reason::AuthenticationFailed,
            GuardError::Malformed => Reason::ConnectionLost,
        };
        return Trouble {
            reason,
            message: found.to_string(),
        };
    }
    if let Some(found) = source::<io::Error>(error) {
        // In TLS 1.3 a server looks at our certificate after the handshake.
        return match explain_tls(found) {
            Some(message) => Trouble {
                reason: Reason::TlsFailed,
                message,
            },
            None => of_io(found),
        };
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
        &SqlState::CANNOT_CONNECT_NOW | &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN => {
            Reason::NotReady
        }
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
