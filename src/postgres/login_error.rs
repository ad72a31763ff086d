//! Why a login failed, and what may be tried instead.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use super::error::{of_guard, of_state, of_stream, with_hint};
use super::login_guard::GuardError;
use crate::model::TargetErrorKind;
use crate::targets::{Target, TargetError};
use crate::text::peer_text;

/// Why a login failed, and what may be tried instead.
#[derive(Debug)]
pub(super) struct LoginError {
    pub trouble: TargetError,
    /// What was refused, as far as it is known.
    refused: Refused,
}

/// By the kind of an error, never by its words, which are translated, and differ with each proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The login as such; `true` when it was made with TLS.
    Role(bool),
    /// Something else in the startup packet, or nobody knows what.
    Startup,
    /// Nothing that another attempt would change.
    Nothing,
}

impl LoginError {
    /// Of what the driver says; `tls` is whether that was spoken.
    pub(super) fn new(error: &tokio_postgres::Error, target: &Target, tls: bool) -> Self {
        let trouble = of_connect(error, target);
        let refused = match error.code().map(SqlState::code) {
            Some("28000") => Refused::Role(tls),
            // A wrong password, an unknown database, a conflict, no room, a lock in its way, not
            // ready: it was understood. Without its options a login would wait for a lock for
            // ever.
            Some(code)
                if ["28", "3D", "40", "53", "55", "57"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                Refused::Nothing
            }
            Some(_) => Refused::Startup,
            None if trouble.kind == TargetErrorKind::TlsFailed => Refused::Role(tls),
            None if trouble.kind == TargetErrorKind::ConnectionLost => Refused::Startup,
            None => Refused::Nothing,
        };
        Self { trouble, refused }
    }

    /// Whether the role may be let in without TLS.
    pub(super) fn may_be_for_tls(&self) -> bool {
        self.refused == Refused::Role(true)
    }

    /// Whether it was the role that was refused.
    pub(super) fn is_for_role(&self) -> bool {
        matches!(self.refused, Refused::Role(_))
    }

    /// Whether it may be let in without startup options.
    pub(super) fn may_be_for_options(&self) -> bool {
        self.refused == Refused::Startup
    }
}

impl From<TargetError> for LoginError {
    fn from(trouble: TargetError) -> Self {
        Self {
            trouble,
            refused: Refused::Nothing,
        }
    }
}

/// The trouble of a connection that could not be made.
fn of_connect(error: &tokio_postgres::Error, target: &Target) -> TargetError {
    let (address, user) = (&target.address, target.user_in_words());
    let mut trouble = of_login(error);
    trouble.message = target.redact(&trouble.message);
    let refused_by_us = source::<GuardError>(error).is_some();
    trouble.message = match trouble.kind {
        _ if refused_by_us => format!("{address}: {}", trouble.message),
        TargetErrorKind::AuthenticationFailed => format!(
            "{}; check user {user}, its password and the server's pg_hba.conf",
            trouble.message
        ),
        TargetErrorKind::TooManyConnections => format!(
            "{}; raise max_connections or the role's connection limit, or give the role \
             pg_use_reserved_connections (16 and newer)",
            trouble.message
        ),
        _ => format!("{address}: {}", trouble.message),
    };
    trouble
}

/// The trouble of a login.
fn of_login(error: &tokio_postgres::Error) -> TargetError {
    if let Some(db) = error.as_db_error() {
        return TargetError {
            kind: of_state(db.code()),
            // Without the `db error:` that the driver puts before it.
            message: with_hint(
                &peer_text(db.message()),
                db.hint().map(peer_text).as_deref(),
            ),
        };
    }
    if let Some(found) = source::<GuardError>(error) {
        return of_guard(found);
    }
    if let Some(found) = source::<io::Error>(error) {
        return of_stream(found);
    }
    let text = peer_text(&match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    });
    // The driver has no kinds for these: it found no password to send, or the server's proof of
    // knowing it was wrong.
    let authentication = [
        "password",
        "authentication",
        "SASL",
        "SCRAM",
        "channel binding",
    ];
    let kind = if error.is_closed() {
        TargetErrorKind::ConnectionLost
    } else if authentication.iter().any(|word| text.contains(word)) {
        TargetErrorKind::AuthenticationFailed
    } else {
        TargetErrorKind::ServerError
    };
    TargetError {
        kind,
        message: text,
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
