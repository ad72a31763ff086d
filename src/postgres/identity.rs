//! Which server a session reached: a name may lead to another one each time.

use std::fmt;
use std::net::SocketAddr;

use super::row::Fields;

/// When the server was started, in microseconds of the Unix epoch: one row, which every role may
/// ask for.
pub const STARTED: &str = "\
SELECT (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// System identifier and timeline (PostgreSQL, "Control Data Functions"), and the server's own address
/// and port for this connection, which a proxy or a Service before it does not change.
pub const CONTROL: &str = "\
SELECT s.system_identifier, c.timeline_id, \
pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port() \
FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_control_checkpoint() AS c";

/// Tells one running server from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerIdentity {
    /// When it was started, in microseconds of the Unix epoch. Servers of one cluster differ in it.
    pub started: i64,
    /// The system identifier that initdb gave the cluster; `None` where the role may not ask.
    pub system: Option<i64>,
    /// The timeline of the last checkpoint. A promotion changes it, and not the server.
    pub timeline: Option<u32>,
    /// Where it listens, by itself; `None` where that is unknown, and for a Unix socket.
    pub place: Option<SocketAddr>,
}

impl ServerIdentity {
    /// Whether both are one running server. What is unknown is no difference.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.started == other.started
            && (self.system.is_none() || other.system.is_none() || self.system == other.system)
    }

    /// Whether it is the other one after a restart: the same cluster at the same place.
    #[must_use]
    pub fn is_restart_of(&self, other: &Self) -> bool {
        let known = self.system.is_some() && self.place.is_some();
        known && self.system == other.system && self.place == other.place
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(system) = self.system {
            write!(f, "system identifier {system}, ")?;
        }
        let seconds = jiff::Timestamp::from_second(self.started.div_euclid(1_000_000));
        match seconds {
            Ok(at) => write!(f, "started at {at}")?,
            Err(_) => write!(f, "start unknown")?,
        }
        match self.timeline {
            Some(timeline) => write!(f, ", timeline {timeline}"),
            None => Ok(()),
        }
    }
}

/// System identifier, timeline, and where the server listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct ControlData {
    system: i64,
    timeline: u32,
    place: Option<SocketAddr>,
}

impl ServerIdentity {
    /// With what was asked once a session.
    pub(super) fn complete(&mut self, control: Option<ControlData>) {
        self.system = control.map(|control| control.system);
        self.timeline = control.map(|control| control.timeline);
        self.place = control.and_then(|control| control.place);
    }
}

impl ControlData {
    /// Reads the row of [`CONTROL`].
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let place = fields.text(2).parse().ok().zip(fields.text(3).parse().ok());
        Some(Self {
            system: fields.text(0).parse().ok()?,
            timeline: fields.text(1).parse().ok()?,
            place: place.map(|(address, port)| SocketAddr::new(address, port)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_from_its_replica_and_from_a_copy_and_not_from_itself() {
        let server = |started, system| ServerIdentity {
            started,
            system,
            timeline: Some(1),
            place: None,
        };
        let known = server(1_700_000_000_000_000, Some(7));
        for (other, same) in [
            (known, true),
            (server(1_700_000_000_000_000, None), true),
            (server(1_700_000_000_000_001, Some(7)), false),
            (server(1_700_000_000_000_000, Some(8)), false),
        ] {
            assert_eq!(known.is_same_server(&other), same, "{other}");
        }
        let promoted = ServerIdentity {
            timeline: Some(2),
            ..known
        };
        assert!(known.is_same_server(&promoted));
        let at = |identity: ServerIdentity, place: &str| ServerIdentity {
            place: place.parse().ok(),
            ..identity
        };
        let before = at(known, "10.0.0.1:5432");
        for (other, restarted) in [
            (at(server(2, Some(7)), "10.0.0.1:5432"), true),
            (at(server(2, Some(7)), "10.0.0.2:5432"), false),
            (at(server(2, Some(8)), "10.0.0.1:5432"), false),
            (server(2, Some(7)), false),
        ] {
            assert_eq!(other.is_restart_of(&before), restarted, "{other}");
        }
        assert!(!known.is_restart_of(&known), "an unknown place is no place");
        assert_eq!(
            known.to_string(),
            "system identifier 7, started at 2023-11-14T22:13:20Z, timeline 1"
        );
    }
}
