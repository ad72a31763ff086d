//! The labels that a target may add, and those that are others' to set.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::{Catalog, ColumnKind};

/// Labels that samples have beside those of the catalogue.
pub(crate) const OWN_LABELS: [&str; 10] = [
    "server",
    "database",
    "le",
    "quantile",
    "version",
    "minor_version",
    "extension",
    "comment",
    "reason",
    "collector",
];

/// The label with the target's namespace, which is ours to set.
pub(crate) const NAMESPACE: &str = "namespace";

/// Labels that Prometheus and its operator set, and that tell whose series a series is. With
/// `honorLabels` Prometheus would take them from a scrape.
pub(crate) const PROMETHEUS_LABELS: [&str; 12] = [
    "job",
    "instance",
    NAMESPACE,
    "pod",
    "container",
    "service",
    "endpoint",
    "prometheus",
    "prometheus_replica",
    "cluster",
    "alertname",
    "alertstate",
];

/// Names that begin so are Prometheus' own as well.
pub(crate) const PROMETHEUS_PREFIXES: [&str; 2] = ["__", "exported_"];

/// Whether Prometheus or its operator set a label of that name.
pub(crate) fn is_of_prometheus(name: &str) -> bool {
    PROMETHEUS_LABELS.contains(&name)
        || PROMETHEUS_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The names of labels that the columns of a catalogue define.
pub(crate) fn labels_of(catalog: &Catalog) -> BTreeSet<String> {
    let queries = catalog.metrics.iter().flat_map(|metric| &metric.queries);
    queries
        .flat_map(|query| &query.columns)
        .filter(|column| column.kind == ColumnKind::Label)
        .map(|column| column.name.clone())
        .collect()
}

/// The labels of the catalogue that was used last, computed once for each catalogue.
#[derive(Default)]
pub(crate) struct CatalogLabels(Option<(Arc<Catalog>, Arc<BTreeSet<String>>)>);

impl CatalogLabels {
    /// The names that the catalogue uses for labels.
    pub(crate) fn labels(&mut self, catalog: &Arc<Catalog>) -> Arc<BTreeSet<String>> {
        let known = self.0.take().filter(|(of, _)| Arc::ptr_eq(of, catalog));
        let new = || (Arc::clone(catalog), Arc::new(labels_of(catalog)));
        Arc::clone(&self.0.insert(known.unwrap_or_else(new)).1)
    }
}

/// Why a target may not set a label of that name.
pub(crate) fn find_label_problem(name: &str, taken: &BTreeSet<String>) -> Option<&'static str> {
    let first = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !first || !plain {
        Some("has letters, digits and _ only, and begins with no digit")
    } else if is_of_prometheus(name) {
        Some("is set by Prometheus or for it; choose another name")
    } else if taken.contains(name) || OWN_LABELS.contains(&name) {
        Some("is set by the exporter itself; choose another name")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_sets_and_what_we_set_is_no_tenants() {
        let taken = BTreeSet::from(["datname".to_owned()]);
        for name in [
            "job",
            "namespace",
            "exported_job",
            "__x",
            "server",
            "datname",
            "1a",
            "",
            "a-b",
        ] {
            assert!(find_label_problem(name, &taken).is_some(), "{name}");
        }
        for name in ["team", "environment", "jobs", "_x"] {
            assert_eq!(find_label_problem(name, &taken), None, "{name}");
        }
    }
}
