//! From sections of texts to a [`Configuration`]: each key is looked up in the table, its value
//! read and put into its field.

use std::collections::BTreeMap;
use std::path::Path;

use super::check;
use super::configuration::{Configuration, Main, Server, ServerKind};
use super::errors::{ConfigErrors, ProblemList, UnknownKey};
use super::given::GivenKeys;
use super::ini::{self, IniEntry, Section};
use super::keys::{Key, MAIN_SECTION, Required, main_keys, server_keys};
use super::value::Value;

/// The longest name of a server, in characters. It is the value of a label on every sample.
const LONGEST_NAME: usize = 127;

/// A configuration, and what its user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfiguration {
    /// What the file says.
    pub configuration: Configuration,
    /// Lines to log at start: keys without an effect yet, settings that do nothing.
    pub notices: Vec<String>,
}

/// Reads the bytes of the file at `path`.
pub fn parse_bytes(path: &Path, bytes: &[u8]) -> Result<LoadedConfiguration, ConfigErrors> {
    let mut problems = ProblemList::new(path);
    let sections = ini::parse_sections(bytes, &mut problems);
    read_sections(path, &sections, problems)
}

/// Reads the sections of the file at `path`, each of which begins at a line of its own.
pub(super) fn read_sections(
    path: &Path,
    sections: &[Section],
    mut problems: ProblemList,
) -> Result<LoadedConfiguration, ConfigErrors> {
    let mut main = Main::default();
    let mut servers = Vec::new();
    let mut first_lines: BTreeMap<&str, usize> = BTreeMap::new();
    let mut given_main = GivenKeys {
        line: None,
        keys: BTreeMap::new(),
    };
    for section in sections {
        let first = *first_lines
            .entry(section.name.as_str())
            .or_insert(section.line);
        let again = first != section.line;
        if again {
            let message =
                format!("this section already exists at line {first}; put its keys there");
            problems.add_problem(Some(section.line), None, message);
        }
        if section.name == MAIN_SECTION {
            // A repeated section is checked for errors, and otherwise ignored.
            let mut other = Main::default();
            let target = if again { &mut other } else { &mut main };
            let elsewhere = |name: &str| server_keys().any(|key| key.name == name);
            let given = read_fields(
                main_keys(),
                &elsewhere,
                section,
                target,
                again,
                &mut problems,
            );
            report_reserved_keys(&given, &mut problems);
            if !again {
                given_main = given;
            }
        } else if let Some(server) = read_server(section, again, &mut problems) {
            servers.push(server);
        }
    }
    if given_main.line.is_none() {
        let message = format!("has no section [{MAIN_SECTION}]");
        problems.add_problem(None, None, message);
    } else {
        check::check_main(&mut main, &given_main, &mut problems);
    }
    check::check_any_server(&servers, &given_main, &mut problems);

    let notices = problems.finish()?;
    let configuration = Configuration {
        path: path.to_owned(),
        main,
        servers,
    };
    Ok(LoadedConfiguration {
        configuration,
        notices,
    })
}

/// Reads a server's section; `None` when it is one that is left out.
fn read_server(section: &Section, again: bool, problems: &mut ProblemList) -> Option<Server> {
    let length = section.name.chars().count();
    if length > LONGEST_NAME {
        let message =
            format!("the name of a server has {length} characters; allowed: {LONGEST_NAME}");
        problems.add_problem(Some(section.line), None, message);
    }
    let mut server = Server {
        name: section.name.clone(),
        ..Server::default()
    };
    let elsewhere = |name: &str| main_keys().any(|key| key.name == name);
    let given = read_fields(
        server_keys(),
        &elsewhere,
        section,
        &mut server,
        again,
        problems,
    );
    if server.kind == ServerKind::Prometheus {
        let message = format!(
            "the server [{}] of type prometheus has no effect yet, and is left out",
            section.name
        );
        problems.add_notice(given.line("type"), "type", message);
        return None;
    }
    if !again {
        report_missing(
            server_keys(),
            |required| required == Required::ForPostgresql,
            &given,
            problems,
        );
    }
    check::check_server(&server, &given, problems);
    Some(server)
}

/// Puts the defaults and then the values of a section into `target`.
fn read_fields<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>> + Clone,
    elsewhere: &dyn Fn(&str) -> bool,
    section: &Section,
    target: &mut S,
    again: bool,
    problems: &mut ProblemList,
) -> GivenKeys {
    let mut given = GivenKeys {
        line: Some(section.line),
        keys: BTreeMap::new(),
    };
    for key in keys.clone() {
        let Ok(value) = key.default_value() else {
            continue;
        };
        if value != Value::Unset
            && let Some(place) = &key.place
        {
            (place.set)(target, &value);
        }
    }
    for entry in &section.entries {
        let Some(key) = keys.clone().find(|key| key.name == entry.key) else {
            report_unknown(keys.clone(), elsewhere, section, entry, problems);
            continue;
        };
        if let Some((line, _)) = given.keys.get(key.name) {
            let message = format!("is already set at line {line}; keep one of them");
            problems.add_problem(Some(entry.line), Some(key.name), message);
            continue;
        }
        let value = read_value(key, entry, target, problems);
        given.keys.insert(key.name, (entry.line, value));
    }
    if !again {
        report_missing(keys, |required| required == Required::Yes, &given, problems);
    }
    given
}

/// Reads one value and puts it into its field; `None` when it is empty or wrong.
fn read_value<S>(
    key: &Key<S>,
    entry: &IniEntry,
    target: &mut S,
    problems: &mut ProblemList,
) -> Option<Value> {
    if entry.value.is_empty() {
        if key.required != Required::No || !key.kind.may_be_empty() {
            let message = format!("has no value; allowed: {}", key.kind.allowed());
            problems.add_problem(Some(entry.line), Some(key.name), message);
        }
        return None;
    }
    match key.kind.parse(&entry.value) {
        Ok(value) => {
            if let Some(place) = &key.place {
                (place.set)(target, &value);
            }
            Some(value)
        }
        Err(error) => {
            problems.add_problem(Some(entry.line), Some(key.name), error.to_string());
            None
        }
    }
}

fn report_missing<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>>,
    wanted: fn(Required) -> bool,
    given: &GivenKeys,
    problems: &mut ProblemList,
) {
    for key in keys.filter(|key| wanted(key.required) && !given.tried(key.name)) {
        let message = format!("is required in this section: {}", key.about);
        problems.add_problem(given.line, Some(key.name), message);
    }
}

/// Says what is to be said about a key that is not in the table of its section. It is repeated only
/// where it is a slip of the hand away from a known one.
fn report_unknown<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>> + Clone,
    elsewhere: &dyn Fn(&str) -> bool,
    section: &Section,
    entry: &IniEntry,
    problems: &mut ProblemList,
) {
    let (line, key) = (Some(entry.line), entry.key.as_str());
    let in_main = section.name == MAIN_SECTION;
    let unknown = unknown_key(keys, elsewhere, in_main, key);
    match &unknown {
        UnknownKey::Unlisted => {
            let message = "unknown key; docs/configuration.md lists the keys";
            problems.add_problem(line, None, message);
        }
        UnknownKey::Password if key != "password" => {
            problems.add_problem(line, None, unknown.to_string());
        }
        _ => problems.add_quoted_problem(line, Some(key), unknown.to_string()),
    }
}

/// The known key that is a slip of the hand away.
fn find_similar_key<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>>,
    name: &str,
) -> Option<&'static str> {
    let key = name.to_lowercase();
    if key.len() > 64 {
        return None;
    }
    keys.map(|known| (strsim::osa_distance(&key, known.name), known.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3).min(4))
        .map(|(_, known)| known)
}

/// Why a name is no key of a section.
pub(super) fn unknown_key<S: 'static>(
    keys: impl Iterator<Item = &'static Key<S>>,
    elsewhere: &dyn Fn(&str) -> bool,
    in_main: bool,
    name: &str,
) -> UnknownKey {
    if elsewhere(name) {
        return match in_main {
            true => UnknownKey::OfServer,
            false => UnknownKey::OfMain,
        };
    }
    if name.to_lowercase().contains("password") {
        return UnknownKey::Password;
    }
    find_similar_key(keys, name).map_or(UnknownKey::Unlisted, UnknownKey::Similar)
}

/// Adds a notice for each key that is given and has no effect yet.
fn report_reserved_keys(given: &GivenKeys, problems: &mut ProblemList) {
    for key in main_keys().filter(|key| key.place.is_none()) {
        if given.value(key.name).is_some() {
            problems.add_notice(given.line(key.name), key.name, "has no effect yet");
        }
    }
}
