//! Joins definitions to a catalogue, and refuses those that contradict each other or the exporter.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::CatalogError;
use super::metric::{Catalog, ColumnKind, Family, Query};
use super::parse::Parsed;
use super::tags::join_tags;
use crate::model::Kind;

/// Refuses a family of the exporter's own name, or one with such samples.
pub(super) fn not_reserved(one: &Parsed) -> Result<(), CatalogError> {
    let reserved = |family: &&Family| {
        claims(&family.name, family.kind)
            .iter()
            .any(|name| is_reserved(name))
    };
    let Some(family) = one.families.iter().find(reserved) else {
        return Ok(());
    };
    Err(CatalogError::Invalid {
        file: one.metric.source.file.clone(),
        message: format!(
            "tag {}: the family {} is the exporter's own; choose another tag",
            one.metric.tag, family.name
        ),
    })
}

/// Gives every family its index, and refuses definitions that contradict each other.
pub(super) fn join(parsed: Vec<Parsed>) -> Result<Catalog, CatalogError> {
    let parsed = join_tags(parsed)?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut labels: HashMap<String, (Vec<String>, String)> = HashMap::new();
    for Parsed {
        metric,
        families: own,
    } in &parsed
    {
        for family in own {
            match families.get(&family.name) {
                Some(first) if first.kind != family.kind => {
                    return Err(conflict(first, family, "types"));
                }
                Some(_) => {}
                None => {
                    families.insert(family.name.clone(), family.clone());
                }
            }
        }
        // Alternatives of one metric never run on the same server, so their labels may differ.
        for query in &metric.queries {
            let names: Vec<String> = query
                .columns
                .iter()
                .filter(|column| column.kind == ColumnKind::Label)
                .map(|column| column.name.clone())
                .collect();
            for at in values(query) {
                let family = &own[at];
                match labels.get(&family.name) {
                    Some((first, tag)) if *first != names && *tag != metric.tag => {
                        return Err(conflict(&families[&family.name], family, "label names"));
                    }
                    Some(_) => {}
                    None => {
                        labels.insert(family.name.clone(), (names.clone(), metric.tag.clone()));
                    }
                }
            }
        }
    }
    no_shared_samples(&families)?;
    let families: Vec<Arc<Family>> = families.into_values().map(Arc::new).collect();
    let index: HashMap<&str, usize> = families
        .iter()
        .enumerate()
        .map(|(at, family)| (family.name.as_str(), at))
        .collect();
    let metrics = parsed
        .into_iter()
        .map(
            |Parsed {
                 mut metric,
                 families: own,
             }| {
                for query in &mut metric.queries {
                    for column in &mut query.columns {
                        match &mut column.kind {
                            ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => {
                                *at = index[own[*at].name.as_str()];
                            }
                            _ => {}
                        }
                    }
                }
                Arc::new(metric)
            },
        )
        .collect();
    Ok(Catalog {
        metrics,
        families,
        base: None,
    })
}

/// Refuses a family that is called as the samples of a histogram are.
fn no_shared_samples(families: &BTreeMap<String, Family>) -> Result<(), CatalogError> {
    for family in families.values().filter(|one| one.kind == Kind::Histogram) {
        for name in claims(&family.name, family.kind) {
            if let Some(other) = families.get(&name).filter(|one| one.name != family.name) {
                return Err(CatalogError::SharedName {
                    name,
                    first: family.source.to_string(),
                    second: other.source.to_string(),
                });
            }
        }
    }
    Ok(())
}

fn values(query: &Query) -> impl Iterator<Item = usize> {
    query.columns.iter().filter_map(|column| match column.kind {
        ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => Some(at),
        _ => None,
    })
}

fn conflict(first: &Family, second: &Family, what: &'static str) -> CatalogError {
    CatalogError::Conflict {
        family: first.name.clone(),
        what,
        first: first.source.to_string(),
        second: second.source.to_string(),
    }
}

/// All names that a family's samples have in either format. Where two families share one, a scrape
/// of either is no longer sound.
#[must_use]
pub fn claims(name: &str, kind: Kind) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    match kind {
        Kind::Gauge | Kind::Unknown => {}
        Kind::Counter => names.extend(name.strip_suffix("_total").map(str::to_owned)),
        Kind::Histogram => {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
    }
    names
}

/// Families of the exporter that stand in no catalogue.
const RESERVED: [&str; 25] = [
    "pgexporter_task_panics_total",
    "pgexporter_state",
    "pgexporter_version",
    "pgexporter_logging_info",
    "pgexporter_logging_warn",
    "pgexporter_logging_error",
    "pgexporter_logging_fatal",
    "pgexporter_connections_displaced_total",
    "pgexporter_query_executions_total",
    "pgexporter_query_errors_total",
    "pgexporter_query_timeouts_total",
    "pgexporter_postgresql_active",
    "pgexporter_postgresql_version",
    "pgexporter_postgresql_uptime",
    "pgexporter_postgresql_extension_info",
    "pgexporter_postgresql_failures_total",
    "pgexporter_postgresql_connections_total",
    "pgexporter_postgresql_scrape_duration_seconds",
    "pgexporter_postgresql_denied",
    "pgexporter_postgresql_left_out",
    "pgexporter_postgresql_query_failures_total",
    "pgexporter_postgresql_database_missing",
    "pgexporter_postgresql_duplicate_samples_total",
    "pgexporter_postgresql_not_accepted",
    "pgexporter_postgresql_limit_exceeded_total",
];

/// Whether a family of this name is the exporter's own, and so no catalogue's to bring.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
        || name.starts_with("pgexporter_pg_settings_")
        || name.starts_with("pgexporter_kubernetes_")
}
