//! How the file descriptors of the process are shared out.
//!
//! Every connection takes one, in whichever direction. Were connections to PostgreSQL bounded by
//! `max_connections` alone, more servers than descriptors would take the last one, and nobody
//! could ask for `/metrics`, `/livez` or the status any more. So the ports have theirs first.

use rustix::process::{Resource, getrlimit};

/// For the log, listening sockets, files that are read, name lookups, and the runtime.
const OTHERS: u64 = 64;
/// For watches and requests of the controller.
const KUBERNETES: u64 = 32;
/// A port has no more connections, however many descriptors there are.
const PORT_MOST: u64 = 256;
/// And no fewer.
const PORT_LEAST: u64 = 8;
/// Beside those that a port serves and those that wait for a place: one that is being accepted, and
/// one that is being closed.
const PORT_MORE: u64 = 2;

/// What needs descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct DescriptorNeeds {
    /// Ports and sockets that take connections.
    pub ports: u64,
    /// The key `max_connections`.
    pub max_connections: u64,
    /// Whether the controller runs.
    pub kubernetes: bool,
}

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct DescriptorShares {
    /// Connections of each port.
    pub port: usize,
    /// Connections to PostgreSQL, over all servers.
    pub postgresql: usize,
}

/// The soft limit of open files; `None` is without limit.
pub(in crate::daemon) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

impl DescriptorNeeds {
    /// Shares out a limit of open files.
    pub(in crate::daemon) fn share(self, files: Option<u64>) -> DescriptorShares {
        let Some(files) = files else {
            return shares(PORT_MOST, self.max_connections);
        };
        let port = port_share(files);
        let left = files.saturating_sub(self.kept_back(port));
        // Where nothing is left, PostgreSQL is still asked, one server at a time.
        let postgresql = left.max(1).min(self.max_connections);
        shares(port, postgresql)
    }

    /// The limit of open files that `max_connections` takes, rounded up.
    pub(in crate::daemon) fn enough(self) -> u64 {
        let would_do =
            |files: u64| files >= self.kept_back(port_share(files)) + self.max_connections;
        let mut files = 128;
        while !would_do(files) {
            files += 128;
        }
        files
    }

    /// What says that `max_connections` cannot be had, and what to do; `None` when it can.
    pub(in crate::daemon) fn shortage(self, files: Option<u64>) -> Option<String> {
        let shares = self.share(files);
        let files = files.filter(|_| (shares.postgresql as u64) < self.max_connections)?;
        Some(format!(
            "max_connections = {} takes a limit of {} open files, and it is {files}: at most {} \
             connections to PostgreSQL are used; raise the limit ('ulimit -n', LimitNOFILE= of \
             systemd) or lower max_connections",
            self.max_connections,
            self.enough(),
            shares.postgresql,
        ))
    }

    /// What is not for PostgreSQL. A quarter as many as a port serves may wait for a place.
    fn kept_back(self, port: u64) -> u64 {
        let controller = if self.kubernetes { KUBERNETES } else { 0 };
        OTHERS + controller + self.ports * (port + port / 4 + PORT_MORE)
    }
}

fn port_share(files: u64) -> u64 {
    (files / 12).clamp(PORT_LEAST, PORT_MOST)
}

fn shares(port: u64, postgresql: u64) -> DescriptorShares {
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    DescriptorShares {
        port: number(port),
        postgresql: number(postgresql),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(ports: u64, max_connections: u64) -> DescriptorNeeds {
        DescriptorNeeds {
            ports,
            max_connections,
            kubernetes: false,
        }
    }

    #[test]
    fn the_ports_have_theirs_before_postgresql() {
        // Ports, max_connections, limit; connections of a port, and to PostgreSQL.
        let table = [
            (4, 100, None, 256, 100),
            (4, 100, Some(65_536), 256, 100),
            (4, 100_000, Some(65_536), 256, 64_184),
            (4, 100, Some(1_024), 85, 100),
            (4, 5_000, Some(1_024), 85, 528),
            (3, 200, Some(256), 21, 108),
            (3, 100, Some(128), 10, 22),
            // Too few for anything: one server at a time is still asked.
            (4, 100, Some(64), 8, 1),
            (4, 100, Some(1), 8, 1),
        ];
        for (ports, most, files, port, postgresql) in table {
            let needs = needs(ports, most);
            let expected = DescriptorShares { port, postgresql };
            assert_eq!(needs.share(files), expected, "{needs:?} {files:?}");
            let short = postgresql < usize::try_from(most).unwrap();
            assert_eq!(
                needs.shortage(files).is_some(),
                short,
                "{needs:?} {files:?}"
            );
        }
    }

    #[test]
    fn the_limit_that_would_do_does() {
        for ports in 1..5 {
            for most in [1, 10, 100, 1_000, 10_000, 100_000] {
                for kubernetes in [false, true] {
                    let needs = DescriptorNeeds {
                        kubernetes,
                        ..needs(ports, most)
                    };
                    let enough = needs.enough();
                    assert_eq!(needs.shortage(Some(enough)), None, "{needs:?} {enough}");
                    let fewer = needs.shortage(Some(enough.saturating_sub(129)));
                    assert!(most < 1_000 || fewer.is_some(), "{needs:?} {enough}");
                }
            }
        }
        let text = needs(4, 5_000).shortage(Some(1_024)).unwrap();
        assert!(
            text.contains("takes a limit of 6400 open files, and it is 1024"),
            "{text}"
        );
        assert!(text.contains("at most 528 connections"), "{text}");
    }
}
