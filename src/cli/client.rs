//! `pgexporter-cli`: asks a running exporter, and checks its files.
//!
//! In go arguments, the terminal and the environment; out come answers. Exit status: 0 done, 1
//! refused or failed, 2 wrong usage, 3 no connection or no access.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use super::arguments::{CliArguments, CliOptions, OutputFormat, Verb};
use super::error::CliError;
use super::output::{self, show};
use super::style::Style;
use super::transport::AdminTransport;
use super::{
    check_files, check_url, crypt, kubectl, local_time, print, request, text_output, watch_servers,
};
use crate::management::AdminCommand;

/// Runs the program with the arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if kubectl::is_called(&arguments) {
        return kubectl::run(arguments);
    }
    let arguments = match CliArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come as errors too, and are printed to the standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let options = &arguments.options;
    let status = match carry_out(options, &arguments.verb) {
        Ok(()) => 0,
        Err(failure) => {
            print_errors(options, &failure.lines());
            failure.status()
        }
    };
    if options.verbose {
        let line = match status {
            0 => "Success (0)".to_owned(),
            status => format!("Error ({status})"),
        };
        let _ = writeln!(io::stdout(), "{line}");
    }
    ExitCode::from(status)
}

/// Its command line.
#[must_use]
pub fn command_line() -> clap::Command {
    CliArguments::command()
}

fn carry_out(options: &CliOptions, verb: &Verb) -> Result<(), CliError> {
    if let Some(every) = verb.watch() {
        return watch_servers::watch_servers(options, every);
    }
    match (verb, verb.command()) {
        (_, Some(command)) => run_command(options, &command),
        (Verb::Check(wanted), None) => match &wanted.url {
            Some(url) => check_url::check_url(url, wanted.ca.as_deref()),
            None => check_files::check_files(options, wanted),
        },
        (Verb::Encrypt(files), None) => crypt::encrypt(options, files),
        (Verb::Decrypt(files), None) => crypt::decrypt(options, files),
        // All others are commands.
        (_, None) => Ok(()),
    }
}

/// Asks the exporter and prints what it says.
fn run_command(options: &CliOptions, command: &AdminCommand) -> Result<(), CliError> {
    let endpoint = AdminTransport::from_options(options)?;
    let answer = request::send_command(options, &endpoint, command)?;
    let good = answer.is_good();
    let mut reasons = Vec::new();
    let out = match options.format {
        Some(OutputFormat::Json) => print::as_json(&answer, command),
        Some(OutputFormat::Raw) => String::from_utf8_lossy(&answer.raw).into_owned() + "\n",
        Some(OutputFormat::Text) | None => {
            let said = text_output::format_answer(&answer, command, Style::of_output());
            reasons = said.err;
            said.out
        }
    };
    show(&out)?;
    if good {
        print_errors(options, &reasons);
        return Ok(());
    }
    if reasons.is_empty()
        && options
            .format
            .is_some_and(|format| format != OutputFormat::Text)
    {
        reasons.push(answer.message());
    }
    Err(CliError::Refused(reasons))
}

/// Says what is wrong, and writes it to the log file if there is to be one.
fn print_errors(options: &CliOptions, lines: &[String]) {
    output::print_errors("pgexporter-cli", lines);
    let Some(path) = &options.logfile else { return };
    if lines.is_empty() {
        return;
    }
    let now = local_time::local_time()
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    let text: String = lines
        .iter()
        .map(|line| format!("{now} ERROR pgexporter-cli: {line}\n"))
        .collect();
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        let path = path.display();
        let _ = writeln!(io::stderr(), "pgexporter-cli: cannot write {path}: {error}");
    }
}
