//! The outer form of the file: bytes go in, sections of keys and texts come out. What the keys
//! mean is not known here.

use super::errors::ProblemList;

/// A section with its lines in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The name between the brackets.
    pub(super) name: String,
    /// The line of the brackets, counted from 1.
    pub(super) line: usize,
    /// The keys.
    pub(super) entries: Vec<IniEntry>,
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IniEntry {
    pub(super) key: String,
    /// Without quotes, comment and surrounding space.
    pub(super) value: String,
    pub(super) line: usize,
}

/// The position of the parser.
enum ParsePosition {
    /// Above the first section.
    Outside,
    /// In the last of the sections.
    Section,
    /// After a section head that is wrong. Keys up to the next head are skipped: it is not known which
    /// section they belong to.
    Lost,
}

/// Parses the file into sections, and reports every line that is neither head nor key nor comment.
pub(super) fn parse_sections(bytes: &[u8], problems: &mut ProblemList) -> Vec<Section> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut sections: Vec<Section> = Vec::new();
    let mut place = ParsePosition::Outside;
    for (index, bytes) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let Ok(text) = std::str::from_utf8(bytes) else {
            problems.add_problem(Some(line), None, "is not UTF-8; save the file as UTF-8");
            continue;
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            problems.add_problem(Some(line), None, "holds a control character; take it out");
        } else if let Some(rest) = text.strip_prefix('[') {
            match section_name(rest) {
                Ok(name) => {
                    sections.push(Section {
                        name: name.to_owned(),
                        line,
                        entries: Vec::new(),
                    });
                    place = ParsePosition::Section;
                }
                Err(message) => {
                    problems.add_problem(Some(line), None, message);
                    place = ParsePosition::Lost;
                }
            }
        } else {
            match (key_and_value(text), &place, sections.last_mut()) {
                (Err(LineError { key, message }), ..) => {
                    problems.add_problem(Some(line), key, message)
                }
                (Ok(_), ParsePosition::Lost, _) => {}
                (Ok((key, value)), ParsePosition::Section, Some(section)) => {
                    section.entries.push(IniEntry {
                        key: key.to_owned(),
                        value,
                        line,
                    });
                }
                (Ok((key, _)), ..) => {
                    let message = "is above the first section; put it below `[pgexporter]` or \
                                   below the brackets of a server";
                    problems.add_problem(Some(line), Some(key), message);
                }
            }
        }
    }
    sections
}

/// What is wrong with a line, and its key if it has one. The line is not repeated: it may be a
/// password in the wrong place.
struct LineError<'a> {
    key: Option<&'a str>,
    message: String,
}

fn section_name(rest: &str) -> Result<&str, String> {
    let Some((name, after)) = rest.split_once(']') else {
        return Err("has no closing `]`".to_owned());
    };
    if !is_comment(after.trim_start()) {
        return Err("has text behind the `]`".to_owned());
    }
    let name = name.trim();
    if name.is_empty() {
        return Err("is a section without a name".to_owned());
    }
    Ok(name)
}

fn key_and_value(text: &str) -> Result<(&str, String), LineError<'_>> {
    let Some((key, value)) = text.split_once('=') else {
        let message = "is not of the form `key = value`, `[section]` or `# comment`".to_owned();
        return Err(LineError { key: None, message });
    };
    let (key, value) = (key.trim_end(), value.trim_start());
    if key.is_empty() {
        let message = "has no key before the `=`".to_owned();
        return Err(LineError { key: None, message });
    }
    match unquoted(value) {
        Ok(value) => Ok((key, value.to_owned())),
        Err(message) => Err(LineError {
            key: Some(key),
            message,
        }),
    }
}

fn unquoted(value: &str) -> Result<&str, String> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let Some((inner, after)) = rest.split_once(quote) else {
                return Err(format!("has no closing {quote}"));
            };
            if !is_comment(after.trim_start()) {
                return Err(format!("has text behind the closing {quote}"));
            }
            return Ok(inner);
        }
    }
    let mut space_before = true;
    for (at, c) in value.char_indices() {
        if space_before && (c == '#' || c == ';') {
            return Ok(value[..at].trim_end());
        }
        space_before = c.is_whitespace();
    }
    Ok(value.trim_end())
}

fn is_comment(text: &str) -> bool {
    text.is_empty() || text.starts_with(['#', ';'])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sections(bytes: &[u8]) -> Result<Vec<Section>, String> {
        let mut problems = ProblemList::new(Path::new("f"));
        let sections = parse_sections(bytes, &mut problems);
        problems.finish().map_err(|errors| errors.to_string())?;
        Ok(sections)
    }

    fn value(line: &str) -> Result<String, String> {
        let sections = sections(format!("[s]\n{line}").as_bytes())?;
        Ok(sections[0].entries[0].value.clone())
    }

    #[test]
    fn a_value_ends_at_a_comment_unless_it_is_quoted() {
        for (line, expected) in [
            ("k = v", "v"),
            ("k=v", "v"),
            ("  k\t=\tv  ", "v"),
            ("k = a b  c", "a b  c"),
            ("k = v # c", "v"),
            ("k = v ; c", "v"),
            ("k = v\t;c", "v"),
            ("k = v#c", "v#c"),
            ("k = v;c", "v;c"),
            ("k =", ""),
            ("k = # c", ""),
            ("k =# c", ""),
            ("k = a=b", "a=b"),
            ("k = \"v # no; comment\"", "v # no; comment"),
            ("k = \"v\" # c", "v"),
            ("k = 'it is \"so\"'", "it is \"so\""),
            ("k = \"\"", ""),
            ("k = v\"w\"", "v\"w\""),
            ("k = \" v \"", " v "),
            ("k = v\r", "v"),
            ("k = ünï 中", "ünï 中"),
        ] {
            assert_eq!(value(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_line_without_meaning_is_told_with_its_number_and_is_not_repeated() {
        for (line, expected) in [
            (
                "hush",
                "f:2: is not of the form `key = value`, `[section]` or `# comment`",
            ),
            ("= v", "f:2: has no key before the `=`"),
            ("k = \"v", "f:2: has no closing \""),
            ("k = 'v", "f:2: has no closing '"),
            ("k = \"v\" w", "f:2: has text behind the closing \""),
            ("[s", "f:2: has no closing `]`"),
            ("[s] t", "f:2: has text behind the `]`"),
            ("[ ]", "f:2: is a section without a name"),
            ("k = a\u{0}b", "f:2: holds a control character; take it out"),
        ] {
            assert_eq!(value(line).unwrap_err(), expected, "{line}");
        }
    }

    #[test]
    fn a_byte_order_mark_crlf_and_comments_are_read_over() {
        let text = b"\xef\xbb\xbf# c\r\n; c\r\n\r\n[ s ] # c\r\nk = v\r\n";
        let entry = IniEntry {
            key: "k".to_owned(),
            value: "v".to_owned(),
            line: 5,
        };
        let section = Section {
            name: "s".to_owned(),
            line: 4,
            entries: vec![entry],
        };
        assert_eq!(sections(text), Ok(vec![section]));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_told_with_their_line_beside_other_problems() {
        let errors = sections(b"k = v\n[s]\nk = \xff\xfe\nhush\n[x\nk = v\n").unwrap_err();
        let lines: Vec<_> = errors.lines().collect();
        assert_eq!(lines.len(), 4, "{errors}");
        assert!(
            lines[0].starts_with("f:1: is above the first section"),
            "{errors}"
        );
        assert_eq!(lines[1], "f:3: is not UTF-8; save the file as UTF-8");
        assert!(lines[2].starts_with("f:4: is not of the form"), "{errors}");
        assert_eq!(lines[3], "f:5: has no closing `]`");
    }
}
