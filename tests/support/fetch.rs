//! Downloads and builds all that the tests need, with a line for each (`make test` begins with it);
//! with the argument `cluster` also what a cluster of one node takes (`make e2e`).
#![allow(clippy::print_stderr)]

#[path = "mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    let cluster = std::env::args().any(|argument| argument == "cluster");
    match support::downloads::everything(cluster) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
