//! The exporter. See `pgexporter --help`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// The image has one file for all three programs, which share most of their code: they are told
/// apart by the name that it is called by.
fn main() -> ExitCode {
    pgexporter::security::core_dumps::forbid();
    let first = std::env::args_os().next().unwrap_or_default();
    match Path::new(&first).file_name().and_then(OsStr::to_str) {
        Some("pgexporter-admin") => pgexporter::cli::admin::run(std::env::args_os()),
        Some("pgexporter-cli" | "kubectl-pgexporter") => {
            pgexporter::cli::client::run(std::env::args_os())
        }
        _ => pgexporter::daemon::main(),
    }
}
