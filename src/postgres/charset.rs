//! Text as a database holds it, for where the server cannot turn it into UTF-8 itself: one byte
//! that has no character there would cost the whole answer.

use encoding_rs::{DecoderResult, Encoding};

/// The encoding of a database (PostgreSQL, "Character Set Support").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-8, or bytes of any kind that are UTF-8 where they can be read.
    #[default]
    Utf8,
    /// None: the database takes any bytes, and the server turns nothing into anything.
    Any,
    /// One that can be read here.
    Known(&'static Encoding),
    /// One that cannot: what is not ASCII is escaped.
    Other,
}

impl Charset {
    /// The one that the server calls so (`server_encoding`).
    pub(super) fn from_name(name: Option<&str>) -> Self {
        use encoding_rs as rs;
        let Some(name) = name else {
            return Self::Utf8;
        };
        Self::Known(match name {
            "UTF8" | "UNICODE" => return Self::Utf8,
            "SQL_ASCII" => return Self::Any,
            "LATIN1" | "WIN1252" => rs::WINDOWS_1252,
            "LATIN2" => rs::ISO_8859_2,
            "LATIN3" => rs::ISO_8859_3,
            "LATIN4" => rs::ISO_8859_4,
            "LATIN5" | "WIN1254" => rs::WINDOWS_1254,
            "LATIN6" => rs::ISO_8859_10,
            "LATIN7" => rs::ISO_8859_13,
            "LATIN8" => rs::ISO_8859_14,
            "LATIN9" => rs::ISO_8859_15,
            "LATIN10" => rs::ISO_8859_16,
            "ISO_8859_5" => rs::ISO_8859_5,
            "ISO_8859_6" => rs::ISO_8859_6,
            "ISO_8859_7" => rs::ISO_8859_7,
            "ISO_8859_8" => rs::ISO_8859_8,
            "WIN866" => rs::IBM866,
            "WIN874" => rs::WINDOWS_874,
            "WIN1250" => rs::WINDOWS_1250,
            "WIN1251" => rs::WINDOWS_1251,
            "WIN1253" => rs::WINDOWS_1253,
            "WIN1255" => rs::WINDOWS_1255,
            "WIN1256" => rs::WINDOWS_1256,
            "WIN1257" => rs::WINDOWS_1257,
            "WIN1258" => rs::WINDOWS_1258,
            "KOI8R" => rs::KOI8_R,
            "KOI8U" => rs::KOI8_U,
            "EUC_JP" => rs::EUC_JP,
            "EUC_KR" => rs::EUC_KR,
            "EUC_CN" => rs::GBK,
            _ => return Self::Other,
        })
    }

    /// Writes bytes of that encoding as UTF-8. What has no character there becomes `\` and three
    /// octal digits, as PostgreSQL's `encode(…, 'escape')` has it: two names that differ stay two.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Utf8 | Self::Any => {
                for chunk in bytes.utf8_chunks() {
                    out.extend_from_slice(chunk.valid().as_bytes());
                    escape(chunk.invalid(), out);
                }
            }
            Self::Known(encoding) => read(encoding, bytes, out),
            Self::Other => {
                for byte in bytes {
                    match byte.is_ascii() {
                        true => out.push(*byte),
                        false => escape(&[*byte], out),
                    }
                }
            }
        }
    }
}

fn read(encoding: &'static Encoding, mut bytes: &[u8], out: &mut Vec<u8>) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut buffer = [0; 256];
    loop {
        let (result, taken, written) =
            decoder.decode_to_utf8_without_replacement(bytes, &mut buffer, true);
        for c in String::from_utf8_lossy(&buffer[..written]).chars() {
            match u8::try_from(c) {
                // The tables of the web give bytes without a character one that is not shown.
                Ok(control @ 0x80..=0x9f) => escape(&[control], out),
                _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        let done = taken;
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, after) => {
                let end = done.saturating_sub(usize::from(after));
                let bad = bytes.get(end.saturating_sub(usize::from(length))..end);
                escape(bad.unwrap_or_default(), out);
            }
        }
        bytes = bytes.get(done..).unwrap_or_default();
    }
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(b'\\');
        for shift in [6, 3, 0] {
            out.push(b'0' + ((byte >> shift) & 7));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(charset: Option<&str>, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Charset::from_name(charset).decode(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_read_where_it_can_be_and_escaped_where_not() {
        let cases: [(&str, &[u8], &str); 12] = [
            ("SQL_ASCII", b"a\xff\xfeb", "a\\377\\376b"),
            ("SQL_ASCII", "größe".as_bytes(), "größe"),
            ("WIN1252", b"gr\xf6\xdfe \x80", "größe €"),
            (
                "WIN1252",
                b"odd \x81\x8d\x8f\x90\x9d.",
                "odd \\201\\215\\217\\220\\235.",
            ),
            ("WIN1251", b"\xcf\xf0 \x98", "Пр \\230"),
            ("LATIN1", b"gr\xf6\xdfe", "größe"),
            ("KOI8R", b"\xf0", "П"),
            ("EUC_JP", b"\xa4\xa2 ok", "あ ok"),
            ("EUC_JP", b"a\xffb\xa4", "a\\377b\\244"),
            ("EUC_JP", b"\xa4a", "\\244a"),
            ("JOHAB", b"a\x88\x61", "a\\210a"),
            ("UTF8", b"a\xc3", "a\\303"),
        ];
        for (charset, bytes, expected) in cases {
            assert_eq!(decoded(Some(charset), bytes), expected, "{charset}");
        }
        let long = [b'a'; 255].iter().chain(b"\xf6\x81\xf6").copied();
        let long: Vec<u8> = long.cycle().take(2_000).collect();
        assert_eq!(
            decoded(Some("WIN1252"), &long).matches("aö\\201ö").count(),
            7
        );
    }
}
