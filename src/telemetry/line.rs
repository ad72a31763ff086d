//! How a line looks. Pure: content in, one line without its line-break out.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use serde_json::{Map, Value};

use super::settings::LineFormat;
use super::{LogFormat, LogLevel};
use crate::text::{self, escaped_json, push_escaped};

/// Longer texts are cut, in bytes: a line has to fit into a datagram, many into the queue.
const LONGEST_TEXT: usize = 8 * 1024;

/// What a line says.
pub(super) struct Content<'a> {
    pub(super) level: LogLevel,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) fields: &'a [(&'static str, Value)],
}

/// A line in both of its forms: `whole[at..]` is without the prefix, for syslog, which has its own.
pub(super) struct LogLine {
    whole: String,
    at: usize,
}

impl LogLine {
    pub(super) fn whole(&self) -> &str {
        &self.whole
    }

    pub(super) fn without_prefix(&self) -> &str {
        self.whole.get(self.at..).unwrap_or(&self.whole)
    }
}

/// The word for a level in a line.
pub(super) fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
        LogLevel::Fatal => "FATAL",
    }
}

pub(super) fn format(shape: &LineFormat, now: &ZonedDateTime, content: &Content<'_>) -> LogLine {
    match shape.format {
        LogFormat::Text => text_line(&shape.prefix, now, content),
        LogFormat::Json => json_line(now, content),
    }
}

/// Cuts a text that is too long, at a character.
pub(super) fn shorten(text: String) -> String {
    match text.len() > LONGEST_TEXT {
        true => text::cut(&text, LONGEST_TEXT).into_owned(),
        false => text,
    }
}

fn text_line(prefix: &str, now: &ZonedDateTime, content: &Content<'_>) -> LogLine {
    // The prefix was tried when it was set; a time it cannot say is not worth a lost line.
    let mut whole = String::with_capacity(128);
    push_escaped(
        &mut whole,
        &strtime::format(prefix, now).unwrap_or_default(),
    );
    if !whole.is_empty() {
        whole.push(' ');
    }
    let at = whole.len();
    whole.push_str(word(content.level));
    whole.push(' ');
    push_escaped(&mut whole, content.target);
    whole.push(':');
    let message = truncate(content.message);
    if !message.is_empty() {
        whole.push(' ');
        push_escaped(&mut whole, message);
    }
    if message.len() < content.message.len() {
        whole.push('…');
    }
    for (name, value) in content.fields {
        whole.push(' ');
        whole.push_str(name);
        whole.push('=');
        match value {
            Value::String(text) => push_value(&mut whole, text),
            other => {
                let _ = write!(whole, "{other}");
            }
        }
    }
    LogLine { whole, at }
}

fn json_line(now: &ZonedDateTime, content: &Content<'_>) -> LogLine {
    let mut fields = Map::new();
    for (name, value) in content.fields {
        fields.insert((*name).to_owned(), value.clone());
    }
    let quoted = |text: &str| Value::from(text).to_string();
    // Written by hand so that the keys stand in the order in which a person reads.
    let whole = format!(
        "{{\"timestamp\":\"{:.6}\",\"level\":\"{}\",\"target\":{},\"message\":{},\"fields\":{}}}",
        now.timestamp(),
        word(content.level),
        quoted(content.target),
        quoted(&shorten(content.message.to_owned())),
        Value::Object(fields),
    );
    // A person may look at it in a terminal all the same.
    let whole = match escaped_json(&whole) {
        Cow::Borrowed(_) => whole,
        Cow::Owned(safe) => safe,
    };
    LogLine { whole, at: 0 }
}

fn truncate(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TEXT))
        .unwrap_or(text)
}

/// Text in quotes when it would not be seen where it ends.
fn push_value(line: &mut String, value: &str) {
    let plain = !value.is_empty()
        && !value
            .chars()
            .any(|c| c.is_whitespace() || c == '"' || c == '=' || c == '\\');
    if plain {
        return push_escaped(line, value);
    }
    line.push('"');
    let mut rest = value;
    while let Some(at) = rest.find(['"', '\\']) {
        let (before, after) = rest.split_at(at);
        push_escaped(line, before);
        line.push('\\');
        let (special, after) = after.split_at(1);
        line.push_str(special);
        rest = after;
    }
    push_escaped(line, rest);
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shape(prefix: &str, format: LogFormat) -> LineFormat {
        LineFormat {
            prefix: prefix.to_owned(),
            format,
            rotation_age: Duration::ZERO,
            rotation_size: 0,
        }
    }

    fn at() -> ZonedDateTime {
        "2026-03-04T05:06:07.089+01:00[Europe/Copenhagen]"
            .parse()
            .unwrap()
    }

    fn formatted(shape: &LineFormat, message: &str, fields: &[(&'static str, Value)]) -> String {
        let content = Content {
            level: LogLevel::Warn,
            target: "pgexporter::scrape",
            message,
            fields,
        };
        format(shape, &at(), &content).whole
    }

    #[test]
    fn a_text_line_is_prefix_level_target_message_and_fields() {
        let shape = shape("%Y-%m-%d %H:%M:%S", LogFormat::Text);
        let fields = [("server", Value::from("primary")), ("rows", Value::from(3))];
        assert_eq!(
            formatted(&shape, "slow query", &fields),
            "2026-03-04 05:06:07 WARN pgexporter::scrape: slow query server=primary rows=3"
        );
    }

    #[test]
    fn a_line_without_a_prefix_begins_with_its_level() {
        let shape = shape("", LogFormat::Text);
        assert_eq!(formatted(&shape, "x", &[]), "WARN pgexporter::scrape: x");
    }

    #[test]
    fn syslog_gets_the_line_without_the_prefix() {
        let shape = shape("[%H]", LogFormat::Text);
        let content = Content {
            level: LogLevel::Info,
            target: "t",
            message: "m",
            fields: &[],
        };
        let line = format(&shape, &at(), &content);
        assert_eq!(line.whole(), "[05] INFO t: m");
        assert_eq!(line.without_prefix(), "INFO t: m");
    }

    #[test]
    fn nothing_in_a_message_or_a_field_can_begin_a_line_or_steer_a_terminal() {
        let shape = shape("", LogFormat::Text);
        let fields = [("error", Value::from("a\r\nFATAL x: \"b\" \\"))];
        assert_eq!(
            formatted(&shape, "one\ntwo\u{1b}[2J\u{85}\u{2028}\u{202e}é", &fields),
            "WARN pgexporter::scrape: one\\ntwo\\u{1b}[2J\\u{85}\\u{2028}\\u{202e}é \
             error=\"a\\r\\nFATAL x: \\\"b\\\" \\\\\""
        );
    }

    #[test]
    fn a_json_line_is_one_object_that_gives_back_what_went_in() {
        let shape = shape("ignored", LogFormat::Json);
        let line = formatted(
            &shape,
            "one\n\"two\"\u{9b}\u{202e}",
            &[("rows", Value::from(3))],
        );
        assert!(!line.contains(text::is_unsafe), "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            object,
            serde_json::json!({
                "timestamp": "2026-03-04T04:06:07.089000Z",
                "level": "WARN",
                "target": "pgexporter::scrape",
                "message": "one\n\"two\"\u{9b}\u{202e}",
                "fields": {"rows": 3},
            })
        );
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_at_a_character() {
        let long = "é".repeat(LONGEST_TEXT);
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = formatted(&shape("", format), &long, &[]);
            assert!(line.len() < LONGEST_TEXT + 200, "{} bytes", line.len());
            assert!(line.contains("é…"));
        }
    }
}
