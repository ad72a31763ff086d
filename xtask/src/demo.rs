//! `make demo`: a real PostgreSQL 18 with a small living workload, and the exporter on it, until
//! Ctrl-C. With `ONCE=1` in the environment it does all of it once and ends.
//!
//! Needs the binary `pgexporter` built beside it. Whatever way it ends, nothing stays behind
//! (see `keeper`).

use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::stage;
use test_support::{Exporter, Postgres, Samples, Workload, exporter, within};

/// Shown after the first scrape, where the scrape has them.
const SHOWN: [&str; 8] = [
    "pgexporter_state",
    "pgexporter_postgresql_active",
    "pgexporter_postgresql_version",
    "pgexporter_postgresql_primary",
    "pgexporter_pg_db_conn",
    "pgexporter_pg_stat_database_xact_commit",
    "pgexporter_pg_locks_count",
    "pgexporter_pg_database_size",
];

pub fn main() -> ExitCode {
    if let Err(error) = test_support::downloads::postgres(18) {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    stage::run(demonstrate)
}

/// The demo; whatever way it ends, what it started is gone.
fn demonstrate(once: bool, stop: &Receiver<()>) -> Result<(), String> {
    let begin = Instant::now();
    println!("PostgreSQL 18: starting");
    let server = Postgres::builder(18)
        .preload("pg_stat_statements")
        .set("track_io_timing", "on");
    let server = server.try_start().map_err(|error| format!("{error:#}"))?;
    println!(
        "PostgreSQL 18: {} ({:.1} s)",
        server.url(),
        begin.elapsed().as_secs_f32()
    );
    let _workload = Workload::start(&server);

    let begin = Instant::now();
    println!("pgexporter: starting");
    let exporter = Exporter::builder()
        .server("demo", &server)
        .try_start()
        .map_err(|error| {
            format!(
                "pgexporter did not start ({:?}): {}",
                error.status, error.log
            )
        })?;
    let (mut first, mut stopped) = (None, false);
    let whole = within(Duration::from_secs(60), || {
        let answer = exporter::get(&exporter.url("/metrics"), &[]);
        first = answer
            .ok()
            .and_then(|answer| Samples::try_parse(&answer.body).ok());
        let active = |samples: &Samples| {
            let found = samples.with("pgexporter_postgresql_active", &[("server", "demo")]);
            found.iter().any(|sample| sample.value == 1.0)
        };
        stopped = stop.try_recv().is_ok();
        stopped || first.as_ref().is_some_and(active)
    });
    if stopped {
        return Ok(());
    }
    let Some(samples) = first.filter(|_| whole) else {
        return Err(format!(
            "no scrape showed the server active:\n{}",
            exporter.log()
        ));
    };
    println!(
        "pgexporter: first scrape after {:.1} s\n",
        begin.elapsed().as_secs_f32()
    );
    print(&samples);
    println!(
        "\n{} samples of {} families",
        samples.samples.len(),
        samples.types.len()
    );
    println!("\n  overview  {}", exporter.url("/"));
    println!("  metrics   {}", exporter.url("/metrics"));
    println!(
        "  settings  {}\n",
        exporter.folder().join("pgexporter.conf").display()
    );
    if !once {
        println!("Ctrl-C ends it and removes everything.");
        // An error would mean that nobody is left to tell us: the same.
        let _ = stop.recv();
    }
    Ok(())
}

fn print(samples: &Samples) {
    for family in SHOWN {
        for sample in samples.all(family).into_iter().take(3) {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            println!("  {family}{{{}}} {}", labels.join(","), sample.value);
        }
    }
}
