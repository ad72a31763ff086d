//! Heads of families, samples, escaping.

use crate::model::Kind;

/// The two formats that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics text format 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What must stand after the last family.
    #[must_use]
    pub fn trailer(self) -> &'static [u8] {
        match self {
            Format::Text => b"",
            Format::OpenMetrics => b"# EOF\n",
        }
    }
}

/// What stands before a family's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyHead<'a> {
    /// Full name, such as `pgexporter_pg_locks_count`.
    pub name: &'a str,
    /// Its type.
    pub kind: Kind,
    /// What it measures, with the unit.
    pub help: &'a str,
}

/// Writes `# HELP` and `# TYPE`.
///
/// In OpenMetrics a counter's family is named without `_total`, and one whose name lacks it is
/// typed `unknown`, because there a counter's sample must end with `_total` (OpenMetrics 1.0,
/// "Counter").
pub fn write_head(out: &mut Vec<u8>, head: FamilyHead<'_>, format: Format) {
    let (name, kind) = match (format, head.kind) {
        (Format::OpenMetrics, Kind::Counter) => match head.name.strip_suffix("_total") {
            Some(name) => (name, "counter"),
            None => (head.name, "unknown"),
        },
        (Format::OpenMetrics, Kind::Unknown) => (head.name, "unknown"),
        (_, kind) => (head.name, kind.as_str()),
    };
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    escape(out, head.help.as_bytes(), format == Format::OpenMetrics);
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// Writes one sample: begin, then labels, then the value. Lines are the same in both formats.
#[derive(Debug)]
pub struct SampleWriter<'a> {
    out: &'a mut Vec<u8>,
    labels: Labels,
}

/// What a line has of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labels {
    None,
    Some,
    /// All, and the space before the value.
    All,
}

/// Room for a number and the end of its line, in bytes. A longer one, of type `numeric`, takes more.
const NUMBER: usize = 32;

impl<'a> SampleWriter<'a> {
    /// Begins a line with the sample's name (a family's name, or with `_bucket`, `_sum`, `_count`).
    pub fn begin(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(name.as_bytes());
        let labels = Labels::None;
        Self { out, labels }
    }

    /// A line up to its value, of a name and labels by [`Self::without_value`].
    pub fn resume(out: &'a mut Vec<u8>, name: &str, labels: &[u8]) -> Self {
        out.reserve(name.len() + labels.len() + NUMBER);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(labels);
        let labels = Labels::All;
        Self { out, labels }
    }

    /// Adds a label. Bytes that are not UTF-8 become U+FFFD, one for each bad sequence.
    pub fn label(&mut self, name: &str, value: &[u8]) {
        self.separate();
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"=\"");
        escape(self.out, value, true);
        self.out.push(b'"');
    }

    /// Adds labels that were rendered before by [`render_label`], without braces.
    pub fn rendered(&mut self, labels: &[u8]) {
        if labels.is_empty() {
            return;
        }
        self.separate();
        self.out.extend_from_slice(labels);
    }

    fn separate(&mut self) {
        let first = self.labels == Labels::None;
        self.out.push(if first { b'{' } else { b',' });
        self.labels = Labels::Some;
    }

    /// Ends the line before its value. What was begun without a name goes with any name by
    /// [`Self::resume`].
    pub fn without_value(mut self) {
        self.close();
    }

    /// Ends the line with a floating-point value.
    pub fn float(mut self, value: f64) {
        self.close();
        write_float(self.out, value);
        self.out.push(b'\n');
    }

    /// Ends the line with an integer value, exact to the last digit.
    pub fn integer(mut self, value: i64) {
        self.close();
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.push(b'\n');
    }

    /// Ends the line with a number that is text already. The caller has checked that it is one.
    pub(crate) fn digits(mut self, value: &[u8]) {
        self.close();
        self.out.extend_from_slice(value);
        self.out.push(b'\n');
    }

    fn close(&mut self) {
        self.out.extend_from_slice(match self.labels {
            Labels::None => b" ",
            Labels::Some => b"} ",
            Labels::All => b"",
        });
    }
}

/// Renders one label without braces, for [`SampleWriter::rendered`]; a comma goes before it when
/// `out` holds some already.
pub fn render_label(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    escape(out, value, true);
    out.push(b'"');
}

/// Splits labels that were rendered, without their braces, each into `name="value"`.
#[must_use]
pub fn split_labels(labels: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = labels.split(|byte| {
        let end = *byte == b',' && !quoted;
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        end
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// A number as both formats write it: `NaN`, `+Inf`, `-Inf`, or the shortest digits that read back
/// as the same value.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        let size = value.abs();
        // Writing to a Vec cannot fail.
        let _ = if size != 0.0 && !(1e-5..1e17).contains(&size) {
            write!(out, "{value:e}")
        } else {
            write!(out, "{value}")
        };
    }
}

/// Backslash and line feed always, the quotation mark where one ends the value. Bytes that are not
/// UTF-8 become U+FFFD: both formats are UTF-8, and one bad name must not spoil a scrape. So does a
/// zero byte: Prometheus' lexer takes it for the end of its input.
fn escape(out: &mut Vec<u8>, text: &[u8], quotes: bool) {
    // Nearly all are plain. Looked at without a way out, so that many bytes are looked at at once.
    let plain = text.iter().fold(true, |plain, byte| {
        plain & byte.is_ascii() & !matches!(byte, b'\\' | b'\n' | b'"' | 0)
    });
    if plain {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        for (at, byte) in valid.iter().enumerate() {
            let with: &[u8] = match byte {
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'"' if quotes => b"\\\"",
                0 => "\u{FFFD}".as_bytes(),
                _ => continue,
            };
            out.extend_from_slice(&valid[from..at]);
            out.extend_from_slice(with);
            from = at + 1;
        }
        out.extend_from_slice(&valid[from..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(f: impl FnOnce(SampleWriter<'_>)) -> String {
        let mut out = Vec::new();
        f(SampleWriter::begin(&mut out, "m"));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_label_value_is_escaped_and_always_utf8() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain", "m{l=\"plain\"} 1\n"),
            (b"a\"b\\c\nd", "m{l=\"a\\\"b\\\\c\\nd\"} 1\n"),
            (b"\xff\xfe", "m{l=\"\u{FFFD}\u{FFFD}\"} 1\n"),
            ("größe".as_bytes(), "m{l=\"größe\"} 1\n"),
            (b"", "m{l=\"\"} 1\n"),
            (b"a\0b", "m{l=\"a\u{FFFD}b\"} 1\n"),
        ];
        for (value, expected) in cases {
            let text = line(|mut sample| {
                sample.label("l", value);
                sample.integer(1);
            });
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn rendered_labels_are_split_between_them_alone() {
        let mut labels = Vec::new();
        let all: [(&str, &[u8]); 3] = [("a", b"x,\"y=\\"), ("b", b""), ("c", b"\\\",z")];
        for (name, value) in all {
            render_label(&mut labels, name, value);
        }
        let parts: Vec<String> = split_labels(&labels)
            .into_iter()
            .map(|part| String::from_utf8(part.to_vec()).unwrap())
            .collect();
        assert_eq!(parts, [r#"a="x,\"y=\\""#, r#"b="""#, r#"c="\\\",z""#]);
        assert!(split_labels(b"").is_empty());
    }

    #[test]
    fn numbers_read_back_as_the_same_value() {
        for value in [
            0.0,
            -0.5,
            1.0,
            0.1,
            1e-9,
            1e300,
            123_456_789.25,
            f64::MAX,
            f64::MIN_POSITIVE,
        ] {
            let text = line(|sample| sample.float(value));
            let number = text.trim_start_matches("m ").trim();
            assert_eq!(
                number.parse::<f64>().unwrap().to_bits(),
                value.to_bits(),
                "{number}"
            );
        }
        assert_eq!(line(|sample| sample.float(f64::NAN)), "m NaN\n");
        assert_eq!(line(|sample| sample.float(f64::INFINITY)), "m +Inf\n");
        assert_eq!(line(|sample| sample.float(f64::NEG_INFINITY)), "m -Inf\n");
        assert_eq!(
            line(|sample| sample.integer(i64::MIN)),
            "m -9223372036854775808\n"
        );
    }

    #[test]
    fn an_open_metrics_counter_is_named_without_total_and_others_are_unknown() {
        let head = |name, format| {
            let mut out = Vec::new();
            write_head(
                &mut out,
                FamilyHead {
                    name,
                    kind: Kind::Counter,
                    help: "a \"b\"",
                },
                format,
            );
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            head("x_total", Format::Text),
            "# HELP x_total a \"b\"\n# TYPE x_total counter\n"
        );
        assert_eq!(
            head("x_total", Format::OpenMetrics),
            "# HELP x a \\\"b\\\"\n# TYPE x counter\n"
        );
        assert_eq!(
            head("x", Format::OpenMetrics),
            "# HELP x a \\\"b\\\"\n# TYPE x unknown\n"
        );
    }
}
