//! Small words that every room uses: the version and role of a server, why it is down, patterns of
//! names, and which addresses are our own.

mod address;

use std::fmt;

use serde::{Serialize, Serializer};

pub use address::is_local;

/// The oldest major version of PostgreSQL that is scraped.
pub const OLDEST_MAJOR: u32 = 13;
/// The newest major version that the built-in catalogue knows.
pub const NEWEST_MAJOR: u32 = 18;

/// A PostgreSQL version as `server_version_num` gives it: `170010` is 17.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub u32);

impl ServerVersion {
    /// The major version, such as 17.
    #[must_use]
    pub fn major(self) -> u32 {
        self.0 / 10_000
    }

    /// The minor version, such as 10.
    #[must_use]
    pub fn minor(self) -> u32 {
        self.0 % 10_000
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// What a server is: it takes writes, or it follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery: follows another server, or is being restored.
    Replica,
}

impl Role {
    /// The word for it in labels and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
        }
    }
}

/// Why a server could not be scraped. A closed set: it becomes a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetErrorKind {
    /// Nothing listens at the address, or the address cannot be reached.
    ConnectionRefused,
    /// The host's name has no address.
    NameNotResolved,
    /// The server refused user or password, or has no matching `pg_hba.conf` line.
    AuthenticationFailed,
    /// TLS could not be agreed on, or a certificate was not accepted.
    TlsFailed,
    /// No answer in time.
    Timeout,
    /// Older than the oldest version that is scraped.
    UnsupportedVersion,
    /// `max_connections`, or the role's or database's limit, is used up.
    TooManyConnections,
    /// The server is starting, stopping or recovering.
    NotReady,
    /// The connection broke in the middle.
    ConnectionLost,
    /// One message of the server was larger than the limit.
    MessageTooLarge,
    /// The server sent too much that nobody asked for.
    UnrequestedData,
    /// Something else the server said.
    ServerError,
    /// Not asked yet.
    Pending,
}

impl TargetErrorKind {
    /// All of them, for pages and for metrics that start at 0.
    pub const ALL: [TargetErrorKind; 13] = [
        TargetErrorKind::ConnectionRefused,
        TargetErrorKind::NameNotResolved,
        TargetErrorKind::AuthenticationFailed,
        TargetErrorKind::TlsFailed,
        TargetErrorKind::Timeout,
        TargetErrorKind::UnsupportedVersion,
        TargetErrorKind::TooManyConnections,
        TargetErrorKind::NotReady,
        TargetErrorKind::ConnectionLost,
        TargetErrorKind::MessageTooLarge,
        TargetErrorKind::UnrequestedData,
        TargetErrorKind::ServerError,
        TargetErrorKind::Pending,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TargetErrorKind::ConnectionRefused => "connection_refused",
            TargetErrorKind::NameNotResolved => "name_not_resolved",
            TargetErrorKind::AuthenticationFailed => "authentication_failed",
            TargetErrorKind::TlsFailed => "tls_failed",
            TargetErrorKind::Timeout => "timeout",
            TargetErrorKind::UnsupportedVersion => "unsupported_version",
            TargetErrorKind::TooManyConnections => "too_many_connections",
            TargetErrorKind::NotReady => "not_ready",
            TargetErrorKind::ConnectionLost => "connection_lost",
            TargetErrorKind::MessageTooLarge => "message_too_large",
            TargetErrorKind::UnrequestedData => "unrequested_data",
            TargetErrorKind::ServerError => "server_error",
            TargetErrorKind::Pending => "pending",
        }
    }
}

impl Serialize for TargetErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The Prometheus type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, or starts again at 0.
    Counter,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    /// None of these.
    Unknown,
}

impl Kind {
    /// The word after `# TYPE name` in the text format 0.0.4.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Unknown => "untyped",
        }
    }
}

/// Whether `pattern` with `*` and `?` matches the whole of `text`.
#[must_use]
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(one) if *one == b'?' || *one == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The star takes one more.
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|one| *one == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_number_splits_into_major_and_minor() {
        let version = ServerVersion(170_010);
        assert_eq!((version.major(), version.minor()), (17, 10));
        assert_eq!(version.to_string(), "17.10");
    }

    #[test]
    fn databases_are_chosen_by_patterns() {
        let cases = [
            ("*", "anything", true),
            ("", "", true),
            ("", "x", false),
            ("template*", "template1", true),
            ("template*", "my_template", false),
            ("*shop*", "eshop_eu", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xxaxxbxxb", true),
            ("*a*b", "xxaxxbxxc", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                glob(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
