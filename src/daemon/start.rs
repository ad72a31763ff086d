//! From the command line to the running program, and the exit status after it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use super::arguments::Arguments;
use super::process::detach::{self, Child};
use super::process::pidfile::Pidfile;
use super::process::{limits, title};
use super::reload::{log_settings, read_configuration, read_state};
use super::run;
use crate::telemetry::{self, Telemetry};
use crate::{fatal, http};

/// How long the background process may take to be ready.
const DETACH: Duration = Duration::from_secs(60);

/// Runs `pgexporter`. Exit status: 0 after an orderly end, 1 when it could not start, 2 for wrong
/// usage.
#[must_use]
pub fn main() -> ExitCode {
    let child = match detach::child() {
        Ok(child) => child,
        Err(error) => return say(&error.to_string()),
    };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is an error to clap as well, with status 0 and on the other stream.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if arguments.version {
        return print(&format!("pgexporter {}\n", env!("CARGO_PKG_VERSION")));
    }
    if arguments.daemon && child.is_none() {
        return match detach::parent(DETACH) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => say(&error.to_string()),
        };
    }
    start(&arguments, child)
}

fn start(arguments: &Arguments, child: Option<Child>) -> ExitCode {
    let (configuration, notices) = match read_configuration(arguments) {
        Ok(read) => read,
        Err(errors) => return fail(None, child, &errors.to_string()),
    };
    let telemetry = match telemetry::init(&log_settings(&configuration.main)) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(None, child, &error.to_string()),
    };
    let mut child = child;
    let result = prepare(arguments, configuration, notices, &telemetry, &mut child);
    match result {
        Ok(()) => {
            telemetry.flush();
            ExitCode::SUCCESS
        }
        Err(error) => fail(Some(&telemetry), child, &format!("{error:#}")),
    }
}

fn prepare(
    arguments: &Arguments,
    configuration: crate::config::Configuration,
    notices: Vec<String>,
    telemetry: &Telemetry,
    child: &mut Option<Child>,
) -> anyhow::Result<()> {
    let state = read_state(arguments, configuration, notices)?;
    let main = &state.configuration.main;
    if let Err(error) = limits::raise() {
        tracing::warn!("{error}");
    }
    limits::huge_pages(main.hugepage)?;
    if let Err(error) = title::apply(main.update_process_title, main.metrics) {
        tracing::warn!("the process title cannot be set: {error}");
    }
    let pidfile = main.pidfile.as_deref().map(Pidfile::create).transpose()?;
    let metrics = http::bind(&main.host, main.metrics, main.backlog)?;
    let health = main
        .health
        .map(|port| http::bind(&main.host, port, main.backlog))
        .transpose()?
        .unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .max_blocking_threads(16)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run::run(run::Running {
        arguments: arguments.clone(),
        state,
        telemetry: telemetry.clone(),
        metrics,
        health,
        child: child.take(),
    }));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(pidfile);
    ended
}

/// Says why it did not start: in the log when there is one, to the waiting parent, and on stderr.
fn fail(telemetry: Option<&Telemetry>, child: Option<Child>, message: &str) -> ExitCode {
    if let Some(telemetry) = telemetry {
        fatal!("{message}");
        telemetry.flush();
    }
    match child {
        Some(child) => child.failed(message),
        None => return say(message),
    }
    ExitCode::FAILURE
}

fn say(message: &str) -> ExitCode {
    use std::io::Write as _;
    // Nobody listens when stderr is closed.
    let _ = writeln!(std::io::stderr(), "pgexporter: {message}");
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
