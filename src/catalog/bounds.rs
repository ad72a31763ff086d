//! Bounds of a text of metrics, checked before and while it is read: whoever may write a ConfigMap
//! must not be able to keep the exporter busy.
//!
//! The reader of YAML looks at every open bracket for each word, so that its time grows with the
//! square of the depth: the depth of brackets is found by a scan of one's own before. Aliases can
//! make a short text stand for billions of values: the values are counted, with nothing built, each
//! time an alias is followed.

use std::cell::Cell;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The longest text, in bytes.
pub(super) const BYTES: usize = 256 * 1024;
/// The most brackets that may be open at once, and the deepest that values may lie in each other.
const DEPTH: usize = 32;
/// The most values of a text, aliases followed.
const VALUES: usize = 100_000;
/// The longest scan of brackets: so many times the text.
const SCANS: usize = 16;

/// Checks a text of YAML.
///
/// # Errors
/// Which bound it exceeds. Quotes nothing of the text.
pub(super) fn check_yaml(text: &str) -> Result<(), String> {
    check_length(text)?;
    check_brackets(text)?;
    let left = Cell::new(VALUES);
    let values = Values {
        left: &left,
        depth: 0,
    };
    match values.deserialize(serde_yaml::Deserializer::from_str(text)) {
        Err(_) if left.get() == 0 => Err(format!(
            "holds more than {VALUES} values, counted with what aliases stand for; split it up"
        )),
        Err(error) if error.to_string().contains(TOO_DEEP) => Err(deep()),
        // What else is wrong with it is told by whoever reads it.
        _ => Ok(()),
    }
}

/// Checks a text of JSON, whose reader has bounds of its own for the rest.
///
/// # Errors
/// It is too long.
pub(super) fn check_length(text: &str) -> Result<(), String> {
    if text.len() > BYTES {
        return Err(format!(
            "has {} bytes, and may have {BYTES}; split it up",
            text.len()
        ));
    }
    Ok(())
}

fn deep() -> String {
    format!("{TOO_DEEP}; a file of metrics needs 8 levels")
}

const TOO_DEEP: &str = "values lie more than 32 levels deep in each other";

/// Finds out how deep brackets of the flow style lie in each other.
///
/// Where a bracket opens such a style is only known to who has read everything before it. So each
/// that may do so, since it stands at the beginning or after white space, is tried, from there to
/// where it is closed. What is SQL and no YAML is closed soon.
fn check_brackets(text: &str) -> Result<(), String> {
    // All that YAML 1.1 ends a line with.
    let text = text.replace(['\u{85}', '\u{2028}', '\u{2029}'], "\n");
    let bytes = text.as_bytes();
    let mut steps = bytes.len().saturating_mul(SCANS);
    for (at, byte) in bytes.iter().enumerate() {
        let begins = at == 0 || !bytes[at - 1].is_ascii_graphic();
        if !begins || !matches!(byte, b'[' | b'{') {
            continue;
        }
        let (deepest, read) = Flow::new(&bytes[at..]).scan();
        if deepest > DEPTH {
            return Err(deep());
        }
        steps = steps.checked_sub(read).ok_or_else(|| {
            "holds too many brackets that are not closed; close or quote them".to_owned()
        })?;
    }
    Ok(())
}

/// The flow style of YAML 1.1 as libyaml reads it, for its brackets alone.
struct Flow<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Flow<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn is_blank(&self, ahead: usize) -> bool {
        self.byte(ahead)
            .is_none_or(|byte| byte.is_ascii_whitespace())
    }

    /// The deepest level, and how many bytes were looked at until the first bracket is closed.
    fn scan(mut self) -> (usize, usize) {
        let (mut depth, mut deepest) = (0_usize, 0_usize);
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' => self.skip_double_quoted(),
                b'\'' => self.skip_single_quoted(),
                b'#' => self.skip_comment(),
                b',' | b'?' | b':' => {}
                byte if byte.is_ascii_whitespace() => {}
                b'&' | b'*' => self.skip_anchor(),
                b'!' => self.skip_tag(),
                // Nothing can begin with these here: the reader gives up.
                b'|' | b'>' | b'%' | b'@' | b'`' => break,
                _ => self.skip_plain(),
            }
            if depth == 0 || deepest > DEPTH {
                break;
            }
        }
        (deepest, self.at)
    }

    fn skip_double_quoted(&mut self) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }

    fn skip_single_quoted(&mut self) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match (byte, self.byte(0)) {
                (b'\'', Some(b'\'')) => self.at += 1,
                (b'\'', _) => return,
                _ => {}
            }
        }
    }

    fn skip_comment(&mut self) {
        while !matches!(self.byte(0), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_anchor(&mut self) {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        while self.byte(0).is_some_and(named) {
            self.at += 1;
        }
    }

    /// Closing brackets may stand in a tag, and close nothing.
    fn skip_tag(&mut self) {
        while !self.is_blank(0) && !matches!(self.byte(0), Some(b',' | b'[' | b'{')) {
            self.at += 1;
        }
    }

    /// A scalar without quotes, which goes on over blanks and lines.
    fn skip_plain(&mut self) {
        while let Some(byte) = self.byte(0) {
            let ends = match byte {
                b',' | b'[' | b']' | b'{' | b'}' => true,
                b':' => self.is_blank(1),
                b'#' => self.bytes[self.at - 1].is_ascii_whitespace(),
                _ => false,
            };
            if ends {
                return;
            }
            self.at += 1;
        }
    }
}

/// Counts values down, and builds nothing.
struct Values<'a> {
    left: &'a Cell<usize>,
    depth: usize,
}

impl Values<'_> {
    fn inner(&self) -> Self {
        Values {
            left: self.left,
            depth: self.depth + 1,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) if left > 0 => self.left.set(left),
            _ => {
                self.left.set(0);
                return Err(D::Error::custom("too many values"));
            }
        }
        if self.depth > DEPTH {
            return Err(D::Error::custom(TOO_DEEP));
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_key_seed(self.inner())?.is_some() {
            all.next_value_seed(self.inner())?;
        }
        Ok(())
    }

    /// A value with a tag.
    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, one: A) -> Result<(), A::Error> {
        use serde::de::VariantAccess as _;
        let inner = self.inner();
        let (_, value) = one.variant_seed(self.inner())?;
        value.newtype_variant_seed(inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A text that makes no trouble, so that the test does not hang where a bound is missing.
    fn refused(text: &str, words: &str) {
        let begin = Instant::now();
        let said = check_yaml(text).unwrap_err();
        let start: String = text.chars().take(60).collect();
        assert!(said.contains(words), "{start}: {said}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(20), "{start}: {took:?}");
    }

    #[test]
    fn brackets_in_brackets_are_refused_however_they_are_hidden() {
        let many = 10_000;
        refused(&"[".repeat(many), "levels deep");
        refused(&"{".repeat(many), "levels deep");
        refused(&"metrics: [ ".repeat(many), "levels deep");
        refused(
            &format!("metrics:\n  - {}", "[\n".repeat(many)),
            "levels deep",
        );
        // Closing brackets that close nothing: quoted, in a comment, in a tag, in a plain scalar
        // with a quote in it.
        for item in [
            "[\"]\",",
            "[']',",
            "[''']''',",
            "[\"\\\"]\",",
            "[ # ]\n",
            "[ !<]> a,",
            "[ !] a,",
            "[a\": ']',",
            "[\"a\":\"]\",",
            "{? \"]\": ",
            "[a #]\n,",
            "['\n- tag: x\n]',",
        ] {
            let text = format!("metrics:\n  x: {}", item.repeat(2_000));
            refused(&text, "levels deep");
        }
        // What is quoted before the style begins changes nothing.
        let text = format!("a: |\n   [\"\nb: '\nc: {}", "[\"]\",".repeat(2_000));
        refused(&text, "levels deep");
        // Other ends of lines.
        for item in ["[a:\u{85}\"]\",", "[a\u{2028}#]\n,", "[#\u{2029}[#]\n"] {
            refused(&format!("x: {}", item.repeat(2_000)), "levels deep");
        }
    }

    #[test]
    fn values_in_values_are_refused_without_brackets_as_well() {
        refused(&"- ".repeat(200), "levels deep");
        let steps: String = (0..60)
            .map(|at| format!("{}a:\n", " ".repeat(at)))
            .collect();
        refused(&steps, "levels deep");
    }

    #[test]
    fn aliases_are_counted_by_what_they_stand_for() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..12 {
            let aliases = vec![format!("*a{}", at - 1); 10].join(", ");
            text.push_str(&format!("a{at}: &a{at} [{aliases}]\n"));
        }
        refused(&text, "more than 100000 values");
        // Many that stand for much, padded so that the reader's own bound is far.
        let long = format!(
            "a: &a [{}]\nb: [{}]\n",
            "x,".repeat(20_000),
            "*a, ".repeat(20_000)
        );
        refused(&long, "more than 100000 values");
        refused(
            &format!("a: [{}]", "x,".repeat(120_000)),
            "more than 100000 values",
        );
        refused(&" ".repeat(BYTES + 1), "bytes");
    }

    #[test]
    fn sql_with_brackets_and_quotes_is_read() {
        let texts = [
            "metrics:\n  - tag: a\n    query: |\n      SELECT a[1], '[[[' || \"b\" FROM t -- it's\n      \
             WHERE x ~ '^[^[]' AND y = ANY (ARRAY[ [1, 2], [3, 4] ])\n    columns: [{name: a, type: \
             label}, {type: gauge}]\n",
            "- {tag: c, x: &c [a], y: [*c, *c], z: [*c]}\n",
            "- {query: \"SELECT '{}'::int[]\", tag: x, columns: [{type: gauge}]}\n",
        ];
        for text in texts {
            assert_eq!(check_yaml(&text.repeat(40)), Ok(()));
        }
        // A bracket that nobody closes, in a comment of SQL.
        let text = "- query: |\n    SELECT 1 -- it's [\n  columns: [{type: gauge}]\n";
        assert_eq!(check_yaml(text), Ok(()));
    }
}
