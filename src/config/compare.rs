//! Reload: what is different between the running configuration and the one just read, and the
//! configuration to run with from now on.

use std::fmt;

use super::configuration::{Configuration, Main, Server};
use super::keys::{Effect, Key, main_keys, server_keys};

/// A key whose value is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// The running value, as the file would hold it.
    pub old: String,
    /// The value of the file.
    pub new: String,
}

/// A server whose section is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// The section's name.
    pub name: String,
    /// Its keys.
    pub changes: Vec<KeyChange>,
}

/// All that is different. Shown as a report in words, one thing a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    /// Keys of the main section whose new value is used from now on.
    pub applied: Vec<KeyChange>,
    /// Keys of the main section whose new value waits for a restart.
    pub restart: Vec<KeyChange>,
    /// Names of servers that are new.
    pub added: Vec<String>,
    /// Names of servers that are gone.
    pub removed: Vec<String>,
    /// Servers that are still there, with other values.
    pub changed: Vec<ServerChange>,
}

impl ConfigChanges {
    /// Whether both say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (or_none(&self.old), or_none(&self.new));
        write!(f, "{}: was {old}, is {new}", self.key)
    }
}

impl fmt::Display for ConfigChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.applied.iter().map(KeyChange::to_string).collect();
        lines.extend(
            self.added
                .iter()
                .map(|name| format!("server {name}: added")),
        );
        lines.extend(
            self.removed
                .iter()
                .map(|name| format!("server {name}: removed")),
        );
        for server in &self.changed {
            let changes = server.changes.iter();
            lines.extend(changes.map(|change| format!("server {}: {change}", server.name)));
        }
        lines.extend(self.restart.iter().map(|KeyChange { key, old, new }| {
            let (old, new) = (or_none(old), or_none(new));
            format!("{key}: stays {old}, waits for a restart to become {new}")
        }));
        if lines.is_empty() {
            lines.push("no changes".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

/// Says what is different.
#[must_use]
pub fn compare(old: &Configuration, new: &Configuration) -> ConfigChanges {
    let mut changes = ConfigChanges::default();
    for key in main_keys() {
        let Some(change) = compare_key(key, &old.main, &new.main) else {
            continue;
        };
        match needs_restart(key, &old.main, &new.main) {
            true => changes.restart.push(change),
            false => changes.applied.push(change),
        }
    }
    for server in &new.servers {
        match old.servers.iter().find(|known| known.name == server.name) {
            None => changes.added.push(server.name.clone()),
            Some(known) => changes.changed.extend(compare_server(known, server)),
        }
    }
    let gone = |server: &&Server| !new.servers.iter().any(|known| known.name == server.name);
    changes.removed.extend(
        old.servers
            .iter()
            .filter(gone)
            .map(|server| server.name.clone()),
    );
    changes
}

/// The configuration to run with: the new one, in which the keys that wait for a restart keep the
/// value they run with.
#[must_use]
pub fn merge(old: &Configuration, new: &Configuration) -> Configuration {
    let mut merged = new.clone();
    for key in main_keys().filter(|key| needs_restart(key, &old.main, &new.main)) {
        if let Some(place) = &key.place {
            (place.set)(&mut merged.main, &(place.get)(&old.main));
        }
    }
    merged
}

/// Whether a key's new value waits for a restart.
fn needs_restart(key: &Key<Main>, old: &Main, new: &Main) -> bool {
    // TLS that stays on needs the files it came with, which the new file may no longer name.
    let with_tls =
        key.name.starts_with("tls_") && (old.tls != new.tls || old.management != new.management);
    key.effect == Effect::Restart || with_tls
}

fn compare_server(old: &Server, new: &Server) -> Option<ServerChange> {
    let changes: Vec<_> = server_keys()
        .filter_map(|key| compare_key(key, old, new))
        .collect();
    (!changes.is_empty()).then(|| ServerChange {
        name: new.name.clone(),
        changes,
    })
}

fn compare_key<S>(key: &Key<S>, old: &S, new: &S) -> Option<KeyChange> {
    let place = key.place.as_ref()?;
    let (old, new) = ((place.get)(old), (place.get)(new));
    (old != new).then(|| KeyChange {
        key: key.name.to_owned(),
        old: old.to_string(),
        new: new.to_string(),
    })
}
