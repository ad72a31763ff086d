//! The exporter. See `pgexporter --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgexporter::daemon::main()
}
