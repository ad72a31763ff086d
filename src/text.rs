//! Text that somebody else wrote: how much of it is kept, and how it is shown so that it can neither
//! steer a terminal nor pass for a line of ours.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest text of a peer that is kept, in bytes: a server's error, a hint, a name.
pub const LONGEST_PEER_TEXT: usize = 1024;

/// What a peer wrote, as it is kept and shown: at most [`LONGEST_PEER_TEXT`] bytes and a mark, with
/// nothing in it that a terminal would obey.
#[must_use]
pub fn peer_text(text: &str) -> String {
    let cut = cut(text, LONGEST_PEER_TEXT);
    let mut out = String::with_capacity(cut.len());
    push_escaped(&mut out, &cut);
    // Escaped it may be longer again.
    match out.len() > LONGEST_PEER_TEXT + MARK.len() {
        true => self::cut(&out, LONGEST_PEER_TEXT).into_owned(),
        false => out,
    }
}

/// What stands where a text was cut.
const MARK: &str = "…";

/// At most `longest` bytes of a text, cut at a character; `…` stands behind what was cut.
#[must_use]
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(longest);
    let mut short = text.get(..end).unwrap_or_default().to_owned();
    short.push_str(MARK);
    Cow::Owned(short)
}

/// Whether a character steers a terminal, ends a line for some reader, or turns the direction of
/// what follows (Unicode, "Bidirectional Formatting Characters").
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Appends a text, with unsafe characters as Rust writes them: `\n`, `\u{1b}`.
pub fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

/// The same as a text of its own.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    push_escaped(&mut out, text);
    Cow::Owned(out)
}

/// A document of JSON with the unsafe characters in its strings as JSON escapes (RFC 8259, 7). It
/// means the same. Line breaks between its parts stay.
#[must_use]
pub fn escaped_json(document: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_unsafe(c) && c != '\n';
    if !document.contains(is_unsafe) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        match is_unsafe(c) {
            true => {
                // All of them are in the Basic Multilingual Plane. A `String` takes everything.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_text_is_cut_at_a_character_and_steers_nothing() {
        assert_eq!(peer_text("short"), "short");
        assert_eq!(
            peer_text("a\u{1b}[2J\r\nb\u{9b}c\u{202e}d\u{2066}e\u{2028}"),
            "a\\u{1b}[2J\\r\\nb\\u{9b}c\\u{202e}d\\u{2066}e\\u{2028}"
        );
        for text in [
            "é".repeat(5_000),
            "\u{1b}".repeat(5_000),
            "x".repeat(1 << 20),
        ] {
            let kept = peer_text(&text);
            assert!(
                kept.len() <= LONGEST_PEER_TEXT + 2 * MARK.len(),
                "{}",
                kept.len()
            );
            assert!(kept.ends_with(MARK));
            assert_eq!(
                peer_text(&kept).len(),
                kept.len().min(LONGEST_PEER_TEXT + MARK.len())
            );
        }
    }

    #[test]
    fn a_document_means_the_same_after_it_was_escaped() {
        let value = serde_json::json!({ "a": "x\u{9b}\u{202e}\u{7f}\u{1b}é\n" });
        let text = format!("{value:#}");
        let safe = escaped_json(&text);
        assert!(!safe.contains(|c| is_unsafe(c) && c != '\n'), "{safe}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
            value
        );
        assert_eq!(escaped("plain é"), "plain é");
        assert_eq!(escaped("\u{200f}"), "\\u{200f}");
    }
}
