//! Rust text in words and signs, as far as the rules of the house need it.

/// A word, a sign, or a text in quotes; of the last only the quotes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
}

impl Token {
    /// Whether it is a word that a path may have.
    pub(super) fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of a text; comments are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = token_at(rest, first);
        if let Some(kept) = kept {
            tokens.push(Token {
                text: kept.to_owned(),
                line,
            });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// How long the token is that a text starts with, and what of it is kept.
fn token_at(rest: &str, first: char) -> (usize, Option<&str>) {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (until("*/", 2), None);
    }
    if rest.starts_with("::") {
        return (2, Some("::"));
    }
    let raw = rest.trim_start_matches(['b', 'r', 'c']);
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let prefix = rest.len() - raw.len();
    if rest[..prefix].ends_with('r') && raw[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return (until(&end, prefix + hashes + 1), Some("\""));
    }
    if prefix <= 1 && raw.starts_with('"') {
        let mut escaped = false;
        for (at, letter) in rest.char_indices().skip(prefix + 1) {
            match letter {
                '"' if !escaped => return (at + 1, Some("\"")),
                _ => escaped = letter == '\\' && !escaped,
            }
        }
        return (rest.len(), Some("\""));
    }
    if first == '\'' {
        return quote_at(rest);
    }
    if first.is_alphanumeric() || first == '_' {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let end = end.unwrap_or(rest.len());
        return (end, Some(&rest[..end]));
    }
    let length = first.len_utf8();
    (length, (!first.is_whitespace()).then(|| &rest[..length]))
}

/// A letter in quotes, or a lifetime.
fn quote_at(rest: &str) -> (usize, Option<&str>) {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            let end = rest[from..]
                .find('\'')
                .map_or(rest.len(), |end| from + end + 1);
            (end, Some("'"))
        }
        (Some(_), Some((at, '\''))) => (at + 1, Some("'")),
        _ => (1, None),
    }
}

/// The tokens without what stands behind `#[cfg(test)]`, and the modules that were left out so.
pub(super) fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = tokens[at..].iter().map(|token| token.text.as_str());
        if !here.take(TEST.len()).eq(TEST) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += TEST.len();
        // The item ends with its `}`, or with a `;` or `,` outside all brackets.
        let mut depth = 0;
        while at < tokens.len() {
            let text = tokens[at].text.as_str();
            at += 1;
            if depth == 0 && text == "mod" {
                modules.push(tokens[at].text.clone());
            }
            match text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && ["}", ";", ","].contains(&text) {
                break;
            }
        }
    }
    (kept, modules)
}

#[test]
fn texts_letters_and_comments_are_no_words() {
    let words = |text: &str| -> Vec<String> {
        let tokens = tokens(text);
        tokens.into_iter().map(|token| token.text).collect()
    };
    assert_eq!(words("a::b // c\n/* d\n*/ e"), ["a", "::", "b", "e"]);
    assert_eq!(
        words(r#"f("x \" y", b"z", 'a')"#),
        ["f", "(", "\"", ",", "\"", ",", "'", ")"]
    );
    assert_eq!(words("r#\"a \" b\"# c"), ["\"", "c"]);
    assert_eq!(
        words(r"'\'' '\u{7f}' '\\' &'a str '{'"),
        ["'", "'", "'", "&", "a", "str", "'"]
    );
    assert_eq!(words("break_ r b"), ["break_", "r", "b"]);
    assert_eq!(tokens("\"a\nb\"\nc")[1].line, 3);
}

#[test]
fn what_is_for_tests_alone_is_left_out() {
    let kept = |text: &str| -> Vec<String> {
        let (tokens, _) = without_tests(tokens(text));
        tokens.into_iter().map(|token| token.text).collect()
    };
    assert_eq!(kept("#[cfg(test)] mod tests { fn a() {} } b"), ["b"]);
    assert_eq!(kept("#[cfg(test)] #[path = \"x\"] mod a; b"), ["b"]);
    assert_eq!(
        kept("#[cfg(test)] pub(super) fn a(x: [u8; 2], y: u8) { z } b"),
        ["b"]
    );
    let (_, modules) = without_tests(tokens("#[cfg(test)]\npub mod a; #[cfg(test)] fn b() {}"));
    assert_eq!(modules, ["a"]);
}
