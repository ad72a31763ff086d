//! Tables for people.

use serde_json::Value;

use super::print;
use crate::management::document::Object;

/// The servers of a status with details.
pub(super) fn servers(response: &Object) -> String {
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
    table(&head, rows.collect())
}

/// What a check found, one line each.
pub(super) fn check(response: &Object) -> String {
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
                true => "good",
                false => "cannot be scraped",
            };
            let name = print::scalar(&server["Server"]);
            out.push_str(&format!("server {name}: {state}{denied}\n"));
        }
    }
    out
}

/// Columns as wide as their widest cell, two spaces apart; the last as it is.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let wide = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|name| wide(name)).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(wide(cell));
        }
    }
    let mut out = String::new();
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    for row in [head].into_iter().chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(&row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - wide(cell)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
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
        assert_eq!(table(&["SERVER", "OK", "WHY"], rows), text);
    }
}
