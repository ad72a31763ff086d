//! `make bench-management`: asks the real program through its real sockets, prints a table, and
//! writes `docs/performance-management.md`. `QUICK=1` takes fewer rounds and writes no page. Words
//! after `cargo bench --bench management --` choose parts: `ping`, `beside`, `thousand`, `login`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    dead_code
)]

use test_support as support;

mod ask;
mod beside;
#[path = "../scrape/client.rs"]
mod client;
mod login;
mod page;
mod ping;
#[path = "../scrape/servers.rs"]
mod servers;
#[path = "../scrape/table.rs"]
mod table;
mod thousand;
#[path = "../scrape/usage.rs"]
mod usage;

use std::time::Instant;

use support::Exporter;
use support::exporter::ExporterBuilder;
use table::Table;

/// How often things are done.
#[derive(Clone, Copy)]
pub struct Rounds {
    /// Commands in turn.
    pub pings: usize,
    /// Pairs of blocks of scrapes: without and with requests beside them.
    pub blocks: usize,
    /// Servers that a status is asked of.
    pub servers: usize,
    /// Statuses.
    pub statuses: usize,
    /// Logins of each kind.
    pub logins: usize,
}

fn main() {
    // `cargo test --benches` runs this as well, and means only that it should be built.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let quick = std::env::var("QUICK").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    let rounds = match quick {
        true => Rounds {
            pings: 200,
            blocks: 10,
            servers: 100,
            statuses: 20,
            logins: 300,
        },
        false => Rounds {
            pings: 1_000,
            blocks: 30,
            servers: 1_000,
            statuses: 50,
            logins: 1_000,
        },
    };
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    let begin = Instant::now();
    let mut table = Table::default();
    if wanted("ping") {
        eprintln!("A ping");
        ping::measure(&mut table, rounds);
    }
    if wanted("beside") {
        eprintln!("Status requests beside scrapes");
        beside::measure(&mut table, rounds);
    }
    if wanted("thousand") {
        eprintln!("The status of {} servers", rounds.servers);
        thousand::measure(&mut table, rounds);
    }
    if wanted("login") {
        eprintln!("Logins that fail");
        login::measure(&mut table, rounds);
    }

    println!("{}", table.markdown());
    let took = begin.elapsed();
    println!("Took {:.0} s.", took.as_secs_f64());
    if quick || !parts.is_empty() {
        println!("docs/performance-management.md is not written: this was not all of it.");
    } else {
        page::write(&table, took);
    }
    if table.missed() > 0 {
        println!("{} bars were missed.", table.missed());
    }
}

/// An exporter that is asked.
pub fn builder() -> ExporterBuilder {
    Exporter::builder().set("log_level = warn")
}
