//! Why a file of metrics cannot be read, in words that hold nothing of the file: it may be another
//! file than was meant, such as a private key.
//!
//! The readers of YAML and JSON put what they found into their messages (`unknown field `hunter2``,
//! `invalid type: string "hunter2"`). What they expected comes from our own types, and always stands
//! last; it is all that is taken over, with the line and the column.

/// Why a text is no file of metrics in YAML.
pub(super) fn explain_yaml(error: &serde_yaml::Error) -> String {
    let place = error.location().map(|at| (at.line(), at.column()));
    let whole = error.to_string();
    let message = match place {
        Some((line, column)) => without_place(&whole, line, column),
        None => &whole,
    };
    let words = expected(message).unwrap_or_else(|| syntax("YAML", message, &YAML));
    at(place, &words)
}

/// Why a text is no file of metrics in JSON.
pub(super) fn explain_json(error: &serde_json::Error) -> String {
    let place = (error.line(), error.column());
    let whole = error.to_string();
    let message = without_place(&whole, place.0, place.1);
    let words = match error.is_data() {
        true => expected(message).unwrap_or_else(|| "is not a file of metrics".to_owned()),
        false => syntax("JSON", message, &JSON),
    };
    at((place.0 > 0).then_some(place), &words)
}

/// How messages about the form begin: they are the readers' own words, from first to last.
const YAML: [&str; 9] = [
    "did not find expected",
    "could not find expected",
    "mapping values are not allowed",
    "block sequence entries are not allowed",
    "block mapping",
    "found character that cannot start any token",
    "found unexpected",
    "recursion limit exceeded",
    "repetition limit exceeded",
];
const JSON: [&str; 8] = [
    "EOF while parsing",
    "expected ",
    "invalid escape",
    "invalid number",
    "control character",
    "key must be a string",
    "trailing c",
    "recursion limit exceeded",
];

fn at(place: Option<(usize, usize)>, words: &str) -> String {
    match place {
        Some((line, column)) => format!("line {line} column {column}: {words}"),
        None => words.to_owned(),
    }
}

fn without_place(message: &str, line: usize, column: usize) -> &str {
    let place = format!(" at line {line} column {column}");
    message.strip_suffix(&place).unwrap_or(message)
}

/// Of a text of the wrong form.
fn syntax(language: &str, message: &str, known: &[&str]) -> String {
    let own = known.iter().any(|start| message.starts_with(start))
        && message.len() <= 200
        && !message.contains('"');
    match own {
        true => format!("is not {language}: {message}"),
        false => format!("is not {language}"),
    }
}

/// Of a text of the right form that holds something else than a metric.
fn expected(message: &str) -> Option<String> {
    const KINDS: [&str; 7] = [
        "unknown field `",
        "unknown variant `",
        "invalid type: ",
        "invalid value: ",
        "invalid length ",
        "missing field `",
        "duplicate field `",
    ];
    // The first of them is the message's own; a later one may be part of what was found.
    let (from, kind) = KINDS
        .iter()
        .filter_map(|kind| Some((message.find(kind)?, *kind)))
        .min()?;
    let rest = message.get(from + kind.len()..)?;
    if let "missing field `" | "duplicate field `" = kind {
        let name = rest.strip_suffix('`').filter(|name| is_own(name))?;
        return Some(format!("{kind}{name}`"));
    }
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    if !is_own(wanted) {
        return None;
    }
    let words = match kind {
        "unknown field `" | "unknown variant `" => {
            let word = kind.trim_end_matches(" `");
            let found = found.strip_suffix('`').unwrap_or(found);
            match nearest(found, wanted) {
                // So near to a word of ours that it is a slip, and shows nothing.
                Some(known) => format!("{word} `{found}` (did you mean `{known}`?)"),
                None => word.to_owned(),
            }
        }
        "invalid type: " => match kind_of(found) {
            Some(found) => format!("invalid type {found}"),
            None => "invalid type".to_owned(),
        },
        other => other.trim_end_matches([' ', ':']).to_owned(),
    };
    Some(format!("{words}, expected {wanted}"))
}

/// Whether a text can be one of our types' own: names, and a few words between them.
fn is_own(text: &str) -> bool {
    let own = |c: char| c.is_ascii_alphanumeric() || "_ `,.\"".contains(c);
    text.len() <= 300 && text.chars().all(own)
}

/// The first words of what serde says it found, which name its type.
fn kind_of(found: &str) -> Option<&'static str> {
    const FOUND: [&str; 8] = [
        "string",
        "integer",
        "floating point",
        "boolean",
        "sequence",
        "map",
        "unit value",
        "enum",
    ];
    FOUND.into_iter().find(|kind| found.starts_with(kind))
}

/// The word of the list, each in backticks, that a slip of the hand away is.
fn nearest<'a>(found: &str, wanted: &'a str) -> Option<&'a str> {
    if found.len() > 40 {
        return None;
    }
    wanted
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|known| (strsim::osa_distance(found, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3).min(3))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;

    fn said(file: &str, text: &str) -> String {
        match parse(file, text) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{text} is good"),
        }
    }

    #[test]
    fn what_was_expected_is_said_with_its_line_and_nothing_of_what_was_found() {
        let metric = |body: &str| format!("metrics:\n  - tag: t\n{body}");
        for (text, part) in [
            ("MARKER".to_owned(), "invalid type string, expected"),
            ("5432".to_owned(), "invalid type integer, expected"),
            (
                "MARKER: 5".to_owned(),
                "line 1 column 1: unknown field, expected one of",
            ),
            (
                "- MARKER\n- b\n".to_owned(),
                "invalid type string, expected",
            ),
            (
                "metrics: MARKER".to_owned(),
                "invalid type string, expected a sequence",
            ),
            (
                metric("    MARKER: x\n"),
                "line 3 column 5: unknown field, expected one of",
            ),
            (
                metric("    querys: []\n"),
                "unknown field `querys` (did you mean `query`?), expected one of",
            ),
            (
                metric("    sort: MARKER\n"),
                "unknown variant, expected `name` or `data`",
            ),
            (
                metric("    optional: MARKER\n"),
                "invalid type string, expected a boolean",
            ),
            (metric("    version: [MARKER]\n"), "a version"),
            (
                metric("    sort: \"x`, expected MARKER\"\n"),
                "unknown variant, expected `name` or `data`",
            ),
            (metric("    tag: MARKER\n"), "duplicate field `tag`"),
            (
                "metrics:\n  - query: MARKER\n".to_owned(),
                "missing field `tag`",
            ),
            (
                "metrics: b: MARKER".to_owned(),
                "invalid type string, expected a sequence",
            ),
            ("\"MARKER".to_owned(), "is not YAML"),
            ("*MARKER".to_owned(), ""),
            ("!MARKER x".to_owned(), ""),
            ("%MARKER".to_owned(), ""),
            ("{MARKER".to_owned(), ""),
            ("&MARKER [*MARKER]".to_owned(), ""),
            ("-----BEGIN MARKER-----\nMARKER=\n".to_owned(), ""),
            ("host:5432:db:user:MARKER".to_owned(), "invalid type string"),
            ("db: 5\ndb: MARKER".to_owned(), "unknown field"),
        ] {
            let error = said("a.yaml", &text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("MARKER"), "{text}: {error}");
        }
        for (text, part) in [
            (
                "\"MARKER\"",
                "line 1 column 8: invalid type string, expected",
            ),
            ("{\"MARKER\": 5}", "unknown field, expected"),
            (
                "{\"metrics\": \"MARKER\"}",
                "invalid type string, expected a sequence",
            ),
            ("[{\"tag\": \"MARKER\"", "is not JSON: EOF while parsing"),
            ("MARKER", "is not JSON: expected value"),
            ("[{\"tag\": \"MARKER\", }]", "is not JSON: trailing comma"),
            ("[{\"query\": \"MARKER\"}]", "missing field `tag`"),
            (
                "[{\"tag\": \"t\", \"version\": {\"MARKER\": 1}}]",
                "a version",
            ),
        ] {
            let error = said("a.json", text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("MARKER"), "{text}: {error}");
        }
    }

    #[test]
    fn a_metric_that_is_wrong_is_named_by_its_line_and_a_name_is_shown_where_it_is_one() {
        let columns = "columns: [{type: gauge}]";
        let metric = |tag: &str, body: &str| format!("- tag: {tag}\n  {body}\n");
        for (text, part) in [
            (metric("MARKER!", &format!("{{query: x, {columns}}}")), ""),
            (
                metric("\"MARKER 1\"", "query: x"),
                "line 1: tag: letters, digits and _",
            ),
            (
                metric("t", "query: x\n  columns: [{name: MARKER-1, type: gauge}]"),
                "line 1: tag t: column 1: letters, digits",
            ),
            (
                metric("t", &format!("interval: MARKER\n  query: x\n  {columns}")),
                "tag t: interval: allowed are 10s, 5m, 2h, 1d",
            ),
            (
                metric("t", &format!("version: MARKER\n  query: x\n  {columns}")),
                "tag t: version: allowed are 13 or \"1.4\"",
            ),
        ] {
            let error = said("a.yaml", &text);
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("MARKER"), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_repeats_the_file(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "QZMARK-7", ": ", ":", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "\"", "'",
                "tag: ", "metrics: ", "queries: ", "query: x", "columns: ", "type: ", "name: ",
                "version: ", "sort: ", "interval: ", "|", ">", "!", "&", "*", "%", " #", "? ", "---",
                ", expected ", "`", "unknown field `", "missing field `", "5", "1.5", "true", "~",
                "\"tag\": ", "\"metrics\": [", "\\",
            ]), 0..14),
        ) {
            let text = pieces.concat();
            for file in ["a.yaml", "a.json"] {
                if let Err(error) = parse(file, &text) {
                    let error = error.to_string();
                    proptest::prop_assert!(!error.contains("QZMARK"), "{}", error);
                }
            }
        }
    }
}
