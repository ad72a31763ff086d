//! Metrics of one's own, in YAML and in JSON, over the built-in ones.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pgexporter::catalog::{Catalog, Choice, OwnMetrics, load};
use pgexporter::model::{Role, ServerVersion};

static BUILT_IN: LazyLock<Arc<Catalog>> =
    LazyLock::new(|| Arc::new(load(&[]).expect("they are right")));

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let json = text.trim_start().starts_with('{');
    let name = if json { "own.json" } else { "own.yaml" };
    let source = vec![(name.to_owned(), text.to_owned())];
    let own = match OwnMetrics::parse(source, Duration::from_secs(10)) {
        Ok(own) => own,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let _ = (own.families().count(), own.labels().count());
    let Ok(catalog) = own.over(&BUILT_IN) else {
        return;
    };
    for role in [Role::Primary, Role::Replica] {
        let choice = Choice {
            version: ServerVersion(170_006),
            role,
            extensions: &[],
            include: &[],
            exclude: &[],
            wanted_extensions: None,
        };
        for chosen in catalog.choose(choice) {
            assert!(!chosen.query().columns.is_empty());
        }
    }
});
