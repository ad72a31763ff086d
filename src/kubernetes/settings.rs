//! What the controller needs to know of `pgexporter.conf`.

use crate::targets::{ByteLimits, CollectorChoice, SocketOptions, Timeouts};

/// What holds for every target of the cluster; a reload may change it.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// The longest that each step may take, and what it takes without a word in the resource.
    pub timeouts: Timeouts,
    /// The most that each target may make the exporter hold.
    pub limits: ByteLimits,
    /// Collectors where the resource names none.
    pub collectors: CollectorChoice,
    /// Whether a session is kept between scrapes.
    pub keep_session: bool,
    /// How many databases keep a session of their own.
    pub session_databases: usize,
    /// Options of the TCP socket.
    pub socket: SocketOptions,
    /// Whether targets may be at loopback and link-local addresses.
    pub allow_local_hosts: bool,
    /// Patterns (`*`, `?`) of hosts that may be named; empty is all.
    pub allowed_hosts: Vec<String>,
    /// Ports that may be named, each range with both ends.
    pub allowed_ports: Vec<(u16, u16)>,
    /// Upper bound of `sampleLimit`.
    pub max_samples: usize,
    /// Most targets of a namespace; 0 is no limit.
    pub max_targets: usize,
}

/// What holds as long as the program runs.
#[derive(Clone, Debug, Default)]
pub struct ControllerOptions {
    /// Namespaces to look into; empty is all.
    pub namespaces: Vec<String>,
    /// Label selector of the resources; empty is all.
    pub selector: String,
    /// This pod's name, for the status and the Lease.
    pub owner: String,
    /// The pod's uid, where it is known: the pod's Lease goes away with the pod then.
    pub owner_uid: Option<String>,
    /// Whether the targets are shared among the pods that hold a Lease.
    pub shards: bool,
    /// Whether annotated Services are targets as well.
    pub discover: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    impl Default for KubernetesSettings {
        fn default() -> Self {
            let second = Duration::from_secs(1);
            Self {
                timeouts: Timeouts {
                    connect: second,
                    query: second,
                    lock: second,
                },
                collectors: CollectorChoice::default(),
                keep_session: true,
                session_databases: 1,
                socket: SocketOptions {
                    nodelay: true,
                    keep_alive: true,
                },
                limits: ByteLimits::default(),
                allow_local_hosts: false,
                allowed_hosts: Vec::new(),
                allowed_ports: vec![(1_024, 65_535)],
                max_samples: 1_000,
                max_targets: 0,
            }
        }
    }
}
