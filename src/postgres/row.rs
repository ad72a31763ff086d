//! One row as it came, without a copy.

use std::ops::Range;

use super::charset::Charset;
use super::error::QueryError;
use super::value::{self, Encoding, Number};

/// No result has more columns (PostgreSQL, "Limits").
const MOST_FIELDS: u16 = 1664;

/// Where the fields of a row stand; used again for the next row.
#[derive(Debug, Default)]
pub(super) struct FieldRanges(Vec<Option<Range<usize>>>);

/// The fields of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    body: &'a [u8],
    field_ranges: &'a [Option<Range<usize>>],
    encodings: &'a [Encoding],
    charset: Charset,
}

impl<'a> Fields<'a> {
    /// Reads a DataRow's body (PostgreSQL, "Message Formats"). `None` when it is not one. Fields
    /// past the `encodings` are text.
    pub(super) fn read(
        body: &'a [u8],
        field_ranges: &'a mut FieldRanges,
        encodings: &'a [Encoding],
    ) -> Option<Self> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        field_ranges.0.clear();
        let count = u16::from_be_bytes(*count);
        if count > MOST_FIELDS {
            return None;
        }
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            // -1 is NULL.
            let Ok(length) = usize::try_from(length) else {
                field_ranges.0.push(None);
                rest = after;
                continue;
            };
            let from = body.len() - after.len();
            rest = after.get(length..)?;
            field_ranges.0.push(Some(from..from + length));
        }
        Some(Self {
            body,
            field_ranges: &field_ranges.0,
            encodings,
            charset: Charset::Utf8,
        })
    }

    /// The same of a row whose text came as a database of that encoding holds it.
    pub(super) fn in_charset(self, charset: Charset) -> Self {
        Self { charset, ..self }
    }

    /// Text of a field as UTF-8; `scratch` holds what had to be written anew.
    pub(super) fn readable<'b>(&self, text: &'b [u8], scratch: &'b mut Vec<u8>) -> &'b [u8] {
        // A database's name comes as it was stored, in whichever encoding that was.
        if text.is_ascii() || self.charset == Charset::Utf8 && std::str::from_utf8(text).is_ok() {
            return text;
        }
        scratch.clear();
        self.charset.decode(text, scratch);
        scratch
    }

    /// How many bytes they take.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.field_ranges.len()
    }

    /// The bytes of a field; `None` for NULL, and for what is not there.
    pub(super) fn get(&self, at: usize) -> Option<&'a [u8]> {
        let place = self.field_ranges.get(at)?.clone()?;
        self.body.get(place)
    }

    /// How the field's bytes are to be read.
    pub(super) fn encoding(&self, at: usize) -> Encoding {
        self.encodings.get(at).copied().unwrap_or(Encoding::Text)
    }

    /// A field as text, with what is not UTF-8 escaped.
    pub(super) fn text(&self, at: usize) -> String {
        let mut scratch = Vec::new();
        let raw = self.readable(self.get(at).unwrap_or_default(), &mut scratch);
        String::from_utf8_lossy(raw).into_owned()
    }

    /// An integer of a row: binary from a session of our own, text from a pooler.
    pub(super) fn integer(&self, at: usize) -> i64 {
        let raw = self.get(at);
        match raw.map(|raw| value::number(self.encoding(at), raw)) {
            Some(Number::Integer(value)) => value,
            Some(Number::Digits(_)) => self.text(at).parse().unwrap_or(0),
            Some(Number::Float(_)) | None => 0,
        }
    }

    /// A float of a row, 0 for NULL.
    pub(super) fn float(&self, at: usize) -> f64 {
        self.get(at).map_or(0.0, |raw| {
            value::as_float(value::number(self.encoding(at), raw))
        })
    }
}

/// What comes back of a question.
pub(super) enum RowEvent<'a> {
    Row(Fields<'a>),
    /// What came so far counts no more: the question is put again.
    Restart,
    End(Result<(), QueryError>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_where_it_stands_and_a_torn_one_is_refused() {
        let mut body = vec![0, 3];
        body.extend(2_i32.to_be_bytes());
        body.extend(b"ab");
        body.extend((-1_i32).to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        let mut field_ranges = FieldRanges::default();
        let fields = Fields::read(&body, &mut field_ranges, &[]).unwrap();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields.get(0), Some(&b"ab"[..]));
        assert_eq!(fields.get(1), None);
        assert_eq!(fields.get(2), Some(&b""[..]));
        assert_eq!(fields.get(3), None);
        for end in 0..body.len() {
            assert!(
                Fields::read(&body[..end], &mut field_ranges, &[]).is_none(),
                "{end}"
            );
        }
    }

    #[test]
    fn a_number_is_the_same_from_text_and_from_bytes() {
        let eight = 170_002_i64.to_be_bytes();
        let float = 12.5_f64.to_be_bytes();
        let cases: [(&[u8], Encoding, i64, f64); 9] = [
            (b"170002", Encoding::Text, 170_002, 170_002.0),
            (&eight, Encoding::Int8, 170_002, 170_002.0),
            (b"-7", Encoding::Text, -7, -7.0),
            (b"t", Encoding::Text, 1, 1.0),
            (&[1], Encoding::Bool, 1, 1.0),
            (b"12.5", Encoding::Text, 0, 12.5),
            (&float, Encoding::Float8, 0, 12.5),
            (b"99999999999999999999", Encoding::Text, 0, 1e20),
            (b"", Encoding::Text, 0, 0.0),
        ];
        for (raw, encoding, integer, number) in cases {
            let mut body = vec![0, 1];
            body.extend(i32::try_from(raw.len()).unwrap().to_be_bytes());
            body.extend(raw);
            let mut field_ranges = FieldRanges::default();
            let encodings = [encoding];
            let fields = Fields::read(&body, &mut field_ranges, &encodings).unwrap();
            assert_eq!(fields.integer(0), integer, "{raw:?}");
            assert!((fields.float(0) - number).abs() < 1e-9, "{raw:?}");
            assert_eq!((fields.integer(1), fields.float(1) as i64), (0, 0), "none");
        }
    }
}
