//! `docs/configuration.md`, made from the table of keys.

use std::fmt::Write;

use super::keys::{ChangedFrom, Effect, Key, MAIN_SECTION, Required, main_keys, server_keys};
use super::value::ValueKind;

/// What stands above the tables.
const HEAD: &str = include_str!("docs_head.md");

/// The page as Markdown: how the file is written, and every key with its section, default, type,
/// allowed values, when a change takes effect, and meaning.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(&format!("\n## The section `[{MAIN_SECTION}]`\n\n"));
    table(main_keys().filter(|key| key.place.is_some()), &mut page);
    page.push_str(
        "\n## The section of a server\n\nThe name between the brackets is the value of the label \
         `server`.\n\n",
    );
    table(server_keys(), &mut page);
    page.push_str(&format!(
        "\n## Keys of `[{MAIN_SECTION}]` without an effect yet\n\nThese are read and their values \
         are checked, so that a file made for another version keeps its place. Each one that is \
         given gets a line in the log at start.\n\n"
    ));
    table(main_keys().filter(|key| key.place.is_none()), &mut page);
    page
}

fn table<S: 'static>(keys: impl Iterator<Item = &'static Key<S>>, page: &mut String) {
    page.push_str("| Key | Default | Type | Allowed | Takes effect | Changed from | Meaning |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for key in keys {
        let default = match (key.required, key.default) {
            (Required::Yes, _) => "required".to_owned(),
            (Required::ForPostgresql, _) => "required, but for `type = prometheus`".to_owned(),
            (Required::No, "") => "none".to_owned(),
            (Required::No, default) => format!("`{default}`"),
        };
        let effect = match key.effect {
            Effect::Reload => "reload",
            Effect::Restart => "restart",
        };
        let from = match key.changed_from {
            ChangedFrom::Machine => "machine",
            ChangedFrom::Anywhere => "anywhere",
        };
        let (name, kind, about) = (key.name, key.kind.name(), key.about);
        let allowed = allowed(&key.kind);
        // Writing into a `String` cannot fail.
        let _ = writeln!(
            page,
            "| `{name}` | {default} | {kind} | {allowed} | {effect} | {from} | {about} |"
        );
    }
}

/// What is allowed, in a cell of a table. What the page's head says of a type is not said again.
fn allowed(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Bool | ValueKind::Size | ValueKind::List | ValueKind::Text => String::new(),
        ValueKind::Word(words, others) => {
            let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            let others = others
                .iter()
                .map(|(other, word)| format!("`{other}` is `{word}`"));
            let others: Vec<_> = others.collect();
            match others.is_empty() {
                true => quoted.join(", "),
                false => format!("{} ({})", quoted.join(", "), others.join(", ")),
            }
        }
        ValueKind::Duration(low, high) => ValueKind::limits(*low, *high),
        ValueKind::AutoOrDuration => "`auto`, or a duration".to_owned(),
        ValueKind::SizeWithin(low, high) => {
            let [low, high] = [low, high].map(|bytes| super::Value::Size(*bytes));
            format!("{low} to {high}")
        }
        kind => kind.allowed(),
    }
}
