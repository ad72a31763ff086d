//! An answer as text and as JSON, as the C program prints it.

use serde_json::{Value, json};

use super::request::AdminAnswer;
use crate::management::document::JsonObject;
use crate::management::{AdminCommand, AdminVerb, Compression, Encryption};
use crate::text::{escaped, escaped_json};

/// The document, indented by two, keys sorted.
pub(super) fn as_json(answer: &AdminAnswer, command: &AdminCommand) -> String {
    let document = format!("{:#}\n", Value::Object(named(answer, command)));
    escaped_json(&document).into_owned()
}

/// The same as lines of `Key: value`.
pub(super) fn as_text(answer: &AdminAnswer, command: &AdminCommand) -> String {
    tree_of(&named(answer, command))
}

/// An object as lines of `Key: value`.
pub(super) fn tree_of(object: &JsonObject) -> String {
    let mut out = String::new();
    tree(&mut out, object, 0);
    out
}

/// With the header's numbers by name, where the C program does so.
pub(super) fn named(answer: &AdminAnswer, command: &AdminCommand) -> JsonObject {
    let mut document = answer.document.clone();
    let verb = command.verb();
    let by_name = match verb {
        AdminVerb::Ping | AdminVerb::Status | AdminVerb::StatusDetails | AdminVerb::ConfLs => true,
        // Numbers from 100 are ours.
        verb => verb.number() >= 100,
    };
    if by_name && let Some(Value::Object(header)) = document.get_mut("Header") {
        let byte = |header: &JsonObject, name: &str| {
            let number = header.get(name).and_then(Value::as_u64);
            number.and_then(|number| u8::try_from(number).ok())
        };
        let compression = byte(header, "Compression").and_then(Compression::of_byte);
        let encryption = byte(header, "Encryption").and_then(Encryption::of_byte);
        let output = match byte(header, "Output") {
            Some(1) => "json",
            Some(2) => "raw",
            _ => "text",
        };
        for (name, word) in [
            ("Command", Some(verb.name())),
            ("Compression", compression.map(Compression::name)),
            ("Encryption", encryption.map(Encryption::name)),
            ("Output", Some(output)),
        ] {
            header.insert(name.to_owned(), json!(word));
        }
    }
    document
}

fn tree(out: &mut String, object: &JsonObject, depth: usize) {
    for (at, (key, value)) in object.iter().enumerate() {
        // The first of a list's element stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str(&escaped(key));
        out.push(':');
        below(out, value, depth);
    }
}

fn below(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            out.push('\n');
            tree(out, object, depth + 1);
        }
        Value::Array(values) if !values.is_empty() => {
            out.push('\n');
            for value in values {
                indent(out, depth + 1);
                out.push_str("- ");
                match value {
                    Value::Object(object) if !object.is_empty() => tree(out, object, depth + 2),
                    value => {
                        out.push_str(&scalar(value));
                        out.push('\n');
                    }
                }
            }
        }
        value => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

/// A value in one line. What a server said may hold anything; a terminal must not obey it.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        value => value.to_string(),
    }
}

/// A text without anything that a terminal would obey.
pub(super) fn harmless(text: &str) -> String {
    escaped(text).into_owned()
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_tree_that_the_c_program_prints() {
        let document = json!({
            "Header": {"ClientVersion": "0.9.0", "Command": 3, "Compression": 0,
                "Encryption": 0, "Output": 0, "Timestamp": "20260102030405"},
            "Outcome": {"Status": true, "Time": "00:00:00"},
            "Request": {},
            "Response": {"NumberOfServers": 2, "ServerVersion": "0.9.0", "Servers": [
                {"Active": true, "Server": "primary"},
                {"Active": false, "Server": "rep\u{1b}lica"},
            ], "None": [], "Words": ["a", "b"]},
        });
        let Value::Object(document) = document else {
            panic!()
        };
        let answer = AdminAnswer {
            raw: Vec::new(),
            document,
        };
        let text = "\
Header:
  ClientVersion: 0.9.0
  Command: status
  Compression: none
  Encryption: none
  Output: text
  Timestamp: 20260102030405
Outcome:
  Status: true
  Time: 00:00:00
Request: {}
Response:
  None: []
  NumberOfServers: 2
  ServerVersion: 0.9.0
  Servers:
    - Active: true
      Server: primary
    - Active: false
      Server: rep\\u{1b}lica
  Words:
    - a
    - b
";
        assert_eq!(as_text(&answer, &AdminCommand::Status), text);
        assert!(as_json(&answer, &AdminCommand::ConfGet(None)).contains("\n    \"Command\": 3,\n"));
    }
}
