//! One value changed in a configuration, as if the file said so.

use super::configuration::Configuration;
use super::errors::{ProblemList, UnknownKey};
use super::ini::{IniEntry, Section};
use super::keys::{ChangedFrom, Key, MAIN_SECTION, main_keys, server_keys};
use super::read::{LoadedConfiguration, read_sections, unknown_key};
use super::value::Value;

/// Why a value cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// There is no such key, or it has no effect yet.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// There is no such server.
    #[error("there is no server '{0}' in the file")]
    UnknownServer(String),
    /// The value is not allowed.
    #[error("{0}")]
    Invalid(String),
}

/// The configuration with another value of `key`, which is named as [`super::values`] names it;
/// `pgexporter.log_level` is good for `log_level`. All that holds for the file holds here: kinds,
/// limits, and what keys need beside them. An empty text is no value.
///
/// # Errors
/// [`SetError`]; its text says what is allowed.
pub fn set(
    configuration: &Configuration,
    key: &str,
    text: &str,
) -> Result<LoadedConfiguration, SetError> {
    let (server, name) = split_key(key);
    let at = match server {
        None => {
            let other = |name: &str| server_keys().any(|key| key.name == name);
            settable(main_keys(), &other, true, name)?;
            0
        }
        Some(server) => {
            let found = configuration
                .servers
                .iter()
                .position(|known| known.name == server)
                .ok_or_else(|| SetError::UnknownServer(server.to_owned()))?;
            let other = |name: &str| main_keys().any(|key| key.name == name);
            settable(server_keys(), &other, false, name)?;
            found + 1
        }
    };
    if text.contains(char::is_control) {
        let message = "holds a control character; take it out".to_owned();
        return Err(SetError::Invalid(message));
    }
    let mut sections = vec![Section {
        name: MAIN_SECTION.to_owned(),
        line: 1,
        entries: entries(main_keys(), &configuration.main),
    }];
    for server in &configuration.servers {
        sections.push(Section {
            name: server.name.clone(),
            line: sections.len() + 1,
            entries: entries(server_keys(), server),
        });
    }
    let section = &mut sections[at];
    section.entries.retain(|entry| entry.key != name);
    section.entries.push(IniEntry {
        key: name.to_owned(),
        value: text.to_owned(),
        line: section.line,
    });
    read_sections(
        &configuration.path,
        &sections,
        ProblemList::new(&configuration.path),
    )
    .map_err(|errors| {
        let problems = errors.problems.iter();
        let words = problems.map(|problem| match &problem.key {
            Some(key) if key != name => format!("{key} {}", problem.message),
            _ => problem.message.clone(),
        });
        SetError::Invalid(words.collect::<Vec<_>>().join("; "))
    })
}

/// Where an administrator must be to change `key`, which is named as for [`set`]. `None`: there is
/// no such key.
#[must_use]
pub fn changed_from(key: &str) -> Option<ChangedFrom> {
    match split_key(key) {
        (Some(_), name) => server_keys()
            .find(|key| key.name == name)
            .map(|key| key.changed_from),
        (None, name) => main_keys()
            .find(|key| key.name == name)
            .map(|key| key.changed_from),
    }
}

/// A key's server, if it is one's, and its name.
pub(super) fn split_key(key: &str) -> (Option<&str>, &str) {
    let of_server = key.strip_prefix("server.");
    if let Some((server, name)) = of_server.and_then(|rest| rest.rsplit_once('.')) {
        return (Some(server), name);
    }
    let of_main = key
        .strip_prefix(MAIN_SECTION)
        .and_then(|rest| rest.strip_prefix('.'));
    (None, of_main.unwrap_or(key))
}

fn settable<S: 'static>(
    mut keys: impl Iterator<Item = &'static Key<S>> + Clone,
    elsewhere: &dyn Fn(&str) -> bool,
    in_main: bool,
    name: &str,
) -> Result<(), SetError> {
    match keys.clone().find(|key| key.name == name) {
        Some(key) if key.place.is_some() => Ok(()),
        Some(_) => Err(UnknownKey::Reserved.into()),
        None => Err(unknown_key(keys.by_ref(), elsewhere, in_main, name).into()),
    }
}

/// The lines that say what a section is.
fn entries<S: 'static>(keys: impl Iterator<Item = &'static Key<S>>, section: &S) -> Vec<IniEntry> {
    keys.filter_map(|key| {
        let value = (key.place.as_ref()?.get)(section);
        (value != Value::Unset).then(|| IniEntry {
            key: key.name.to_owned(),
            value: value.to_string(),
            line: 1,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{compare, parse};

    fn configuration() -> Configuration {
        let text = "[pgexporter]\nhost = *\nunix_socket_dir = '/tmp/a b#c'\nmetrics = 5002\n\
                    collectors = a, b\nmetrics_cache_max_age = 90\nlog_line_prefix = ' %H ; '\n\
                    [one.two]\nhost = localhost\nport = 5432\nuser = \"o'neil\"\n\
                    [two]\nhost = /run/x\nport = 5433\nuser = u\ntls = off\n";
        parse(Path::new("f"), text).unwrap().configuration
    }

    #[test]
    fn only_what_was_asked_for_is_different() {
        let old = configuration();
        for (key, text, problems) in [
            ("log_level", "debug", "log_level: was info, is debug"),
            (
                "pgexporter.lock_timeout",
                "2s",
                "lock_timeout: was 1s, is 2s",
            ),
            ("collectors", "", "collectors: was a, b, is none"),
            (
                "server.one.two.user",
                "x # y",
                "server one.two: user: was o'neil, is x # y",
            ),
            ("server.two.tls", "on", "server two: tls: was off, is on"),
            (
                "metrics",
                "5009",
                "metrics: stays 5002, waits for a restart to become 5009",
            ),
            ("log_level", "info", "no changes"),
        ] {
            let new = set(&old, key, text).unwrap().configuration;
            assert_eq!(compare(&old, &new).to_string(), problems, "{key}");
        }
    }

    #[test]
    fn a_key_is_judged_by_its_name_however_it_is_written() {
        use ChangedFrom::{Anywhere, Machine};
        for (key, from) in [
            ("log_level", Some(Anywhere)),
            ("pgexporter.log_level", Some(Anywhere)),
            ("metrics_path", Some(Machine)),
            ("pgexporter.metrics_path", Some(Machine)),
            ("server.one.two.extensions", Some(Anywhere)),
            ("server.one.two.host", Some(Machine)),
            ("server.pgexporter.password_file", Some(Machine)),
            ("server.log_level", None),
            ("server.x.log_level", None),
            ("host.log_level", None),
            ("Metrics_Path", None),
            ("", None),
        ] {
            assert_eq!(changed_from(key), from, "{key}");
            // What the one does not know, the other does not change.
            if from.is_none() {
                assert!(set(&configuration(), key, "debug").is_err(), "{key}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_is_allowed() {
        let old = configuration();
        let said = |key, text| match set(&old, key, text) {
            Err(error) => error,
            Ok(_) => panic!("{key} = {text}"),
        };
        for (key, text, part) in [
            ("log_level", "loud", "allowed: debug5"),
            ("metrics", "", "has no value"),
            ("metrics", "99999", "1 to 65535"),
            ("lock_timeout", "0", "at least"),
            ("host", "a\nmetrics = 1", "control character"),
            ("health", "5002", "is the port of `metrics` too"),
            ("metrics_cert_file", "/x", "needs metrics_key_file"),
            ("server.two.port", "0", "1 to 65535"),
        ] {
            let error = said(key, text);
            assert!(matches!(error, SetError::Invalid(_)), "{key}: {error:?}");
            assert!(error.to_string().contains(part), "{key}: {error}");
        }
        for (key, part) in [
            ("log_levle", "did you mean `log_level`?"),
            ("console", "no effect yet"),
            ("user", "belongs in the section of a server"),
            ("server.two.metrics", "belongs in the section [pgexporter]"),
            ("server.two", "is not a known key"),
            ("", "is not a known key"),
        ] {
            let error = said(key, "5");
            assert!(matches!(error, SetError::UnknownKey(_)), "{key}: {error:?}");
            assert!(error.to_string().contains(part), "{key}: {error}");
        }
        let error = said("server.none.port", "5");
        assert_eq!(error, SetError::UnknownServer("none".to_owned()));
    }
}
