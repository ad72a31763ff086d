//! pgexporter-admin: keeps the master key and the users files.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgexporter::security::core_dumps::forbid();
    pgexporter::cli::admin::run(std::env::args_os())
}
