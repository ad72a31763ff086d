//! A value of the file, with its type: text to value, and value to the text that the file would
//! hold.

use std::fmt;
use std::time::Duration;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// What a key takes. [`ValueKind::allowed`] says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// An address to listen on: a host name, an address, or `*`.
    Listen,
    /// A server's address: a host name, an address, or the folder of a Unix socket.
    Host,
    /// A file or folder.
    Path,
    /// A port, 1 to 65535.
    Port,
    /// A port, or 0 for off.
    PortOrOff,
    /// A number within limits, both included.
    Number(u64, u64),
    /// A duration of at least the first and at most the second.
    Duration(Duration, Duration),
    /// A duration above zero, or `auto`.
    AutoOrDuration,
    /// An amount of bytes.
    Size,
    /// An amount of bytes within limits, both included.
    SizeWithin(u64, u64),
    /// On or off.
    Bool,
    /// One of some words; beside them other spellings, each with the word it stands for.
    Word(
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    ),
    /// Names, separated by commas.
    List,
    /// A `strftime` format.
    TimeFormat,
}

/// Durations longer than a hundred years are slips of the hand, and overflow clocks.
pub(super) const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);
/// PostgreSQL keeps its timeouts as milliseconds in 31 bits.
pub(super) const LONGEST_OF_POSTGRESQL: Duration = Duration::from_secs(24 * 86_400);

const A_DURATION: &str = "a number of seconds, or one with ms, s, m, h, d or w";
const DURATION_UNITS: [(&str, u64); 7] = [
    ("", 1_000),
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];
const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kb", 1 << 10),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("g", 1 << 30),
    ("gb", 1 << 30),
];

impl ValueKind {
    /// The kind's name in the documentation.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            ValueKind::Text => "text",
            ValueKind::Listen | ValueKind::Host => "address",
            ValueKind::Path => "path",
            ValueKind::Port | ValueKind::PortOrOff => "port",
            ValueKind::Number(..) => "number",
            ValueKind::Duration(..) | ValueKind::AutoOrDuration => "duration",
            ValueKind::Size | ValueKind::SizeWithin(..) => "size",
            ValueKind::Bool => "bool",
            ValueKind::Word(..) => "word",
            ValueKind::List => "list",
            ValueKind::TimeFormat => "format",
        }
    }

    /// What is allowed, in words that end an error message.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            ValueKind::Text => "text".to_owned(),
            ValueKind::Listen => "a host name, an IPv4 or IPv6 address, or `*` for all".to_owned(),
            ValueKind::Host => {
                "a host name, an IPv4 or IPv6 address, or the folder of a Unix socket \
                           (begins with `/`); the port has a key of its own"
                    .to_owned()
            }
            ValueKind::Path => "the path of a file or folder".to_owned(),
            ValueKind::Port => "1 to 65535".to_owned(),
            ValueKind::PortOrOff => "1 to 65535, or 0 for off".to_owned(),
            ValueKind::Number(low, high) => format!("{low} to {high}"),
            ValueKind::Duration(low, high) => match ValueKind::limits(*low, *high) {
                limits if limits.is_empty() => A_DURATION.to_owned(),
                limits => format!("{limits}, {A_DURATION}"),
            },
            ValueKind::AutoOrDuration => {
                "auto, or a number of seconds, or one with ms, s, m, h, d or w".to_owned()
            }
            ValueKind::Size => "a number of bytes, or one with k, M or G".to_owned(),
            ValueKind::SizeWithin(low, high) => format!(
                "{} to {}, a number of bytes, or one with k, M or G",
                Value::Size(*low),
                Value::Size(*high)
            ),
            ValueKind::Bool => "on, off, true, false, yes, no, 1, 0".to_owned(),
            ValueKind::Word(words, others) => {
                let others = others.iter().map(|(other, _)| *other);
                let all: Vec<_> = words.iter().copied().chain(others).collect();
                all.join(", ")
            }
            ValueKind::List => "names, separated by commas".to_owned(),
            ValueKind::TimeFormat => "a format of strftime, such as %Y-%m-%d %H:%M:%S".to_owned(),
        }
    }

    /// The limits of a duration in words; empty when there are none worth the words.
    pub(super) fn limits(low: Duration, high: Duration) -> String {
        let low = (!low.is_zero()).then(|| format!("at least {}", Value::Duration(low)));
        let high = (high != LONGEST).then(|| format!("at most {}", Value::Duration(high)));
        let limits: Vec<_> = low.into_iter().chain(high).collect();
        limits.join(", ")
    }

    /// Whether `key =` with nothing behind it means the same as no such line.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        matches!(
            self,
            ValueKind::Text
                | ValueKind::Path
                | ValueKind::List
                | ValueKind::Host
                | ValueKind::Listen
        ) || *self == ValueKind::TimeFormat
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Says what is allowed.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let value = match self {
            ValueKind::Text | ValueKind::Path => Some(Value::Text(text.to_owned())),
            ValueKind::Listen => is_host(text).then(|| Value::Text(text.to_owned())),
            ValueKind::Host => {
                (text.starts_with('/') || is_host(text)).then(|| Value::Text(text.to_owned()))
            }
            ValueKind::Port => parse_number(text, 1, 65_535),
            ValueKind::PortOrOff => parse_number(text, 0, 65_535),
            ValueKind::Number(low, high) => parse_number(text, *low, *high),
            ValueKind::Duration(low, high) => parse_duration(text)
                .filter(|duration| (low..=high).contains(&duration))
                .map(Value::Duration),
            ValueKind::AutoOrDuration if text.eq_ignore_ascii_case("auto") => {
                Some(Value::Word("auto"))
            }
            ValueKind::AutoOrDuration => parse_duration(text)
                .filter(|duration| *duration <= LONGEST)
                .map(Value::Duration),
            ValueKind::Size => parse_scaled(text, &SIZE_UNITS).map(Value::Size),
            ValueKind::SizeWithin(low, high) => parse_scaled(text, &SIZE_UNITS)
                .filter(|bytes| (low..=high).contains(&bytes))
                .map(Value::Size),
            ValueKind::Bool => parse_boolean(text).map(Value::Bool),
            ValueKind::Word(words, others) => parse_word(text, words, others).map(Value::Word),
            ValueKind::List => Some(Value::List(parse_list(text))),
            ValueKind::TimeFormat => is_time_format(text).then(|| Value::Text(text.to_owned())),
        };
        value.ok_or_else(|| ValueError {
            allowed: self.allowed(),
        })
    }
}

/// A value that its key does not take. The value is not repeated: it may be a password in the wrong
/// place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this value is not allowed; allowed: {allowed}")]
pub struct ValueError {
    allowed: String,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Unset,
    /// Text, also of paths and addresses.
    Text(String),
    /// A number or port.
    Number(u64),
    /// A duration.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// On or off.
    Bool(bool),
    /// One of the words of [`ValueKind::Word`].
    Word(&'static str),
    /// Names.
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// The text that stands for it in `pgexporter.conf`, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unset => Ok(()),
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => write!(f, "{number}"),
            Value::Duration(duration) if duration.is_zero() => f.write_str("0"),
            Value::Duration(duration) => {
                let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                write_scaled(f, milliseconds, &DURATION_UNITS[1..])
            }
            Value::Size(0) => f.write_str("0"),
            Value::Size(bytes) => write_scaled(
                f,
                *bytes,
                &[("", 1), ("k", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)],
            ),
            Value::Bool(true) => f.write_str("on"),
            Value::Bool(false) => f.write_str("off"),
            Value::Word(word) => f.write_str(word),
            Value::List(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// Writes an amount in the largest unit that divides it. The first unit is 1.
fn write_scaled(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = units
        .iter()
        .rev()
        .find(|(_, scale)| amount.is_multiple_of(*scale));
    let (unit, scale) = fits.copied().unwrap_or(("", 1));
    write!(f, "{}{unit}", amount / scale)
}

fn parse_number(text: &str, low: u64, high: u64) -> Option<Value> {
    // `u64::from_str` takes a leading `+`, which a port has not.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse::<u64>().ok())??;
    (low..=high)
        .contains(&number)
        .then_some(Value::Number(number))
}

fn parse_scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.to_ascii_lowercase();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

fn parse_duration(text: &str) -> Option<Duration> {
    parse_scaled(text, &DURATION_UNITS).map(Duration::from_millis)
}

fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn parse_word(
    text: &str,
    words: &[&'static str],
    others: &[(&'static str, &'static str)],
) -> Option<&'static str> {
    let word = words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied();
    word.or_else(|| {
        let other = others
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(text));
        other.map(|(_, word)| *word)
    })
}

fn parse_list(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Catches what people write by mistake: a URL, `host:port`, several hosts, brackets.
fn is_host(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || "/,[]@\"'".contains(c);
    !text.is_empty() && !text.contains(bad) && text.matches(':').count() != 1
}

fn is_time_format(text: &str) -> bool {
    let time = ZonedDateTime::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    strtime::format(text, &time).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: ValueKind = ValueKind::Duration(Duration::ZERO, LONGEST);

    fn show(kind: ValueKind, text: &str) -> String {
        kind.parse(text)
            .map_or_else(|_| "refused".to_owned(), |value| value.to_string())
    }

    #[test]
    fn durations_are_read_with_every_unit_and_shown_in_the_largest() {
        for (text, shown) in [
            ("10", "10s"),
            ("10s", "10s"),
            ("10S", "10s"),
            ("5m", "5m"),
            ("2h", "2h"),
            ("1d", "1d"),
            ("1w", "1w"),
            ("7d", "1w"),
            ("90m", "90m"),
            ("100ms", "100ms"),
            ("0", "0"),
            ("", "refused"),
            ("-1", "refused"),
            ("+1", "refused"),
            ("1.5s", "refused"),
            ("10 s", "refused"),
            ("s", "refused"),
            ("10x", "refused"),
            ("99999999w", "refused"),
            ("99999999999999999999", "refused"),
        ] {
            assert_eq!(show(ANY, text), shown, "{text}");
        }
        let bounded = ValueKind::Duration(Duration::from_millis(1), LONGEST_OF_POSTGRESQL);
        assert_eq!(show(bounded, "0"), "refused");
        assert_eq!(show(bounded, "25d"), "refused");
        assert_eq!(show(ValueKind::AutoOrDuration, "AUTO"), "auto");
        assert_eq!(show(ValueKind::AutoOrDuration, "0"), "0");
    }

    #[test]
    fn sizes_are_read_with_every_unit_and_shown_in_the_largest() {
        for (text, shown) in [
            ("10", "10"),
            ("10b", "10"),
            ("256k", "256k"),
            ("256KB", "256k"),
            ("10M", "10M"),
            ("10mb", "10M"),
            ("1G", "1G"),
            ("1024k", "1M"),
            ("0", "0"),
            ("", "refused"),
            ("-1", "refused"),
            ("1T", "refused"),
            ("20000000000G", "refused"),
        ] {
            assert_eq!(show(ValueKind::Size, text), shown, "{text}");
        }
    }

    #[test]
    fn booleans_ports_words_and_lists_are_read_and_the_rest_is_refused() {
        for (kind, text, shown) in [
            (ValueKind::Bool, "on", "on"),
            (ValueKind::Bool, "TRUE", "on"),
            (ValueKind::Bool, "yes", "on"),
            (ValueKind::Bool, "1", "on"),
            (ValueKind::Bool, "Off", "off"),
            (ValueKind::Bool, "false", "off"),
            (ValueKind::Bool, "no", "off"),
            (ValueKind::Bool, "0", "off"),
            (ValueKind::Bool, "2", "refused"),
            (ValueKind::Port, "1", "1"),
            (ValueKind::Port, "65535", "65535"),
            (ValueKind::Port, "0", "refused"),
            (ValueKind::Port, "65536", "refused"),
            (ValueKind::Port, "-1", "refused"),
            (ValueKind::Port, "+1", "refused"),
            (ValueKind::Port, "5432x", "refused"),
            (ValueKind::PortOrOff, "0", "0"),
            (
                ValueKind::Word(&["append", "create"], &[("a", "append")]),
                "A",
                "append",
            ),
            (
                ValueKind::Word(&["append", "create"], &[("a", "append")]),
                "b",
                "refused",
            ),
            (ValueKind::List, "a, b,,a , c,", "a, b, c"),
            (
                ValueKind::TimeFormat,
                "%Y-%m-%d %H:%M:%S",
                "%Y-%m-%d %H:%M:%S",
            ),
            (ValueKind::TimeFormat, "%!", "refused"),
        ] {
            assert_eq!(show(kind, text), shown, "{kind:?} {text}");
        }
    }

    #[test]
    fn an_address_is_a_name_an_address_or_a_folder_and_no_url() {
        for (text, good) in [
            ("localhost", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("fe80::1%eth0", true),
            ("/var/run/postgresql", true),
            ("db-1.example.com", true),
            ("localhost:5432", false),
            ("[::1]", false),
            ("a,b", false),
            ("a b", false),
            ("postgres://me:secret@db/x", false),
        ] {
            assert_eq!(ValueKind::Host.parse(text).is_ok(), good, "{text}");
        }
        let refused = ValueKind::Host
            .parse("postgres://me:secret@db/x")
            .unwrap_err()
            .to_string();
        assert!(!refused.contains("secret"), "{refused}");
        assert!(ValueKind::Listen.parse("*").is_ok());
        assert!(ValueKind::Listen.parse("/tmp").is_err());
    }

    #[test]
    fn a_refused_value_is_not_repeated_but_told_with_what_is_allowed() {
        assert_eq!(
            ValueKind::Port.parse("five").unwrap_err().to_string(),
            "this value is not allowed; allowed: 1 to 65535"
        );
        for kind in [
            ValueKind::Port,
            ValueKind::PortOrOff,
            ValueKind::Number(1, 2),
            ANY,
            ValueKind::AutoOrDuration,
            ValueKind::Size,
            ValueKind::Bool,
            ValueKind::Word(&["a"], &[]),
        ] {
            let error = kind.parse("hunter2").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
