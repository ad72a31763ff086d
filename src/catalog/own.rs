//! Metrics that one target has beside those of the catalogue. Whoever writes them may be somebody
//! else than who runs the exporter: they must not spoil what others are served.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::error::CatalogError;
use super::join::{claims, join, not_reserved};
use super::metric::{Catalog, ColumnKind, Family};
use super::parse::{Parsed, parse};

/// Metrics of one target, read and checked.
#[derive(Debug)]
pub struct OwnMetrics {
    /// Of what they were made of: two of the same texts are the same. The texts are not kept.
    digest: [u8; 32],
    cap: Duration,
    catalog: Catalog,
    /// The names of samples, each with the index of its family.
    claims: Vec<(String, usize)>,
}

impl PartialEq for OwnMetrics {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.cap == other.cap
    }
}

/// The most bytes that the texts of a target may have together.
const BYTES: usize = 1024 * 1024;
/// The most families that a target may bring.
const MOST: usize = 500;

impl OwnMetrics {
    /// Reads texts, each with the name that messages call it by; JSON where that ends in `.json`.
    /// No query may run longer than `cap`.
    ///
    /// # Errors
    /// What is wrong with a text, or that it names a family that is the exporter's own.
    pub fn parse(sources: Vec<(String, String)>, cap: Duration) -> Result<Self, CatalogError> {
        let bytes: usize = sources.iter().map(|(_, text)| text.len()).sum();
        if bytes > BYTES {
            let file = sources.first().map(|(name, _)| name.clone());
            return Err(CatalogError::Invalid {
                file: file.unwrap_or_default(),
                message: format!(
                    "the metrics of the target have {bytes} bytes together, and may have {BYTES}; \
                     leave some out"
                ),
            });
        }
        let mut parsed: Vec<Parsed> = Vec::new();
        for (name, text) in &sources {
            parsed.extend(parse(name, text)?);
        }
        for one in &mut parsed {
            one.metric.timeout = one.metric.timeout.map(|timeout| timeout.min(cap));
            not_reserved(one)?;
        }
        let catalog = join(parsed)?;
        if catalog.families.len() > MOST {
            let file = sources.first().map(|(name, _)| name.clone());
            return Err(CatalogError::Invalid {
                file: file.unwrap_or_default(),
                message: format!(
                    "there are {} families, and a target may bring {MOST}; leave some out",
                    catalog.families.len()
                ),
            });
        }
        let families = catalog.families.iter().enumerate();
        let claims = families
            .flat_map(|(at, family)| {
                let names = claims(&family.name, family.kind);
                names.into_iter().map(move |name| (name, at))
            })
            .collect();
        Ok(Self {
            digest: digest(&sources),
            cap,
            catalog,
            claims,
        })
    }

    /// The families that they bring.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.catalog.families.iter().map(Arc::as_ref)
    }

    /// All names that their samples have in either format, each with its family.
    pub fn claims(&self) -> impl Iterator<Item = (&str, &Family)> {
        let claims = self.claims.iter();
        claims.map(|(name, at)| (name.as_str(), &*self.catalog.families[*at]))
    }

    /// The names that their queries give to labels.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let queries = self.catalog.metrics.iter().flat_map(|one| &one.queries);
        queries
            .flat_map(|query| &query.columns)
            .filter(|column| column.kind == ColumnKind::Label)
            .map(|column| column.name.as_str())
    }

    /// The catalogue with these metrics over it. A tag of theirs replaces the one of that name.
    ///
    /// # Errors
    /// A family contradicts one of the catalogue.
    pub fn over(&self, base: &Arc<Catalog>) -> Result<Catalog, CatalogError> {
        let own = &self.catalog;
        let mut taken: HashMap<String, &Family> = HashMap::new();
        for family in &base.families {
            for name in claims(&family.name, family.kind) {
                taken.insert(name, family);
            }
        }
        let mut families = base.families.clone();
        let mut at = Vec::with_capacity(own.families.len());
        for family in &own.families {
            if let Some(known) = base.family(&family.name) {
                let known = &base.families[known];
                if known.kind != family.kind {
                    return Err(CatalogError::Conflict {
                        family: family.name.clone(),
                        what: "types",
                        first: known.source.to_string(),
                        second: family.source.to_string(),
                    });
                }
            } else if let Some((name, known)) = claims(&family.name, family.kind)
                .into_iter()
                .find_map(|name| taken.get(&name).copied().map(|known| (name, known)))
            {
                return Err(CatalogError::SharedName {
                    name,
                    first: known.source.to_string(),
                    second: family.source.to_string(),
                });
            }
            at.push(base.family(&family.name).unwrap_or_else(|| {
                families.push(Arc::clone(family));
                families.len() - 1
            }));
        }
        let replaced: BTreeSet<&str> = own.metrics.iter().map(|one| one.tag.as_str()).collect();
        let kept = |tag: &str| !replaced.contains(tag);
        let mut metrics: Vec<_> = base
            .metrics
            .iter()
            .filter(|one| kept(&one.tag))
            .cloned()
            .collect();
        for metric in &own.metrics {
            let mut metric = metric.as_ref().clone();
            let columns = metric
                .queries
                .iter_mut()
                .flat_map(|query| &mut query.columns);
            for column in columns {
                if let ColumnKind::Value(family) | ColumnKind::HistogramBounds(family) =
                    &mut column.kind
                {
                    *family = at[*family];
                }
            }
            metrics.push(Arc::new(metric));
        }
        Ok(Catalog {
            metrics,
            families,
            base: Some(Arc::clone(base)),
        })
    }
}

fn digest(sources: &[(String, String)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in sources.iter().flat_map(|(name, text)| [name, text]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(10);

    fn text(tag: &str, kind: &str, label: &str) -> String {
        format!(
            "version: 13\nmetrics:\n  - tag: {tag}\n    timeout: 1h\n    queries:\n      - query: \
             SELECT a, b FROM t\n        columns: [{{name: {label}, type: label}}, {{name: n, \
             type: {kind}}}]\n"
        )
    }

    fn own(tag: &str, kind: &str) -> Result<OwnMetrics, CatalogError> {
        OwnMetrics::parse(
            vec![("key q of ConfigMap m".to_owned(), text(tag, kind, "a"))],
            CAP,
        )
    }

    #[test]
    fn they_come_over_the_catalogue_whose_indexes_stay() {
        let base = Arc::new(super::super::load(&[]).unwrap());
        let own = own("orders", "gauge").unwrap();
        let over = own.over(&base).unwrap();
        assert_eq!(over.metrics.len(), base.metrics.len() + 1);
        for (at, family) in base.families.iter().enumerate() {
            assert_eq!(over.family(&family.name), Some(at));
        }
        let at = over.family("pgexporter_orders_n").unwrap();
        let metric = over.metrics.last().unwrap();
        assert_eq!(metric.queries[0].columns[1].kind, ColumnKind::Value(at));
        assert_eq!(metric.timeout, Some(CAP));
        assert_eq!(own.labels().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn they_may_not_contradict_the_exporter_or_its_catalogue() {
        let base = Arc::new(super::super::load(&[]).unwrap());
        let refused = |tag: &str, kind: &str| {
            let error = own(tag, kind).and_then(|own| own.over(&base).map(|_| ()));
            error.err().map(|error| error.to_string())
        };
        let says = |tag: &str, kind: &str, words: &str| {
            let said = refused(tag, kind).unwrap_or_default();
            assert!(said.contains(words), "{tag} {kind}: {said:?}");
        };
        says("pg_settings", "gauge", "exporter's own");
        says("kubernetes", "gauge", "exporter's own");
        // pgexporter_postgresql_n is free, the one below is not.
        assert_eq!(refused("postgresql", "gauge"), None);
        let active = text("postgresql", "gauge", "a").replace("name: n", "name: active");
        let said = OwnMetrics::parse(vec![(String::new(), active)], CAP).unwrap_err();
        assert!(said.to_string().contains("exporter's own"), "{said}");
        let size = text("pg", "counter", "a").replace("name: n", "name: database_size");
        let own = OwnMetrics::parse(vec![(String::new(), size)], CAP).unwrap();
        let said = own.over(&base).unwrap_err().to_string();
        assert!(said.contains("types differ"), "{said}");
    }
}
