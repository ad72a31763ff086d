//! Counts the exporter's connections at the healthy servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Scope;
use std::time::Duration;

use crate::Stop;
use crate::healthy::Healthy;

/// The most connections that one role had at its server, and how often that was looked at.
#[derive(Default)]
pub struct Watched {
    most: AtomicUsize,
    looks: AtomicUsize,
}

impl Watched {
    pub fn most(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (load(&self.most), load(&self.looks))
    }
}

/// Looks at each server four times a second. Each target logs in as a role of its own.
pub fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    healthy: &'scope Healthy,
    watched: &'scope Watched,
    stop: &Stop,
) {
    const SQL: &str = "SELECT coalesce(max(count), 0)::text FROM (SELECT count(*) \
        FROM pg_stat_activity WHERE usename LIKE 'of\\_%' GROUP BY usename) AS each";
    for server in &healthy.servers {
        let stop = stop.clone();
        scope.spawn(move || {
            let session = server.session("postgres");
            while stop.wait(Duration::from_millis(250)) {
                let rows = session.text(SQL);
                let count = rows[0][0].as_ref().and_then(|text| text.parse().ok());
                watched
                    .most
                    .fetch_max(count.unwrap_or(0), Ordering::Relaxed);
                watched.looks.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}
