//! `pgexporter-cli check`: whether the exporter would start with these files.
//!
//! In go the paths of the command line; out come all problems, one a line on standard error, or a
//! line that says what was found. Exit status: 0 all is well, 1 something is wrong, 2 wrong usage.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::targets::{LoadErrors, Loaded, Sources};

#[derive(Parser)]
#[command(
    name = "pgexporter-cli",
    version,
    about = "Command line utility for pgexporter",
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Arguments {
    /// The pgexporter.conf file
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show this help
    #[arg(short = '?', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration and all files that it names
    #[command(disable_help_flag = true)]
    Check(Check),
}

#[derive(Args)]
struct Check {
    /// Ask no server: only files are read
    #[arg(long, required = true)]
    offline: bool,
    /// The folder of pgexporter.conf, as `pgexporter -D`
    #[arg(short = 'D', long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The users file, as `pgexporter -u`
    #[arg(short, long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The admins file, as `pgexporter -A`
    #[arg(short = 'A', long, value_name = "FILE")]
    admins: Option<PathBuf>,
    /// More metrics, as `pgexporter -Y` and `-J`
    #[arg(
        short = 'Y',
        long = "yaml",
        visible_short_alias = 'J',
        visible_alias = "json",
        value_name = "FILE_OR_DIR"
    )]
    metrics: Vec<PathBuf>,
}

/// Runs `pgexporter-cli` with the arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come as errors too, and are printed to the standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Command::Check(check) = arguments.command;
    let sources = Sources {
        config: arguments.config,
        directory: check.directory,
        users: check.users,
        admins: check.admins,
        metrics: check.metrics,
        collectors: Vec::new(),
    };
    // A reader that hung up is no reason to fail: the exit status says it all.
    match look(&sources) {
        Ok(loaded) => {
            for notice in &loaded.notices {
                let _ = writeln!(io::stderr(), "pgexporter-cli: {notice}");
            }
            let _ = writeln!(io::stdout(), "{}", summary(&loaded));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            for problem in &errors.problems {
                let _ = writeln!(io::stderr(), "pgexporter-cli: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn look(sources: &Sources) -> Result<Loaded, LoadErrors> {
    sources.load(sources.configuration()?)
}

fn summary(loaded: &Loaded) -> String {
    let own = loaded.catalog.metrics.iter().filter(|one| !one.builtin);
    let tls = match loaded.metrics_tls {
        Some(_) => "with TLS",
        None => "without TLS",
    };
    format!(
        "{}: good: servers: {}; queries of your own: {}; metrics on port {} {tls}",
        loaded.configuration.path.display(),
        loaded.targets.len(),
        own.count(),
        loaded.configuration.main.metrics,
    )
}
