//! `make bench`: measures scrapes of real servers by the real program, prints a table, and writes
//! `docs/performance.md`.
//!
//! Beside the exporter stands the [`floor`]: a bare client that sends the same statements over as
//! many connections. What the exporter takes beyond that is its own; what the floor takes is
//! PostgreSQL's. `QUICK=1` measures fewer rounds and writes no page, `PEERS=1` measures other
//! exporters on the same server.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod client;
mod floor;
mod measure;
mod page;
mod peers;
mod servers;
mod table;
mod usage;

use std::time::{Duration, Instant};

use floor::Turn;
use measure::{Bench, Rounds};
use table::Table;

fn main() {
    // `cargo test --benches` runs this as well, and means only that it should be built.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let quick = set("QUICK");
    let rounds = if quick {
        Rounds::quick()
    } else {
        Rounds::whole()
    };
    let begin = Instant::now();
    let mut table = Table::default();
    let bench = Bench::start(rounds);

    eprintln!("A full scrape: every collector, each time");
    let full = bench.compare(&mut table, Turn::Full, 1);
    eprintln!("A usual scrape: costly collectors once a minute");
    let usual = bench.compare(&mut table, Turn::Usual, 1);
    eprintln!("A connection kept in each database");
    bench.compare(&mut table, Turn::Full, servers::DATABASES);
    eprintln!("One database, one thousand scrapes");
    bench.lasting(&mut table);
    let statements = bench.statements();
    let peers = if set("PEERS") {
        eprintln!("Other exporters");
        Some(peers::measure(&bench))
    } else {
        None
    };
    drop(bench);
    eprintln!("Twenty servers");
    measure::twenty(&mut table, rounds);

    println!("{}", table.markdown());
    if let Some(peers) = &peers {
        println!("{peers}");
    }
    let took = begin.elapsed();
    println!("Took {:.0} s.", took.as_secs_f64());
    if quick {
        println!("docs/performance.md is not written: these were few rounds.");
    } else {
        page::write(&table, &[full, usual], &statements, peers.as_deref(), took);
    }
    if table.missed() > 0 {
        println!("{} bars were missed.", table.missed());
    }
}

fn set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0"))
}

/// How long a server may go on with what a scrape left to it.
const SETTLE: Duration = Duration::from_millis(30);
