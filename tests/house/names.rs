//! The rules of names that a program can check; `CONTRIBUTING.md` has all of them.

use std::collections::BTreeMap;
use std::fs;

use super::{room_of, root, sources};

/// Rooms whose names are still to be changed. A room leaves the list when its names follow the
/// rules, and none comes back.
const NOT_DONE: [&str; 0] = [];

/// Words of files, modules and types that only somebody who wrote the code would understand.
const IMAGES: [&str; 42] = [
    "asked",
    "beside",
    "book",
    "chronicle",
    "commons",
    "company",
    "crowd",
    "doorman",
    "doors",
    "doubt",
    "errand",
    "flights",
    "found",
    "front",
    "guest",
    "happening",
    "happenings",
    "hired",
    "judge",
    "keeper",
    "later",
    "ledger",
    "material",
    "orphan",
    "others",
    "places",
    "roster",
    "said",
    "seen",
    "seldom",
    "settle",
    "standing",
    "stays",
    "steward",
    "surroundings",
    "talk",
    "told",
    "verdict",
    "verdicts",
    "visit",
    "walk",
    "walker",
];

/// Names of functions that say neither what is done nor to what.
const BARE: [&str; 14] = [
    "beside", "end", "enter", "hear", "judge", "look", "of", "say", "see", "settle", "take",
    "tell", "visit", "walk",
];

/// The words of a name, in small letters: of `LeaseHolder` and of `lease_holder` they are `lease`
/// and `holder`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' {
            words.push(String::new());
            continue;
        }
        if letter.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The name that a line defines with one of the keywords, whatever its visibility.
fn defined<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => public,
        };
    }
    let mut rest = rest.trim_start();
    for before in ["const ", "async "] {
        if keywords.contains(&"fn") {
            rest = rest.strip_prefix(before).unwrap_or(rest);
        }
    }
    let (keyword, rest) = rest.split_once(' ')?;
    if !keywords.contains(&keyword) {
        return None;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// All lines of the crate, each with its file, without modules of tests; with `done`, also without
/// the rooms that are not done.
fn lines(done: bool) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for file in sources() {
        let room = room_of(&file).unwrap_or_default();
        let tests = file.components().any(|part| part.as_os_str() == "tests");
        if tests || file.ends_with("tests.rs") || (done && NOT_DONE.contains(&room.as_str())) {
            continue;
        }
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let path = file.display().to_string();
        lines.extend(text.lines().map(|line| (path.clone(), line.to_owned())));
    }
    lines
}

const TYPES: [&str; 4] = ["struct", "enum", "trait", "type"];

#[test]
fn a_name_of_a_type_stands_for_one_type() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, line) in lines(false) {
        // A `type` of an implementation has the name that its trait gives it.
        if line.starts_with("    type ") {
            continue;
        }
        if let Some(name) = defined(&line, &TYPES) {
            places.entry(name.to_owned()).or_default().push(file);
        }
    }
    let done = |file: &&String| {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        !NOT_DONE.contains(&room)
    };
    // Two types of rooms that are not done may still share a name, or one of them with another.
    places.retain(|_, files| files.iter().filter(done).count() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn files_and_types_are_named_by_nouns_of_the_field() {
    let mut wrong = Vec::new();
    for (file, line) in lines(true) {
        if let Some(name) = defined(&line, &[&TYPES[..], &["mod"]].concat())
            && words(name)
                .iter()
                .any(|word| IMAGES.contains(&word.as_str()))
        {
            wrong.push(format!("src/{file}: {name}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_function_is_a_verb_and_its_object() {
    let wrong: Vec<String> = lines(true)
        .iter()
        .filter_map(|(file, line)| Some((file, defined(line, &["fn"])?)))
        .filter(|(_, name)| BARE.contains(name))
        .map(|(file, name)| format!("src/{file}: {name}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_taken_apart_and_found_in_each_way_of_writing_them() {
    assert_eq!(words("LeaseHolder"), ["lease", "holder"]);
    assert_eq!(words("lease_holder"), ["lease", "holder"]);
    let types = |line| defined(line, &TYPES);
    assert_eq!(types("pub(super) struct Found<'a> {"), Some("Found"));
    assert_eq!(types("    enum Kind {"), Some("Kind"));
    assert_eq!(types("struct Newest(u128);"), Some("Newest"));
    assert_eq!(types("/// A struct."), None);
    let functions = |line| defined(line, &["fn"]);
    assert_eq!(functions("    pub async fn end(self) {"), Some("end"));
    assert_eq!(functions("pub(super) const fn of<T>() {"), Some("of"));
}
