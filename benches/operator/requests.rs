//! What the exporter asks of the API server, as the API server counts it.

use std::fmt;
use std::ops::Sub;

use crate::support::{ApiServer, Samples};

/// Requests of the kinds that only the exporter makes here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub secrets: u64,
    pub config_maps: u64,
    pub status: u64,
    pub events: u64,
    /// Renewals of the Lease.
    pub leases: u64,
    /// Lists and watches.
    pub reads: u64,
}

impl Requests {
    /// So far.
    pub fn of(api: &ApiServer) -> Self {
        let (status, text) = api.get("/metrics").expect("it answers");
        assert_eq!(status, 200, "{text}");
        let all = Samples::parse(&text);
        let count = |labels: &[(&str, &str)]| -> u64 {
            let found = all.with("apiserver_request_total", labels);
            // Counters of whole requests.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let sum = found.iter().map(|sample| sample.value).sum::<f64>() as u64;
            sum
        };
        let events = |verb| {
            count(&[
                ("resource", "events"),
                ("group", "events.k8s.io"),
                ("verb", verb),
            ])
        };
        let own = ["postgrestargets", "secrets", "configmaps", "leases"];
        let reads = own.iter().flat_map(|resource| {
            ["LIST", "WATCH"].map(|verb| count(&[("resource", resource), ("verb", verb)]))
        });
        Self {
            secrets: count(&[("resource", "secrets"), ("verb", "GET")]),
            config_maps: count(&[("resource", "configmaps"), ("verb", "GET")]),
            status: count(&[("resource", "postgrestargets"), ("subresource", "status")]),
            events: events("POST") + events("PATCH"),
            leases: count(&[("resource", "leases"), ("verb", "PATCH")]),
            reads: reads.sum(),
        }
    }

    /// All that is done for the sake of single targets.
    pub fn total(&self) -> u64 {
        self.secrets + self.config_maps + self.status + self.events
    }

    /// The same, to see whether it goes on.
    pub fn work(&self) -> [u64; 4] {
        [self.secrets, self.config_maps, self.status, self.events]
    }

    /// Writes, but for the Lease.
    pub fn writes(&self) -> u64 {
        self.status + self.events
    }
}

impl Sub for Requests {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            secrets: self.secrets - before.secrets,
            config_maps: self.config_maps - before.config_maps,
            status: self.status - before.status,
            events: self.events - before.events,
            leases: self.leases - before.leases,
            reads: self.reads - before.reads,
        }
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of Secrets, {} of the status, {} of events",
            self.secrets, self.status, self.events
        )
    }
}
