//! `make bench`: measures scrapes of real servers by the real program, prints a table, and writes
//! `docs/performance.md`.
//!
//! Beside the exporter stands the [`floor`]: a bare client that sends the same statements over as
//! many connections, and for a usual scrape a bare server beside it, which sends the same body.
//! What the exporter takes beyond that is its own; what the floor takes is PostgreSQL's. `QUICK=1` measures fewer rounds and writes no page, `PEERS=1` measures other
//! exporters on the same server. Words after `cargo bench --bench scrape --` choose parts: `full`,
//! `usual`, `kept`, `statements`, `lasting`, `twenty`.
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

use test_support as support;

mod client;
mod floor;
mod measure;
mod page;
mod peers;
mod servers;
mod serving;
mod table;
mod twenty;
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
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    let begin = Instant::now();
    let mut table = Table::default();
    let mut compared = Vec::new();
    let bench = Bench::start(rounds);
    if wanted("full") {
        eprintln!("A full scrape: every collector, each time");
        compared.push(bench.compare(&mut table, Turn::Full, 1));
    }
    if wanted("usual") {
        eprintln!("A usual scrape: costly collectors once a minute");
        compared.push(bench.compare(&mut table, Turn::Usual, 1));
    }
    if wanted("kept") {
        eprintln!("A connection kept in each database");
        bench.compare(&mut table, Turn::Full, servers::DATABASES);
    }
    let statements = bench.statements();
    if wanted("statements") {
        println!("{}", page::list(&statements));
    }
    let peers = set("PEERS").then(|| {
        eprintln!("Other exporters");
        peers::measure(&bench)
    });
    drop(bench);
    usage::everywhere();
    if wanted("lasting") {
        eprintln!("One database, many scrapes");
        measure::lasting(&mut table, rounds);
    }
    if wanted("twenty") {
        eprintln!("Twenty servers");
        twenty::measure(&mut table, rounds);
    }

    println!("{}", table.markdown());
    if let Some(peers) = &peers {
        println!("{peers}");
    }
    let took = begin.elapsed();
    println!("Took {:.0} s.", took.as_secs_f64());
    if quick || !parts.is_empty() {
        println!("docs/performance.md is not written: this was not all of it.");
    } else {
        page::write(&table, &compared, &statements, peers.as_deref(), took);
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
