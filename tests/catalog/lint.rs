//! What `promtool check metrics` may say of an exposition: what the inherited names force, and
//! nothing else.

use std::collections::BTreeSet;

use super::support::{Samples, promtool_check};

/// The kinds of lint that inherited names force: dashboards stand on these names, and those of
/// `pgexporter_pg_settings_*` are the server's.
const FORCED: [&str; 8] = [
    "counter metrics should have \"_total\" suffix",
    "non-counter metrics should not have \"_total\" suffix",
    "non-histogram and non-summary metrics should not have \"_count\" suffix",
    "non-histogram and non-summary metrics should not have \"_sum\" suffix",
    "non-histogram metrics should not have \"_bucket\" suffix",
    "non-histogram metrics should not have \"le\" label",
    "metric names should not contain abbreviated units",
    "metric name should not include type 'summary'",
];

/// Families that nothing was inherited for, so that nothing is forced.
const NEW: [&str; 5] = [
    "pgexporter_postgresql_connections_total ",
    "pgexporter_postgresql_denied ",
    "pgexporter_postgresql_duplicate_samples_total ",
    "pgexporter_postgresql_failures_total ",
    "pgexporter_postgresql_scrape_duration_seconds ",
];

/// Fails the test when the body does not parse, holds a sample twice, or has lint of its own.
#[track_caller]
pub(crate) fn assert_clean(body: &str) {
    let strange: Vec<String> = assert_parses(body)
        .into_iter()
        .filter(|line| {
            !FORCED.iter().any(|kind| line.ends_with(kind))
                || NEW.iter().any(|name| line.starts_with(name))
        })
        .collect();
    assert!(strange.is_empty(), "lint of our own: {strange:#?}");
}

/// Fails the test when the body does not parse or holds a sample twice. Returns the lint: a user's
/// own metrics are called as their user wants.
#[track_caller]
pub(crate) fn assert_parses(body: &str) -> Vec<String> {
    let lint = match promtool_check(body) {
        Ok(lint) => lint,
        Err(said) => panic!("promtool cannot parse it: {said}"),
    };
    let samples = Samples::parse(body);
    let mut seen = BTreeSet::new();
    for sample in &samples.samples {
        let labels: Vec<_> = sample.labels.iter().collect();
        assert!(
            seen.insert((sample.name.as_str(), labels)),
            "twice: {sample:?}"
        );
    }
    lint
}
