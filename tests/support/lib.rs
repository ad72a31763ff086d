//! Real things to test against: PostgreSQL 13 to 18, PgBouncer, promtool, a Kubernetes API server,
//! and the program itself.
//!
//! What comes in: a major version, settings, a configuration text. What goes out: running servers
//! on free ports, which are stopped and removed when their value is dropped, and also when the
//! test panics, is interrupted or is killed (see [`keeper`]).
//!
//! Nothing but Go need be installed beforehand: what is lacking is downloaded, the API server also
//! built, once into a cache folder (see [`downloads`]), and used offline from then on.
pub mod account;
pub mod certificates;
pub mod cgroup;
pub mod chart;
pub mod client;
pub mod cluster;
pub mod debian;
pub mod definitions;
pub mod downloads;
pub mod exporter;
pub mod files;
pub mod golang;
pub mod helm;
pub mod hostile;
pub mod images;
pub mod keeper;
pub mod kubernetes;
pub mod monitoring;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod prometheus;
pub mod promtool;
pub mod proxy;
pub mod samples;
pub mod schemas;
pub mod switch;
pub mod workload;

use std::time::{Duration, Instant};

pub use certificates::{Authority, Identity};
pub use client::Session;
pub use downloads::MAJORS;
pub use exporter::{Answer, Exporter};
pub use hostile::{Guest, Hostile};
pub use keeper::Keeper;
pub use kubernetes::ApiServer;
pub use pgbouncer::PgBouncer;
pub use postgres::{Builder, Postgres};
pub use prometheus::Prometheus;
pub use promtool::promtool_check;
pub use proxy::Proxy;
pub use samples::{Sample, Samples};
pub use switch::Switch;
pub use workload::Workload;

/// The folder of the project.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// How long [`eventually`] waits before the test fails: long enough for two busy cores.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, and fails the test with `what` when it does not within
/// [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        within(DEADLINE, condition),
        "{what}: not within {DEADLINE:?}"
    );
}

/// Whether `condition` comes to hold within `deadline`; asked again every 10 ms.
pub fn within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
