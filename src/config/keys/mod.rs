//! The keys of `pgexporter.conf` as data: the one source for reading, listing, comparing and
//! documenting them.

mod main;
mod reserved;
mod server;

use super::configuration::{Main, Server};
use super::value::{Value, ValueKind};

/// The name of the main section.
pub const MAIN_SECTION: &str = "pgexporter";

/// When a changed value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// After a reload.
    Reload,
    /// After a restart; a reload leaves the running value alone and says so.
    Restart,
}

/// Where an administrator must be to change a value of the running exporter (`conf set`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedFrom {
    /// On the exporter's machine, over its Unix socket. What names a file, a place that secrets
    /// are sent to, a user, TLS, or a right of Kubernetes; and every key that does not say
    /// otherwise.
    Machine,
    /// Over the management port too.
    Anywhere,
}

/// Whether the file must give a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Always.
    Yes,
    /// Unless the server's `type` is `prometheus`.
    ForPostgresql,
    /// Never.
    No,
}

/// A key of a section, whose values stand in an `S`.
#[derive(Debug)]
pub struct Key<S> {
    /// The word before the `=`.
    pub name: &'static str,
    /// What it takes.
    pub kind: ValueKind,
    /// The value without a line, as the file would have it; empty is none.
    pub default: &'static str,
    /// Whether it must be given.
    pub required: Required,
    /// When a changed value is used.
    pub effect: Effect,
    /// Where an administrator must be to change it.
    pub changed_from: ChangedFrom,
    /// Where it stands; `None` when it is read and checked, and has no effect yet.
    pub(super) place: Option<FieldAccess<S>>,
    /// What it means, in a sentence of Markdown.
    pub about: &'static str,
}

/// Reads and writes a key's field.
#[derive(Debug)]
pub(super) struct FieldAccess<S> {
    pub(super) get: fn(&S) -> Value,
    /// False when the value does not fit the field, which a test of the tables rules out.
    pub(super) set: fn(&mut S, &Value) -> bool,
}

impl<S> Key<S> {
    const fn new(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        effect: Effect,
        place: FieldAccess<S>,
        about: &'static str,
    ) -> Self {
        let required = Required::No;
        Self {
            name,
            kind,
            default,
            required,
            effect,
            changed_from: ChangedFrom::Machine,
            place: Some(place),
            about,
        }
    }

    /// A key that is read and checked, and has no effect yet.
    const fn reserved(
        name: &'static str,
        kind: ValueKind,
        default: &'static str,
        effect: Effect,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            required: Required::No,
            effect,
            changed_from: ChangedFrom::Machine,
            place: None,
            about,
        }
    }

    const fn required(mut self, required: Required) -> Self {
        self.required = required;
        self
    }

    /// A key that may be changed over the management port: it names no file, no place that secrets
    /// are sent to, no user, no TLS and no right of Kubernetes, and costs no server more than
    /// before.
    const fn anywhere(mut self) -> Self {
        self.changed_from = ChangedFrom::Anywhere;
        self
    }

    /// The default as a value.
    ///
    /// # Errors
    /// As [`ValueKind::parse`]; a test of the tables rules it out.
    pub fn default_value(&self) -> Result<Value, String> {
        match self.default {
            "" => Ok(Value::Unset),
            text => self.kind.parse(text),
        }
    }
}

/// A [`FieldAccess`] for a field of a section's type, by its name.
macro_rules! place {
    ($section:ty: $($field:ident).+) => {
        crate::config::keys::FieldAccess {
            get: |section: &$section| crate::config::field::Field::to_value(&section.$($field).+),
            set: |section, value| match crate::config::field::Field::from_value(value) {
                Some(value) => {
                    section.$($field).+ = value;
                    true
                }
                None => false,
            },
        }
    };
}
use place;

/// The keys of `[pgexporter]`: those that work, then those that have no effect yet.
pub fn main_keys() -> impl Iterator<Item = &'static Key<Main>> + Clone {
    main::KEYS.iter().chain(reserved::KEYS)
}

/// The keys of a server's section.
pub fn server_keys() -> impl Iterator<Item = &'static Key<Server>> + Clone {
    server::KEYS.iter()
}

/// Whether a key of any section is called so.
pub(super) fn is_key(name: &str) -> bool {
    main_keys().any(|key| key.name == name) || server_keys().any(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Debug;

    use super::*;
    use crate::config::read::{blank_main, blank_server};

    fn check<S: Clone + PartialEq + Debug + 'static>(
        keys: impl Iterator<Item = &'static Key<S>>,
        blank: &S,
    ) {
        let mut names = BTreeSet::new();
        for key in keys {
            assert!(names.insert(key.name), "{} stands twice", key.name);
            assert!(
                key.about.ends_with('.') && !key.about.contains('\n'),
                "{}",
                key.name
            );
            let default = key
                .default_value()
                .unwrap_or_else(|e| panic!("{}: {e}", key.name));
            if key.required != Required::No {
                assert_eq!(default, Value::Unset, "{}", key.name);
            }
            let Some(place) = &key.place else { continue };
            let mut values = vec![default];
            if let ValueKind::Word(words, others) = key.kind {
                let words = words.iter().chain(others.iter().map(|(other, _)| other));
                values = words.map(|word| key.kind.parse(word).unwrap()).collect();
            }
            for value in values.into_iter().filter(|value| *value != Value::Unset) {
                let mut section = blank.clone();
                assert!((place.set)(&mut section, &value), "{} {value:?}", key.name);
                assert_eq!((place.get)(&section), value, "{}", key.name);
            }
        }
    }

    #[test]
    fn every_key_stands_once_and_its_default_and_words_fit_its_field() {
        check(main_keys(), &blank_main());
        check(server_keys(), &blank_server("s"));
    }

    #[test]
    fn what_may_be_changed_from_afar_is_this_and_nothing_else() {
        fn names<S: 'static>(keys: impl Iterator<Item = &'static Key<S>>) -> Vec<&'static str> {
            keys.filter(|key| key.changed_from == ChangedFrom::Anywhere)
                .map(|key| key.name)
                .collect()
        }
        let main = "metrics_cache_max_age metrics_query_timeout openmetrics collectors \
            exclude_collectors collector_interval extensions cache lock_timeout blocking_timeout \
            authentication_timeout log_level keep_alive nodelay non_blocking backlog \
            update_process_title";
        assert_eq!(
            names(main_keys()),
            main.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(names(server_keys()), ["extensions"]);
    }

    /// The keys of the C program 0.9.
    const MAIN_OF_C: &str = "host unix_socket_dir metrics metrics_path metrics_cache_max_age \
        metrics_cache_max_size metrics_query_timeout history history_interval history_retention \
        history_backend history_path history_cert_file history_key_file history_ca_file bridge \
        bridge_endpoints bridge_cache_max_age bridge_cache_max_size bridge_json \
        bridge_json_cache_max_size bridge_history bridge_history_interval \
        bridge_history_retention bridge_history_backend bridge_history_path management cache \
        alerts alerts_path log_type log_level log_path log_rotation_age log_rotation_size \
        log_line_prefix log_mode blocking_timeout authentication_timeout tls tls_cert_file \
        tls_key_file tls_ca_file metrics_cert_file metrics_key_file metrics_ca_file ev_backend \
        keep_alive nodelay non_blocking backlog hugepage pidfile update_process_title extensions \
        collectors exclude_collectors console libev";
    const SERVER_OF_C: &str = "host port type user data_dir wal_dir tls tls_cert_file \
        tls_key_file tls_ca_file extensions";

    #[test]
    fn every_key_of_the_c_program_is_known() {
        for name in MAIN_OF_C.split_whitespace() {
            assert!(main_keys().any(|key| key.name == name), "{name}");
        }
        for name in SERVER_OF_C.split_whitespace() {
            assert!(server_keys().any(|key| key.name == name), "{name}");
        }
    }
}
