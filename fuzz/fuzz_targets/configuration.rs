//! `pgexporter.conf`, and values that `conf set` may bring.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pgexporter::config::{compare, get, merge, parse_bytes, set, values};

fuzz_target!(|bytes: &[u8]| {
    let loaded = match parse_bytes(Path::new("pgexporter.conf"), bytes) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(errors.to_string().contains("pgexporter.conf"));
            return;
        }
    };
    let configuration = loaded.configuration;
    assert!(compare(&configuration, &configuration).is_empty());
    let same = merge(&configuration, &configuration);
    assert!(compare(&configuration, &same).is_empty());
    let values = values(&configuration);
    for (key, value) in &values {
        assert_eq!(get(&configuration, key).as_ref(), Some(value), "{key}");
    }
    // The value of one key for another, which is mostly wrong.
    for pair in values.windows(2).take(1) {
        let _ = set(&configuration, &pair[0].0, &pair[1].1);
    }
});
