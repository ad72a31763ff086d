//! The exporter as a process: how it starts, reloads, logs and ends. The real program on real
//! PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "daemon/any_user.rs"]
mod any_user;
#[path = "daemon/command_line.rs"]
mod command_line;
#[path = "daemon/detach.rs"]
mod detach;
#[path = "daemon/disks.rs"]
mod disks;
#[path = "daemon/keys.rs"]
mod keys;
#[path = "daemon/logging.rs"]
mod logging;
#[cfg(debug_assertions)]
#[path = "daemon/panics.rs"]
mod panics;
#[path = "daemon/reload.rs"]
mod reload;
#[path = "daemon/shutdown.rs"]
mod shutdown;
#[path = "daemon/systemd.rs"]
mod systemd;

use support::{Exporter, Postgres, eventually, within};

/// A file of metrics with one query of one column `value`.
fn metric(tag: &str, query: &str) -> String {
    format!(
        "version: 13\nmetrics:\n  - tag: {tag}\n    query: {query}\n    columns:\n      \
         - {{name: value, type: gauge}}\n"
    )
}

/// The exporter's own sessions at a server, by process.
fn sessions(server: &Postgres) -> Vec<String> {
    server
        .text(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter' \
             AND backend_type = 'client backend' ORDER BY pid",
        )
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect()
}

/// Whether a scrape says that a server answers.
fn active(exporter: &Exporter, server: &str) -> Option<f64> {
    exporter
        .metrics()
        .value("pgexporter_postgresql_active", &[("server", server)])
}

/// Whether a line of the log holds all of `parts`.
fn logged(exporter: &Exporter, parts: &[&str]) -> bool {
    exporter
        .log()
        .lines()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

#[track_caller]
fn eventually_logged(exporter: &Exporter, parts: &[&str]) {
    let found = within(support::DEADLINE, || logged(exporter, parts));
    assert!(found, "{parts:?} is not in: {}", exporter.log());
}

#[track_caller]
fn eventually_active(exporter: &Exporter, server: &str) {
    eventually("the server is scraped", || {
        active(exporter, server) == Some(1.0)
    });
}
