//! The tools behind the Makefile: `make help` lists what they are for.

mod demo;
mod demo_operator;
mod stage;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// The tools behind the Makefile of pgexporter
#[derive(Parser)]
#[command(name = "xtask")]
enum Tool {
    /// Download and build what the tests need, with a line for each
    Testbeds {
        /// Also what a cluster of one node takes (`make e2e`)
        #[arg(long)]
        cluster: bool,
    },
    /// Show the metrics of a real PostgreSQL 18 until Ctrl-C
    Demo,
    /// Show how PostgresTargets of a real Kubernetes API server become metrics, until Ctrl-C
    DemoOperator,
    /// Write crds/ from the Rust types
    Crds,
    /// Write the generated files of charts/pgexporter
    Chart,
}

fn main() -> ExitCode {
    let done = match Tool::parse() {
        Tool::Testbeds { cluster } => test_support::downloads::everything(cluster),
        Tool::Demo => return demo::main(),
        Tool::DemoOperator => return demo_operator::main(),
        Tool::Crds => write_crds(),
        Tool::Chart => write_chart(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes `crds/postgrestargets.yaml` from the Rust types.
fn write_crds() -> Result<()> {
    let path = Path::new(test_support::ROOT).join("crds/postgrestargets.yaml");
    let text = pgexporter::kubernetes::crd_yaml()?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Writes the generated files of `charts/pgexporter`.
fn write_chart() -> Result<()> {
    for path in test_support::chart::write()? {
        println!("wrote {}", path.display());
    }
    Ok(())
}
