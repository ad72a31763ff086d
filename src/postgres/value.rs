//! One field of a row: what the server sent, and the number or label it stands for.

use tokio_postgres::types::Type;

use crate::exposition::{SampleWriter, write_float};

/// How a field's bytes are read: PostgreSQL's binary formats, or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Bool,
    Int2,
    Int4,
    Int8,
    /// `oid`, `xid`, `cid`: unsigned.
    Unsigned4,
    Float4,
    Float8,
    /// `"char"`: one byte of any value.
    Char,
    Text,
}

impl Encoding {
    /// `None`: the type is read as text, by a cast in the query.
    pub(super) fn from_type(type_: &Type) -> Option<Self> {
        Some(match *type_ {
            Type::BOOL => Encoding::Bool,
            Type::INT2 => Encoding::Int2,
            Type::INT4 => Encoding::Int4,
            Type::INT8 => Encoding::Int8,
            Type::OID | Type::XID | Type::CID => Encoding::Unsigned4,
            Type::FLOAT4 => Encoding::Float4,
            Type::FLOAT8 => Encoding::Float8,
            Type::CHAR => Encoding::Char,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                Encoding::Text
            }
            _ => return None,
        })
    }
}

/// A number, or text that the format's rules turn into one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number<'a> {
    Integer(i64),
    Float(f64),
    /// A number in digits, at most [`MOST_DIGITS`] bytes, which is written as it is.
    Digits(&'a [u8]),
}

/// The longest number that is written as the server sent it, in bytes. Go's `strconv.ParseFloat`,
/// with which Prometheus reads a value, fails on what is larger than a float64 (`ErrRange`), and
/// Prometheus then refuses the whole scrape. A number of this length without an exponent is never
/// as large, and `numeric` has up to 131,072 digits before the point.
const MOST_DIGITS: usize = 64;

impl Number<'_> {
    pub(super) fn write(self, sample: SampleWriter<'_>) {
        match self {
            Number::Integer(value) => sample.integer(value),
            Number::Float(value) => sample.float(value),
            Number::Digits(text) => sample.digits(text),
        }
    }
}

/// Reads a measure.
///
/// Text follows the rules of the custom-metrics format: `t` and `on` are 1; `f`, `off`,
/// `(disabled)` and nothing are 0; a number is itself, or infinite where it is larger than a float64
/// can be; any other text is 1. A field that is shorter than its type reads as NaN: the server would
/// have broken its own protocol.
pub(super) fn number(encoding: Encoding, raw: &[u8]) -> Number<'_> {
    match (encoding, raw.len()) {
        (Encoding::Bool, 1) => Number::Integer(i64::from(raw[0] != 0)),
        (Encoding::Int2, 2) => Number::Integer(i64::from(i16::from_be_bytes([raw[0], raw[1]]))),
        (Encoding::Int4, 4) => Number::Integer(i64::from(i32::from_be_bytes(four(raw)))),
        (Encoding::Unsigned4, 4) => Number::Integer(i64::from(u32::from_be_bytes(four(raw)))),
        (Encoding::Int8, 8) => Number::Integer(i64::from_be_bytes(eight(raw))),
        (Encoding::Float4, 4) => {
            // Through its shortest digits: 0.1 as float4 is 0.1, not 0.10000000149011612.
            let value = f32::from_be_bytes(four(raw));
            Number::Float(value.to_string().parse().unwrap_or(f64::from(value)))
        }
        (Encoding::Float8, 8) => Number::Float(f64::from_be_bytes(eight(raw))),
        (Encoding::Char, 1) if raw[0] == 0 => of_text(&[]),
        (Encoding::Char | Encoding::Text, _) => of_text(raw),
        _ => Number::Float(f64::NAN),
    }
}

fn of_text(raw: &[u8]) -> Number<'_> {
    match raw {
        b"t" | b"on" => return Number::Integer(1),
        b"" | b"f" | b"off" | b"(disabled)" => return Number::Integer(0),
        b"NaN" => return Number::Float(f64::NAN),
        b"Infinity" => return Number::Float(f64::INFINITY),
        b"-Infinity" => return Number::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match decimal(raw) {
        None => Number::Integer(1),
        Some(Form::Plain) if raw.len() <= MOST_DIGITS => Number::Digits(raw),
        Some(_) => Number::Float(parsed(raw)),
    }
}

/// How a number in digits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// With an exponent.
    Scientific,
}

/// Whether it is a number in digits that both formats, and `f64`, read. Its value is seldom needed:
/// to read it would take longer than all else that is done with it.
fn decimal(raw: &[u8]) -> Option<Form> {
    let sign = |text: &[u8]| usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let raw = &raw[sign(raw)..];
    let whole = digits(raw);
    let (mut any, mut rest) = (whole, &raw[whole..]);
    if let [b'.', fraction @ ..] = rest {
        let count = digits(fraction);
        (any, rest) = (any + count, &fraction[count..]);
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = &exponent[sign(exponent)..];
        let whole = any > 0 && !exponent.is_empty() && digits(exponent) == exponent.len();
        return whole.then_some(Form::Scientific);
    }
    (any > 0 && rest.is_empty()).then_some(Form::Plain)
}

/// The nearest float64; infinite when there is none so large.
fn parsed(text: &[u8]) -> f64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(f64::NAN)
}

/// A number as a float, to its nearest.
pub(super) fn as_float(number: Number<'_>) -> f64 {
    match number {
        #[allow(clippy::cast_precision_loss)]
        Number::Integer(value) => value as f64,
        Number::Float(value) => value,
        Number::Digits(text) => parsed(text),
    }
}

/// Writes a field as a label's value into `scratch` where its bytes are not text already.
pub(super) fn label<'a>(encoding: Encoding, raw: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if encoding == Encoding::Text {
        return raw;
    }
    scratch.clear();
    if encoding == Encoding::Char {
        // As `charout` of PostgreSQL 16 writes it: nothing for a zero, which no text may hold, and
        // an octal escape for what is not ASCII.
        match raw {
            [0] => {}
            [byte] if !byte.is_ascii() => {
                let digit = |shift: u8| b'0' + ((byte >> shift) & 7);
                scratch.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
            }
            _ => scratch.extend_from_slice(raw),
        }
        return scratch;
    }
    match (encoding, number(encoding, raw)) {
        (Encoding::Bool, Number::Integer(value)) => {
            scratch.push(if value == 0 { b'f' } else { b't' });
        }
        (_, Number::Integer(value)) => {
            scratch.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
        (_, Number::Float(value)) => write_float(scratch, value),
        (_, Number::Digits(text)) => scratch.extend_from_slice(text),
    }
    scratch
}

/// The first `limit` characters.
pub(super) fn cut(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    // Bytes that begin a character; those that go on in one are 0b10xxxxxx.
    text.iter()
        .enumerate()
        .filter(|(_, byte)| **byte & 0b1100_0000 != 0b1000_0000)
        .nth(limit)
        .map_or(text, |(at, _)| &text[..at])
}

/// A label's value that is longer than `limit` bytes, as it is shown instead: its beginning, and a
/// mark that tells it from others that begin so.
pub(super) fn shortened(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    use sha2::{Digest as _, Sha256};
    if text.len() <= limit {
        return None;
    }
    let hash = Sha256::digest(text);
    let hash: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mark = format!("~{hash}…");
    // At the beginning of a character.
    let mut end = limit.saturating_sub(mark.len());
    while end > 0 && text[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    Some([&text[..end], mark.as_bytes()].concat())
}

fn four(raw: &[u8]) -> [u8; 4] {
    [raw[0], raw[1], raw[2], raw[3]]
}

fn eight(raw: &[u8]) -> [u8; 8] {
    [
        raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_a_number_by_the_rules_of_the_format() {
        let cases: [(&[u8], Number<'_>); 15] = [
            (b"t", Number::Integer(1)),
            (b"on", Number::Integer(1)),
            (b"f", Number::Integer(0)),
            (b"off", Number::Integer(0)),
            (b"(disabled)", Number::Integer(0)),
            (b"", Number::Integer(0)),
            (b"-12.5", Number::Digits(b"-12.5")),
            (b"-12.5e3", Number::Float(-12_500.0)),
            (b"1e400", Number::Float(f64::INFINITY)),
            (b"-1e+400", Number::Float(f64::NEG_INFINITY)),
            (
                b"18446744073709551616",
                Number::Digits(b"18446744073709551616"),
            ),
            (b"Infinity", Number::Float(f64::INFINITY)),
            (b"2026-01-01 00:00:00", Number::Integer(1)),
            (b"e", Number::Integer(1)),
            (b"some words", Number::Integer(1)),
        ];
        for (text, expected) in cases {
            assert_eq!(
                number(Encoding::Text, text),
                expected,
                "{}",
                text.escape_ascii()
            );
        }
        assert!(matches!(number(Encoding::Text, b"NaN"), Number::Float(v) if v.is_nan()));
    }

    proptest::proptest! {
        #[test]
        fn digits_are_a_number_where_a_float_can_be_read(text in "[0-9+.eE-]{0,9}") {
            let read = text.parse::<f64>().is_ok();
            proptest::prop_assert_eq!(decimal(text.as_bytes()).is_some(), read);
        }

        #[test]
        fn what_is_written_of_any_text_is_what_go_reads(
            text in r"[+-]?[0-9]{0,3}(0{0,400}|[0-9]{0,400})(\.[0-9]{0,400})?([eE][+-]?[0-9]{1,6})?|[-+a-zA-Z0-9_.xX]{0,12}"
        ) {
            let mut line = Vec::new();
            number(Encoding::Text, text.as_bytes()).write(SampleWriter::begin(&mut line, "m"));
            let line = String::from_utf8(line).unwrap();
            let value = line.strip_prefix("m ").and_then(|rest| rest.strip_suffix('\n')).unwrap();
            proptest::prop_assert!(go_reads(value), "{} of {}", value, text);
            // And it is the value that the text has.
            if let Ok(expected) = text.parse::<f64>()
                && decimal(text.as_bytes()).is_some()
            {
                proptest::prop_assert_eq!(value.replace("Inf", "inf").parse::<f64>().unwrap(), expected);
            }
        }

        #[test]
        fn what_is_written_of_any_float_is_what_go_reads(bits: u64, four: u32) {
            for (encoding, raw) in [
                (Encoding::Float8, bits.to_be_bytes().to_vec()),
                (Encoding::Float4, four.to_be_bytes().to_vec()),
            ] {
                let mut line = Vec::new();
                number(encoding, &raw).write(SampleWriter::begin(&mut line, "m"));
                let line = String::from_utf8(line).unwrap();
                proptest::prop_assert!(go_reads(line.trim_start_matches("m ").trim_end()), "{}", line);
            }
        }
    }

    /// A model of Go's `strconv.ParseFloat(text, 64)` as Prometheus calls it, which takes neither
    /// `_` nor hexadecimal numbers: whether it returns no error.
    fn go_reads(text: &str) -> bool {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let lower = unsigned.to_ascii_lowercase();
        if matches!(lower.as_str(), "inf" | "infinity") {
            return true;
        }
        if lower == "nan" {
            return unsigned.len() == text.len();
        }
        let (mantissa, exponent) = lower
            .split_once('e')
            .map_or((lower.as_str(), None), |(m, e)| (m, Some(e)));
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let dots = mantissa.bytes().filter(|byte| *byte == b'.').count();
        let exponent = exponent.is_none_or(|exponent| {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        digits > 0
            && dots <= 1
            && digits + dots == mantissa.len()
            && exponent
            // What rounds to infinity is ErrRange; what rounds to 0 is 0.
            && lower.parse::<f64>().is_ok_and(f64::is_finite)
    }

    #[test]
    fn a_number_too_large_for_a_float_is_infinite() {
        let large = "9".repeat(401);
        for (text, expected) in [
            (large.clone(), "m +Inf\n"),
            (format!("-{large}"), "m -Inf\n"),
            (format!("{}.5", "0".repeat(400)), "m 0.5\n"),
            (format!("0.{}1", "0".repeat(400)), "m 0\n"),
            ("1e999999999".to_owned(), "m +Inf\n"),
            ("0e999999999".to_owned(), "m 0\n"),
            ("4.9e-324".to_owned(), "m 5e-324\n"),
            ("-0".to_owned(), "m -0\n"),
        ] {
            let mut line = Vec::new();
            number(Encoding::Text, text.as_bytes()).write(SampleWriter::begin(&mut line, "m"));
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn binary_fields_become_numbers_and_labels() {
        let mut scratch = Vec::new();
        assert_eq!(
            number(Encoding::Int8, &(-5_i64).to_be_bytes()),
            Number::Integer(-5)
        );
        assert_eq!(
            number(Encoding::Float4, &0.1_f32.to_be_bytes()),
            Number::Float(0.1)
        );
        assert_eq!(
            number(Encoding::Unsigned4, &u32::MAX.to_be_bytes()),
            Number::Integer(4_294_967_295)
        );
        assert_eq!(label(Encoding::Bool, &[1], &mut scratch), b"t");
        assert_eq!(
            label(Encoding::Int4, &7_i32.to_be_bytes(), &mut scratch),
            b"7"
        );
        assert_eq!(label(Encoding::Text, b"x", &mut scratch), b"x");
        for (byte, text) in [(b'x', "x"), (0, ""), (0xe9, "\\351")] {
            assert_eq!(
                label(Encoding::Char, &[byte], &mut scratch),
                text.as_bytes()
            );
        }
        assert_eq!(number(Encoding::Char, &[0]), Number::Integer(0));
        assert_eq!(number(Encoding::Char, b"7"), Number::Digits(b"7"));
    }

    #[test]
    fn a_long_label_is_cut_with_a_mark_and_others_that_begin_so_stay_others() {
        let long = "ö".repeat(600);
        let other = format!("{}x", "ö".repeat(600));
        for limit in 64..80 {
            let short = |text: &str| {
                let short = shortened(text.as_bytes(), limit).unwrap();
                String::from_utf8(short).unwrap()
            };
            let (one, two) = (short(&long), short(&other));
            assert!(one.len() <= limit && one.len() > limit - 3, "{one}");
            assert!(one.starts_with("öööö") && one.ends_with('…'), "{one}");
            assert_ne!(one, two);
        }
        assert_eq!(shortened(long.as_bytes(), 1200), None);
        // Continuation bytes alone, in a database without an encoding.
        assert_eq!(shortened(&[0x80; 1000], 64).unwrap()[0], b'~');
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("größe".as_bytes(), 3), "grö".as_bytes());
        assert_eq!(cut(b"abc", 3), b"abc");
        assert_eq!(cut(b"abcd", 0), b"");
    }
}
