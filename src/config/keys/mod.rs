//! The keys of `pgexporter.conf` as data: the one source for reading, listing, comparing and
//! documenting them.

mod key;
mod main;
mod reserved;
mod server;

use super::configuration::{Main, Server};
pub use key::{ChangedFrom, Effect, Key, Required};

/// The name of the main section.
pub const MAIN_SECTION: &str = "pgexporter";

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
    use crate::config::value::{Value, ValueKind};

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
        check(main_keys(), &Main::default());
        check(server_keys(), &Server::default());
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
