//! Downloads and builds all that the tests need, with a line for each (`make test` begins with it).
#![allow(clippy::print_stderr)]

#[path = "mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    match support::downloads::everything() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
