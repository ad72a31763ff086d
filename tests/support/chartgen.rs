//! Writes the generated files of `charts/pgexporter`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    match support::chart::write() {
        Ok(written) => {
            for path in written {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
