//! From the command line to the running program, and the exit status after it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use super::arguments::DaemonArguments;
use super::process::detach::{self, DetachedChild};
use super::process::pidfile::Pidfile;
use super::process::signals::Signals;
use super::process::{allocator, limits, title};
use super::{run, settings};
use crate::management::LocalSocket;
use crate::security::core_dumps;
use crate::supervision::{TaskName, TaskPanics, supervise};
use crate::targets::{Loaded, Sources};
use crate::telemetry::{self, LogType, Telemetry};
use crate::{config, fatal, http};

/// How long the background process may take to be ready.
const DETACH: Duration = Duration::from_secs(60);

/// Runs `pgexporter`. Exit status: 0 after an orderly end, 1 when it could not start or one of its
/// tasks panicked, 2 for wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    allocator::tune();
    let child = match detach::child() {
        Ok(child) => child,
        Err(error) => return print_error(&error.to_string()),
    };
    let arguments = match DaemonArguments::try_parse() {
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
            Err(error) => print_error(&error.to_string()),
        };
    }
    let sources = arguments.sources();
    let read = match sources.configuration() {
        Ok(read) => read,
        Err(errors) => return report_failure(child, &errors.to_string()),
    };
    let main = &read.configuration.main;
    if child.is_some() && main.log_type == LogType::Console {
        let problem = "a program in the background has no console; set log_type = file or syslog";
        return report_failure(child, problem);
    }
    let on_console = main.log_type == LogType::Console;
    let telemetry = match telemetry::init(&settings::log(main)) {
        Ok(telemetry) => telemetry,
        Err(error) => return report_failure(child, &error.to_string()),
    };
    let mut child = child;
    let ended = start(sources, read, &telemetry, &mut child);
    let Err(error) = ended else {
        telemetry.flush();
        return ExitCode::SUCCESS;
    };
    let message = format!("{error:#}");
    for line in message.lines() {
        fatal!("{line}");
    }
    telemetry.flush();
    // On the console it stands already.
    if on_console && child.is_none() {
        return ExitCode::FAILURE;
    }
    report_failure(child, &message)
}

fn start(
    sources: Sources,
    read: config::LoadedConfiguration,
    telemetry: &Telemetry,
    child: &mut Option<DetachedChild>,
) -> anyhow::Result<()> {
    let panics = TaskPanics::default();
    panics.install_hook();
    let loaded = sources.load(read)?;
    let main = &loaded.configuration.main;
    if let Err(error) = limits::raise() {
        tracing::warn!("{error}");
    }
    if main.core_dumps
        && let Err(error) = core_dumps::allow()
    {
        tracing::warn!("core_dumps = on, and the system allows none: {error}");
    }
    limits::huge_pages(main.hugepage)?;
    if let Err(error) = title::apply(main.update_process_title, main.metrics) {
        tracing::warn!("the process title cannot be set: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().min(4)))
        .max_blocking_threads(16)
        .enable_all()
        .build()?;
    // Handlers come before the pidfile, so that a signal does not end the process without removing it.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let pidfile = main.pidfile.as_deref().map(Pidfile::create).transpose()?;
    let ended = serve(sources, loaded, telemetry, signals, child, &runtime, panics);
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(pidfile);
    ended
}

fn serve(
    sources: Sources,
    loaded: Loaded,
    telemetry: &Telemetry,
    signals: Signals,
    child: &mut Option<DetachedChild>,
    runtime: &tokio::runtime::Runtime,
    panics: TaskPanics,
) -> anyhow::Result<()> {
    let main = &loaded.configuration.main;
    make_folder(&main.unix_socket_dir)?;
    // The management socket is bound first: it fails when another exporter uses the folder, and then
    // no port was opened.
    let local = LocalSocket::bind(&main.unix_socket_dir, main.unix_socket_group.as_deref())?;
    let metrics = http::bind(&main.host, main.metrics, main.backlog)?;
    let health = main
        .health
        .map(|port| http::bind(&main.host, port, main.backlog))
        .transpose()?
        .unwrap_or_default();
    let management = main
        .management
        .map(|port| http::bind(&main.host, port, main.backlog))
        .transpose()?
        .unwrap_or_default();
    let running = run::run(run::RunContext {
        sources,
        loaded,
        telemetry: telemetry.clone(),
        signals,
        metrics,
        health,
        local,
        management,
        child: child.take(),
        panics,
    });
    runtime.block_on(supervise(TaskName::Main, running))?
}

/// `unix_socket_dir` is there or made, for this user alone.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!(
            "unix_socket_dir = {}: there is no such folder and it cannot be made; name another",
            path.display()
        )
    })
}

/// Says why it did not start: to the parent that waits, or on stderr.
fn report_failure(child: Option<DetachedChild>, message: &str) -> ExitCode {
    match child {
        Some(child) => child.failed(message),
        None => return print_error(message),
    }
    ExitCode::FAILURE
}

fn print_error(message: &str) -> ExitCode {
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
