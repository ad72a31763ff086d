//! `--watch`: the table of the servers, again and again.
//!
//! On a terminal it is redrawn in place. Into a pipe goes the table once, then each line that has
//! changed, as `kubectl get --watch` does; with `-F json` and `-F raw` a document a time.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use super::arguments::{Format, Options};
use super::client::show;
use super::clock;
use super::endpoint::Endpoint;
use super::error::Failure;
use super::exchange::{self, Answer};
use super::style::{Style, Tone};
use super::{print, table};
use crate::management::Command;
use crate::text::escaped_json;

/// Asks every so often, until it is interrupted, or nobody reads any more.
///
/// # Errors
/// The first answer does not come. Later ones are waited for.
pub(super) fn servers(options: &Options, every: Duration) -> Result<(), Failure> {
    let command = Command::Targets;
    let endpoint = Endpoint::of(options)?;
    let mut seen = Seen::default();
    let mut first = true;
    loop {
        let answer = match exchange::ask(options, &endpoint, &command) {
            Ok(answer) if !answer.is_good() => Err(Failure::Refused(vec![answer.message()])),
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                if !show_one(options, &command, &answer, &mut seen)? {
                    return Ok(());
                }
            }
            Err(failure) if first => return Err(failure),
            Err(failure) => seen.tell(&failure),
        }
        first = false;
        std::thread::sleep(every);
    }
}

/// Shows an answer. Returns whether anybody still reads.
fn show_one(
    options: &Options,
    command: &Command,
    answer: &Answer,
    seen: &mut Seen,
) -> Result<bool, Failure> {
    seen.told = None;
    let text = match options.format {
        Some(Format::Json) => print::as_json(answer, command),
        Some(Format::Raw) => {
            escaped_json(&String::from_utf8_lossy(&answer.raw)).into_owned() + "\n"
        }
        Some(Format::Text) | None if io::stdout().is_terminal() => drawn(answer),
        Some(Format::Text) | None => seen.news(answer),
    };
    show(&text)
}

/// The table in place of what the terminal shows, no larger than it.
fn drawn(answer: &Answer) -> String {
    let style = Style::of_output();
    let now = clock::now().strftime("%H:%M:%S");
    let table = table::servers(answer.response(), Style::default());
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

/// What a pipe has been told.
#[derive(Debug, Default)]
struct Seen {
    servers: BTreeMap<String, Value>,
    told: Option<Vec<String>>,
}

impl Seen {
    /// The lines of servers that are not as they were, the first time below a head.
    fn news(&mut self, answer: &Answer) -> String {
        let mut fresh = answer.response().clone();
        let mut now = BTreeMap::new();
        let mut out = String::new();
        let head = self.servers.is_empty();
        if let Some(Value::Array(servers)) = fresh.get_mut("Servers") {
            servers.retain(|server| {
                let name = print::scalar(&server["Server"]);
                let state = table::state(server);
                let same = self.servers.get(&name) == Some(&state);
                now.insert(name, state);
                !same
            });
        }
        for gone in self.servers.keys().filter(|name| !now.contains_key(*name)) {
            out.push_str(&format!("{gone}  removed\n"));
        }
        self.servers = now;
        let table = table::servers(&fresh, Style::default());
        let rows = table.split_once('\n').map_or("", |(_, rows)| rows);
        out.push_str(if head { &table } else { rows });
        out
    }

    /// Why there is no news, once.
    fn tell(&mut self, failure: &Failure) {
        let lines: Vec<String> = failure.lines();
        if self.told.as_ref() != Some(&lines) {
            for line in &lines {
                let _ = writeln!(io::stderr(), "pgexporter-cli: {line}");
            }
            self.told = Some(lines);
        }
    }
}
