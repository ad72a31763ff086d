//! Definitions of one tag that stand in several places: two of them that run on one server would
//! give each of their samples twice.

use std::collections::{BTreeMap, HashMap};

use super::error::CatalogError;
use super::metric::{Metric, Side, Version};
use super::parse::Parsed;

/// Joins definitions of one tag that differ in the versions of their queries alone. Those that no
/// server runs both stay as they are.
///
/// # Errors
/// Two definitions of one tag contradict each other.
pub(super) fn join_tags(parsed: Vec<Parsed>) -> Result<Vec<Parsed>, CatalogError> {
    let mut joined: Vec<Parsed> = Vec::with_capacity(parsed.len());
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    // Which file a query that was joined came from.
    let mut files: BTreeMap<(usize, Version), String> = BTreeMap::new();
    'next: for one in parsed {
        let same = places.entry(one.metric.tag.clone()).or_default();
        for at in same.iter() {
            let before = &mut joined[*at];
            if never_meet(&before.metric, &one.metric) {
                continue;
            }
            let Some((why, version)) = differs(&before.metric, &one.metric) else {
                for query in &one.metric.queries {
                    let file = one.metric.source.file.clone();
                    files.insert((*at, query.version.clone()), file);
                }
                join_into(before, one)?;
                continue 'next;
            };
            let joined = version.and_then(|version| files.remove(&(*at, version)));
            return Err(CatalogError::Twice {
                tag: one.metric.tag,
                first: joined.unwrap_or_else(|| before.metric.source.file.clone()),
                second: one.metric.source.file,
                why,
            });
        }
        same.push(joined.len());
        joined.push(one);
    }
    Ok(joined)
}

/// Whether there is no server that runs both.
fn never_meet(one: &Metric, other: &Metric) -> bool {
    let sides = matches!(
        (one.side, other.side),
        (Side::Primary, Side::Replica) | (Side::Replica, Side::Primary)
    );
    let ends_before = |one: &Metric, other: &Metric| {
        let first = other.queries.first().map(|query| &query.version);
        let until = one.until.map(|until| Version(vec![until + 1]));
        until.is_some_and(|until| first.is_some_and(|first| until <= *first))
    };
    let server = one.extension.is_none() && other.extension.is_none();
    sides || (server && (ends_before(one, other) || ends_before(other, one)))
}

/// Why two definitions are not one, and the version that both have a query for. `None`: they differ
/// in the versions of their queries alone.
fn differs(one: &Metric, other: &Metric) -> Option<(String, Option<Version>)> {
    let keys = [
        ("extension", one.extension == other.extension),
        ("collector", one.collector == other.collector),
        ("server", one.side == other.side),
        ("database", one.scope == other.scope),
        ("optional", one.optional == other.optional),
        ("interval", one.interval == other.interval),
        ("timeout", one.timeout == other.timeout),
        ("until", one.until == other.until),
    ];
    if let Some((key, _)) = keys.iter().find(|(_, same)| !same) {
        return Some((format!("they differ in {key}"), None));
    }
    let both = one.queries.iter().find(|query| {
        let mut others = other.queries.iter();
        others.any(|other| other.version == query.version)
    })?;
    let why = format!("both have a query for version {}", both.version);
    Some((why, Some(both.version.clone())))
}

fn join_into(first: &mut Parsed, second: Parsed) -> Result<(), CatalogError> {
    let mut places = Vec::with_capacity(second.families.len());
    for family in second.families {
        match first
            .families
            .iter()
            .position(|one| one.name == family.name)
        {
            Some(at) if first.families[at].kind == family.kind => places.push(at),
            Some(at) => {
                return Err(CatalogError::Conflict {
                    family: family.name.clone(),
                    what: "types",
                    first: first.families[at].source.to_string(),
                    second: family.source.to_string(),
                });
            }
            None => {
                places.push(first.families.len());
                first.families.push(family);
            }
        }
    }
    for mut query in second.metric.queries {
        for column in &mut query.columns {
            if let Some(family) = column.kind.family_mut() {
                *family = places[*family];
            }
        }
        first.metric.queries.push(query);
    }
    let queries = &mut first.metric.queries;
    queries.sort_by(|a, b| a.version.cmp(&b.version));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::join::join;
    use super::super::metric::ColumnKind;
    use super::super::parse::parse;
    use super::*;

    fn read(files: &[&str]) -> Result<super::super::Catalog, CatalogError> {
        let mut all = Vec::new();
        for (at, text) in files.iter().enumerate() {
            all.extend(parse(&format!("{at}.yaml"), &format!("metrics: [{text}]"))?);
        }
        join(all)
    }

    #[test]
    fn definitions_of_one_tag_are_joined_or_refused_with_both_places() {
        let version = |version: &str, more: &str, columns: &str| {
            format!(
                "{{tag: t, {more} queries: [{{version: {version}, query: SELECT {version}, \
                 columns: [{columns}]}}]}}"
            )
        };
        let n = "{name: n, type: gauge}";
        let m = "{name: m, type: gauge}, {name: n, type: gauge}";
        let (old, new) = (version("13", "", n), version("16", "", m));
        let catalog = read(&[&new, &old]).unwrap();
        let [metric] = &catalog.metrics[..] else {
            panic!("not one metric");
        };
        assert_eq!(&*metric.queries[0].sql, "SELECT 13");
        let family = |query: usize, column: usize| match metric.queries[query].columns[column].kind
        {
            ColumnKind::Value(at) => catalog.families[at].name.as_str(),
            _ => panic!("no value"),
        };
        assert_eq!(family(0, 0), "pgexporter_t_n");
        assert_eq!(family(1, 0), "pgexporter_t_m");
        assert_eq!(family(1, 1), "pgexporter_t_n");

        let apart = [
            version("13", "server: primary,", n),
            version("13", "server: replica,", n),
        ];
        assert_eq!(read(&[&apart[0], &apart[1]]).unwrap().metrics.len(), 2);
        let apart = [version("13", "until: 14,", n), version("15", "", n)];
        assert_eq!(read(&[&apart[0], &apart[1]]).unwrap().metrics.len(), 2);

        let counter = "{name: n, type: counter}";
        for (one, other, words) in [
            (&old, &old, "both have a query for version 13"),
            (
                &old,
                &version("16", "interval: 5m,", n),
                "they differ in interval",
            ),
            (
                &old,
                &version("16", "server: primary,", n),
                "they differ in server",
            ),
            (
                &old,
                &version("15", "until: 14,", n),
                "they differ in until",
            ),
            (&old, &version("16", "", counter), "types differ"),
        ] {
            let said = read(&[one, other]).unwrap_err().to_string();
            for words in [words, "0.yaml", "1.yaml"] {
                assert!(said.contains(words), "{said}: {words}");
            }
        }
    }

    #[test]
    fn a_family_may_not_be_called_as_a_histograms_samples_are() {
        let histogram = "{tag: h, query: SELECT 1, columns: [{name: x, type: histogram}]}";
        let gauge = "{tag: h_count, query: SELECT 1, columns: [{type: gauge}]}";
        let said = read(&[histogram, gauge]).unwrap_err().to_string();
        for words in ["pgexporter_h_count", "0.yaml, tag h", "1.yaml, tag h_count"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
