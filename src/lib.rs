//! pgexporter: a Prometheus exporter for PostgreSQL.
//!
//! The house. A room may use rooms on lower floors only; `tests/house.rs` keeps it so.
//!
//! ```text
//! 7  bin/                    three programs, under 30 lines each
//! 6  daemon/                 wires all: arguments, start, signals, reload, shutdown
//! 5  http/      cli/         router and pages; the command lines
//! 4  scrape/                 fan out, deadline, merge, cache
//! 3  postgres/  kubernetes/  sessions: connect, pipeline, rows to text; the controller
//! 2  targets/   management/  the shared server list and health of each; frames, SCRAM exchange
//! 1  config/    catalog/  security/
//! 0  exposition/  model  telemetry  text  shutdown  blocking  connection_limit  jitter  supervision
//! ```
//!
//! A scrape, from left to right:
//!
//! ```text
//! GET /metrics ─► http ─► scrape ─┬► postgres session (one task a target) ─► PostgreSQL
//!                         ▲       └► …                 rows ─► exposition text, once
//! pgexporter.conf ─► config ─► targets (watch channel, one writer)
//! PostgresTarget ─► kubernetes ──┘ ▲
//!        ▲                └─ status ┴─ health, as scraping saw it
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod blocking;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod connection_limit;
pub mod daemon;
pub mod exposition;
pub mod http;
pub mod jitter;
pub mod kubernetes;
pub mod management;
pub mod model;
pub mod postgres;
pub mod scrape;
pub mod security;
pub mod shutdown;
pub mod supervision;
pub mod targets;
pub mod telemetry;
pub mod text;
