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
    Text,
}

impl Encoding {
    /// `None`: the type is read as text, by a cast in the query.
    pub(super) fn of(type_: &Type) -> Option<Self> {
        Some(match *type_ {
            Type::BOOL => Encoding::Bool,
            Type::INT2 => Encoding::Int2,
            Type::INT4 => Encoding::Int4,
            Type::INT8 => Encoding::Int8,
            Type::OID | Type::XID | Type::CID => Encoding::Unsigned4,
            Type::FLOAT4 => Encoding::Float4,
            Type::FLOAT8 => Encoding::Float8,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::UNKNOWN => {
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
    /// A number in digits, which is written as it is.
    Digits(&'a [u8]),
}

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
/// `(disabled)` and nothing are 0; a number is itself; any other text is 1. A field that is shorter
/// than its type reads as NaN: the server would have broken its own protocol.
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
        (Encoding::Text, _) => of_text(raw),
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
    if is_decimal(raw) {
        Number::Digits(raw)
    } else {
        Number::Integer(1)
    }
}

/// Whether it is a number in digits that both formats, and `f64`, read. Its value is not needed:
/// to read it would take longer than all else that is done with it.
fn is_decimal(raw: &[u8]) -> bool {
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
        return any > 0 && !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    any > 0 && rest.is_empty()
}

/// A number as a float, to its nearest.
pub(super) fn as_float(number: Number<'_>) -> f64 {
    match number {
        #[allow(clippy::cast_precision_loss)]
        Number::Integer(value) => value as f64,
        Number::Float(value) => value,
        Number::Digits(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(f64::NAN),
    }
}

/// Writes a field as a label's value into `scratch` where its bytes are not text already.
pub(super) fn label<'a>(encoding: Encoding, raw: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if encoding == Encoding::Text {
        return raw;
    }
    scratch.clear();
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
        let cases: [(&[u8], Number<'_>); 12] = [
            (b"t", Number::Integer(1)),
            (b"on", Number::Integer(1)),
            (b"f", Number::Integer(0)),
            (b"off", Number::Integer(0)),
            (b"(disabled)", Number::Integer(0)),
            (b"", Number::Integer(0)),
            (b"-12.5e3", Number::Digits(b"-12.5e3")),
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
            proptest::prop_assert_eq!(is_decimal(text.as_bytes()), read);
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
