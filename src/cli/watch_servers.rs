//! `--watch`: the table of the servers, again and again.
//!
//! On a terminal it is redrawn in place. Into a pipe goes the table once, then each line that has
//! changed, as `kubectl get --watch` does; with `-F json` and `-F raw` a document a time.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use super::arguments::{CliOptions, OutputFormat};
use super::error::CliError;
use super::local_time;
use super::output::show;
use super::request::{self, AdminAnswer};
use super::style::{Style, Tone};
use super::transport::AdminTransport;
use super::{print, table};
use crate::management::AdminCommand;
use crate::text::escaped_json;

/// Asks every so often, until it is interrupted, or nobody reads any more.
///
/// # Errors
/// The first answer does not come. Later ones are waited for.
pub(super) fn watch_servers(options: &CliOptions, every: Duration) -> Result<(), CliError> {
    let command = AdminCommand::Targets;
    let endpoint = AdminTransport::from_options(options)?;
    let mut shown = ShownServers::default();
    let mut first = true;
    loop {
        let answer = match request::send_command(options, &endpoint, &command) {
            Ok(answer) if !answer.is_good() => Err(CliError::Refused(vec![answer.message()])),
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                if !show_answer(options, &command, &answer, &mut shown)? {
                    return Ok(());
                }
            }
            Err(failure) if first => return Err(failure),
            Err(failure) => shown.print_failure(&failure),
        }
        first = false;
        std::thread::sleep(every);
    }
}

/// Shows an answer. Returns whether anybody still reads.
fn show_answer(
    options: &CliOptions,
    command: &AdminCommand,
    answer: &AdminAnswer,
    shown: &mut ShownServers,
) -> Result<bool, CliError> {
    shown.told = None;
    let text = match options.format {
        Some(OutputFormat::Json) => print::as_json(answer, command),
        Some(OutputFormat::Raw) => {
            escaped_json(&String::from_utf8_lossy(&answer.raw)).into_owned() + "\n"
        }
        Some(OutputFormat::Text) | None if io::stdout().is_terminal() => draw_screen(answer),
        Some(OutputFormat::Text) | None => shown.changed_rows(answer),
    };
    show(&text)
}

/// The table in place of what the terminal shows, no larger than it.
fn draw_screen(answer: &AdminAnswer) -> String {
    let style = Style::of_output();
    let now = local_time::local_time().strftime("%H:%M:%S");
    let table = table::servers_table(answer.response(), Style::default());
    let (rows, columns) = match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 2 && size.ws_col > 0 => {
            (usize::from(size.ws_row), usize::from(size.ws_col))
        }
        _ => (usize::MAX, usize::MAX),
    };
    let lines: Vec<&str> = table.lines().collect();
    let room = rows.saturating_sub(2);
    let mut out = format!("\x1b[H\x1b[2J{now}, until Ctrl-C\n");
    for (at, line) in lines.iter().take(room).enumerate() {
        let cut: String = line.chars().take(columns).collect();
        let tone = match at {
            0 => Some(Tone::Head),
            _ => table::tone_of_server(&answer.response()["Servers"][at - 1]),
        };
        out.push_str(&style.paint(tone, &cut));
        out.push('\n');
    }
    if lines.len() > room {
        out.push_str(&format!("… and {} more", lines.len() - room));
    }
    out
}

/// The state of the servers that was printed last.
#[derive(Debug, Default)]
struct ShownServers {
    servers: BTreeMap<String, Value>,
    told: Option<Vec<String>>,
}

impl ShownServers {
    /// The rows of servers whose state changed since the last call, with a head for the first time.
    fn changed_rows(&mut self, answer: &AdminAnswer) -> String {
        let mut fresh = answer.response().clone();
        let mut now = BTreeMap::new();
        let mut out = String::new();
        let head = self.servers.is_empty();
        if let Some(Value::Array(servers)) = fresh.get_mut("Servers") {
            servers.retain(|server| {
                let name = print::scalar(&server["Server"]);
                let state = table::comparable_state(server);
                let same = self.servers.get(&name) == Some(&state);
                now.insert(name, state);
                !same
            });
        }
        for gone in self.servers.keys().filter(|name| !now.contains_key(*name)) {
            out.push_str(&format!("{gone}  removed\n"));
        }
        self.servers = now;
        let table = table::servers_table(&fresh, Style::default());
        let rows = table.split_once('\n').map_or("", |(_, rows)| rows);
        out.push_str(if head { &table } else { rows });
        out
    }

    /// Prints a failure, unless it was printed before.
    fn print_failure(&mut self, failure: &CliError) {
        let lines: Vec<String> = failure.lines();
        if self.told.as_ref() != Some(&lines) {
            for line in &lines {
                let _ = writeln!(io::stderr(), "pgexporter-cli: {line}");
            }
            self.told = Some(lines);
        }
    }
}
