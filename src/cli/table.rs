//! Tables for people.

use serde_json::Value;

use super::print;
use super::style::{Style, Tone};
use crate::catalog::SETTINGS;
use crate::management::document::JsonObject;

/// The servers of a status with details.
pub(super) fn servers_table(response: &JsonObject, style: Style) -> String {
    let none = Vec::new();
    let servers = match response.get("Servers") {
        Some(Value::Array(servers)) => servers,
        _ => &none,
    };
    let word = |server: &Value, name: &str| match &server[name] {
        Value::Null => "-".to_owned(),
        value => print::scalar(value),
    };
    let rows = servers.iter().map(|server| {
        let trouble = match &server["Trouble"]["Message"] {
            Value::Null => String::new(),
            message => print::scalar(message),
        };
        vec![
            word(server, "Server"),
            match server["Active"] == true {
                true => "yes".to_owned(),
                false => "no".to_owned(),
            },
            word(server, "Version"),
            word(server, "Role"),
            word(server, "Address"),
            word(server, "Origin"),
            word(server, "Owner"),
            word(server, "Samples"),
            word(server, "LastScrape"),
            trouble,
        ]
    });
    let head = [
        "SERVER",
        "ACTIVE",
        "VERSION",
        "ROLE",
        "ADDRESS",
        "ORIGIN",
        "OWNER",
        "SAMPLES",
        "LAST SCRAPE",
        "TROUBLE",
    ];
    let tones: Vec<_> = servers.iter().map(tone_of_server).collect();
    let tone = |row: usize, column: usize| tones[row].filter(|_| column == 1);
    align_columns(&head, rows.collect(), style, tone)
}

/// What a server's state is to a person.
pub(super) fn tone_of_server(server: &Value) -> Option<Tone> {
    Some(match server["Active"] == true {
        true => Tone::Good,
        false => Tone::Bad,
    })
}

/// What of a server is news when it changes: all but what each scrape counts anew.
pub(super) fn comparable_state(server: &Value) -> Value {
    let names = [
        "Active", "Version", "Role", "Address", "Origin", "Owner", "Trouble",
    ];
    names.iter().map(|name| server[*name].clone()).collect()
}

/// What a scrape took, the slowest query first.
pub(super) fn scrape_table(response: &JsonObject, style: Style) -> String {
    let none = Vec::new();
    let queries = match response.get("Queries") {
        Some(Value::Array(queries)) => queries,
        _ => &none,
    };
    let word = |name: &str| response.get(name).map(print::scalar).unwrap_or_default();
    let millis = |value: Option<&Value>| match value.and_then(Value::as_f64) {
        Some(seconds) => format!("{:.2} ms", seconds * 1e3),
        None => "-".to_owned(),
    };
    let mut out = format!(
        "{} at {}: {} samples in {}, {} there and back\n",
        word("Server"),
        word("Address"),
        word("Samples"),
        millis(response.get("Duration")),
        millis(response.get("RoundTrip")),
    );
    let mut queries: Vec<&Value> = queries.iter().collect();
    let took = |query: &Value| query["Duration"].as_f64().unwrap_or_default();
    queries.sort_by(|a, b| took(b).total_cmp(&took(a)));
    let tones: Vec<_> = queries.iter().map(|query| tone_of_query(query)).collect();
    let rows = queries.into_iter().map(|query| {
        let text = |name: &str| print::scalar(&query[name]);
        let result = match &query["Message"] {
            Value::Null => text("Outcome"),
            message => format!("{}: {}", text("Outcome"), print::scalar(message)),
        };
        let every = match query["Interval"].as_f64() {
            Some(seconds) => format!("{seconds} s"),
            // A server's settings are asked for when they changed.
            None if query["Tag"] == SETTINGS => "change".to_owned(),
            None if query["Tag"] == "" => "walk".to_owned(),
            None => "scrape".to_owned(),
        };
        vec![
            text("Collector"),
            text("Tag"),
            text("Database"),
            every,
            millis(Some(&query["Duration"])),
            text("Samples"),
            result,
        ]
    });
    let head = [
        "COLLECTOR",
        "QUERY",
        "DATABASE",
        "EVERY",
        "TIME",
        "SAMPLES",
        "RESULT",
    ];
    let tone = |row: usize, column: usize| tones[row].filter(|_| column == 6);
    out.push_str(&align_columns(&head, rows.collect(), style, tone));
    out
}

fn tone_of_query(query: &Value) -> Option<Tone> {
    match query["Outcome"].as_str() {
        Some("done") => None,
        Some("denied" | "left out") => Some(Tone::Notice),
        _ => Some(Tone::Bad),
    }
}

/// What a check found, one line each.
pub(super) fn check_table(response: &JsonObject, style: Style) -> String {
    let mut out = String::new();
    let lines = |name: &str| match response.get(name) {
        Some(Value::Array(lines)) => lines.iter().map(print::scalar).collect(),
        _ => Vec::new(),
    };
    for line in lines("Notices") {
        out.push_str(&format!("notice: {line}\n"));
    }
    for line in lines("Changes") {
        out.push_str(&format!("a reload: {line}\n"));
    }
    if let Some(Value::Array(servers)) = response.get("Servers") {
        for server in servers {
            let denied = match &server["Denied"] {
                Value::Array(names) if !names.is_empty() => {
                    let names: Vec<String> = names.iter().map(print::scalar).collect();
                    format!("; the role may not see: {}", names.join(", "))
                }
                _ => String::new(),
            };
            let state = match server["Trouble"].is_null() {
                true => style.paint(Some(Tone::Good), "good"),
                false => style.paint(Some(Tone::Bad), "cannot be scraped"),
            };
            let name = print::scalar(&server["Server"]);
            out.push_str(&format!("server {name}: {state}{denied}\n"));
        }
    }
    out
}

/// Columns as wide as their widest cell, two spaces apart; the last as it is. `tone` is that of a
/// cell, by row and column.
fn align_columns(
    head: &[&str],
    rows: Vec<Vec<String>>,
    style: Style,
    tone: impl Fn(usize, usize) -> Option<Tone>,
) -> String {
    let wide = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|name| wide(name)).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(wide(cell));
        }
    }
    let mut out = String::new();
    let mut line = |cells: &[String], tone: &dyn Fn(usize) -> Option<Tone>| {
        // Nothing stands behind the last cell that has something in it.
        let last = cells.iter().rposition(|cell| !cell.is_empty());
        let cells = cells.iter().take(last.map_or(0, |last| last + 1));
        let count = cells.len();
        for (column, cell) in cells.enumerate() {
            out.push_str(&style.paint(tone(column), cell));
            if column + 1 < count {
                out.extend(std::iter::repeat_n(' ', widths[column] + 2 - wide(cell)));
            }
        }
        out.push('\n');
    };
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    line(&head, &|_| Some(Tone::Head));
    for (at, row) in rows.iter().enumerate() {
        line(row, &|column| tone(at, column));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = vec![
            vec!["orders".to_owned(), "ja".to_owned(), String::new()],
            vec!["ü".to_owned(), "no".to_owned(), "because".to_owned()],
        ];
        let text = "SERVER  OK  WHY\norders  ja\nü       no  because\n";
        let plain = Style::default();
        assert_eq!(
            align_columns(&["SERVER", "OK", "WHY"], rows, plain, |_, _| None),
            text
        );
    }
}
