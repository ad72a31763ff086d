//! pgexporter-cli: speaks with a running exporter, and checks its files.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgexporter::security::core_dumps::forbid();
    pgexporter::cli::client::run(std::env::args_os())
}
