//! Databases of a server whose metrics are missing, and why.

use serde::{Serialize, Serializer};

/// Why the metrics of a database are missing. A closed set: it becomes a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatabaseProblem {
    /// `pg_database.datallowconn` is false.
    NotAccepting,
    /// What an interrupted DROP DATABASE left behind.
    Invalid,
    /// The role lacks the right to connect.
    PermissionDenied,
    /// The limit of connections of the database or the role, or of the server, is used up or 0.
    ConnectionLimit,
    /// `pg_hba.conf` or the password: the server refused the login.
    NotAllowed,
    /// It did not answer within its share of the deadline.
    TooSlow,
    /// The deadline came before its turn.
    NoTurn,
    /// Any other reason why there was no session.
    ConnectionFailed,
}

impl DatabaseProblem {
    /// The value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAccepting => "not_accepting",
            Self::Invalid => "invalid",
            Self::PermissionDenied => "permission_denied",
            Self::ConnectionLimit => "connection_limit",
            Self::NotAllowed => "not_allowed",
            Self::TooSlow => "too_slow",
            Self::NoTurn => "no_turn",
            Self::ConnectionFailed => "connection_failed",
        }
    }
}

impl DatabaseProblem {
    /// What is wrong and what to do, for a database that `pg_database` says is closed.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::NotAccepting => {
                "it accepts no connections (datallowconn is false); ALTER DATABASE … \
                 ALLOW_CONNECTIONS true, or exclude it"
            }
            Self::Invalid => "it is invalid: a DROP DATABASE was interrupted; drop it",
            Self::PermissionDenied => {
                "the role may not connect to it; GRANT CONNECT ON DATABASE …, or exclude it"
            }
            Self::ConnectionLimit => {
                "its connection limit is used up; ALTER DATABASE … CONNECTION LIMIT, or exclude it"
            }
            Self::NotAllowed => "the server refuses the role there; see pg_hba.conf, or exclude it",
            Self::TooSlow => "it does not answer within its share of the deadline",
            Self::NoTurn => "the scrape's deadline came before its turn",
            Self::ConnectionFailed => "there is no connection to it",
        }
    }
}

impl Serialize for DatabaseProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A database whose metrics are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MissingDatabase {
    /// Its name.
    #[serde(rename = "Database")]
    pub name: String,
    /// Why.
    #[serde(rename = "Reason")]
    pub problem: DatabaseProblem,
    /// The same in words, with what to do. Never holds a secret.
    pub message: String,
}

impl MissingDatabase {
    /// So many of a server are named at most; the rest is counted.
    pub const MOST_NAMED: usize = 50;
}
