//! Writes `docs/performance.md`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::floor::Turn;
use crate::measure::Compared;
use crate::table::{Table, mb, ms};
use crate::usage;

const TEMPLATE: &str = include_str!("performance.md");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
/// Statements that are shown.
const SHOWN: usize = 15;

/// Fills the template.
pub fn write(
    table: &Table,
    compared: &[Compared],
    statements: &[(String, Duration, usize)],
    peers: Option<&str>,
    took: Duration,
) {
    let peers = peers.map_or_else(|| kept_peers().unwrap_or_default(), str::to_owned);
    let text = TEMPLATE
        .replace("{date}", &date())
        .replace("{machine}", &usage::machine())
        .replace("{seconds}", &format!("{:.0}", took.as_secs_f64()))
        .replace("{table}", &table.markdown())
        .replace("{compared}", &parts(compared))
        .replace("{statements}", &list(statements))
        .replace("{peers}", &peers);
    std::fs::write(PAGE, text).expect("docs/performance.md is written");
    println!("docs/performance.md is written.");
}

/// What the page says of other exporters stays until they are measured again.
fn kept_peers() -> Option<String> {
    let old = std::fs::read_to_string(PAGE).ok()?;
    let from = old.find(crate::peers::HEADING)?;
    let to = old[from..].find("## How to repeat it")? + from;
    Some(old[from..to].to_owned())
}

fn parts(compared: &[Compared]) -> String {
    let mut text = String::new();
    for one in compared {
        let (name, floor) = match one.turn {
            Turn::Full => ("full", "the floor, which is PostgreSQL and the way there,"),
            Turn::Usual => ("usual", "asking and serving, with nothing in between,"),
        };
        let share = 100.0 * one.floor.as_secs_f64() / one.latency.as_secs_f64();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "* A {name} scrape ({} samples, {}) takes {}; {floor} is {share:.0} % of it. CPU: PostgreSQL {}, exporter {}.",
            one.samples,
            mb(one.bytes as u64),
            ms(one.latency),
            ms(one.server_cpu),
            ms(one.own_cpu)
        );
    }
    text
}

/// The costliest statements as a table.
pub fn list(statements: &[(String, Duration, usize)]) -> String {
    let mut text = "| Statement | Time | Bytes of rows |\n| --- | --- | --- |\n".to_owned();
    for (name, time, bytes) in statements.iter().take(SHOWN) {
        let _ = writeln!(text, "| {name} | {} | {bytes} |", ms(*time));
    }
    let rest = statements.iter().skip(SHOWN);
    let sum: Duration = rest.clone().map(|(_, time, _)| *time).sum();
    let _ = writeln!(text, "| {} others | {} together | |", rest.count(), ms(sum));
    text
}

/// Today in UTC.
fn date() -> String {
    let now = jiff::Timestamp::now().to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
