//! One file: text in, checked metrics out.

use std::time::Duration;

use super::bounds;
use super::error::CatalogError;
use super::explain::{explain_json, explain_yaml};
use super::metric::{Column, ColumnKind, Family, Metric, Query, Scope, Side, Source, Version};
use super::raw::{RawColumn, RawFile, RawKind, RawMetric, RawQuery, RawScope, RawSide, RawVersion};
use crate::model::{Kind, OLDEST_MAJOR};

/// The most columns of a query (PostgreSQL, "Limits").
const COLUMNS: usize = 1_664;
/// The most queries of a metric: one for each version that it differs in.
const QUERIES: usize = 64;

/// A metric whose columns still refer to `families` beside it.
pub(super) struct Parsed {
    pub metric: Metric,
    pub families: Vec<Family>,
}

/// Reads one file. JSON when the name ends in `.json`, YAML otherwise; the older form, a bare
/// sequence of metrics, in both.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Parsed>, CatalogError> {
    let raw = read(file, text)?;
    let place = |tag: &str| MetricPosition {
        file,
        text,
        tag: tag.to_owned(),
    };
    let extension = raw.extension.clone();
    raw.metrics
        .into_iter()
        .map(|metric| {
            let place = place(&metric.tag);
            checked(metric, raw.version.as_ref(), extension.clone(), &place)
        })
        .collect()
}

fn read(file: &str, text: &str) -> Result<RawFile, CatalogError> {
    let invalid = |message: String| CatalogError::Invalid {
        file: file.to_owned(),
        message,
    };
    let is_json = file.ends_with(".json");
    let bounded = match is_json {
        true => bounds::check_length(text),
        // A test reads ours.
        false if file.starts_with(super::builtin::PREFIX) => Ok(()),
        false => bounds::check_yaml(text),
    };
    bounded.map_err(invalid)?;
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#') && *line != "---")
        .ok_or_else(|| invalid("is empty; a metric needs tag, query and columns".to_owned()))?;
    let bare = first.starts_with('-') || first.starts_with('[');
    let whole = |metrics| RawFile {
        version: None,
        extension: None,
        metrics,
    };
    if is_json {
        let read = if bare {
            serde_json::from_str(text).map(whole)
        } else {
            serde_json::from_str(text)
        };
        return read.map_err(|error| invalid(explain_json(&error)));
    }
    let read = if bare {
        serde_yaml::from_str(text).map(whole)
    } else {
        serde_yaml::from_str(text)
    };
    read.map_err(|error| invalid(explain_yaml(&error)))
}

/// Longer tags are not repeated in messages.
const LONGEST_TAG: usize = 100;

/// Where a metric stands, for messages.
struct MetricPosition<'a> {
    file: &'a str,
    text: &'a str,
    tag: String,
}

impl MetricPosition<'_> {
    fn invalid(&self, message: &str) -> CatalogError {
        // The reader of the format keeps no positions, so the line is found again by the tag.
        let line = self
            .text
            .lines()
            .position(|line| {
                line.contains("tag") && {
                    let value = line.rsplit(':').next().unwrap_or_default();
                    value.trim().trim_end_matches(',').trim_matches(['"', '\'']) == self.tag
                }
            })
            .map(|at| format!("line {}: ", at + 1))
            .unwrap_or_default();
        // What cannot be a tag may be anything, and is not shown.
        let tag = match is_name(&self.tag) && self.tag.len() <= LONGEST_TAG {
            true => format!("tag {}: ", self.tag),
            false => String::new(),
        };
        CatalogError::Invalid {
            file: self.file.to_owned(),
            message: format!("{line}{tag}{message}"),
        }
    }
}

fn checked(
    raw: RawMetric,
    default: Option<&RawVersion>,
    extension: Option<String>,
    place: &MetricPosition<'_>,
) -> Result<Parsed, CatalogError> {
    if !is_name(&raw.tag) {
        return Err(place.invalid("tag: letters, digits and _ are allowed"));
    }
    let source = Source {
        file: place.file.to_owned(),
        tag: raw.tag.clone(),
    };
    let collector = raw.collector.clone().unwrap_or_else(|| raw.tag.clone());
    let mut raws = raw.queries;
    match (raw.query, raws.is_empty()) {
        (Some(query), true) => raws.push(RawQuery {
            version: raw.version.clone(),
            query,
            columns: raw.columns,
            _is_histogram: false,
        }),
        (None, false) if raw.columns.is_empty() => {}
        (None, true) => return Err(place.invalid("query is missing; give query or queries")),
        _ => return Err(place.invalid("give either query and columns, or queries")),
    }
    if raws.len() > QUERIES {
        return Err(place.invalid(&format!(
            "{} queries are too many; a metric may have {QUERIES}, one for each version",
            raws.len()
        )));
    }
    let mut families = Families {
        tag: &raw.tag,
        unit: raw.unit,
        collector: &collector,
        source: &source,
        all: Vec::new(),
    };
    let mut queries = Vec::with_capacity(raws.len());
    for query in raws {
        let version = query
            .version
            .as_ref()
            .or(default)
            .map_or_else(|| OLDEST_MAJOR.to_string(), RawVersion::text);
        let version = Version::parse(&version)
            .ok_or_else(|| place.invalid("version: allowed are 13 or \"1.4\""))?;
        let sql = query.query.trim().trim_end_matches(';').trim_end();
        if sql.is_empty() {
            return Err(place.invalid("query is empty"));
        }
        let columns = families.columns(&query.columns, place)?;
        queries.push(Query {
            version,
            sql: sql.into(),
            columns,
        });
    }
    queries.sort_by(|a, b| a.version.cmp(&b.version));
    if let Some(pair) = queries
        .windows(2)
        .find(|pair| pair[0].version == pair[1].version)
    {
        return Err(place.invalid(&format!("version {} is given twice", pair[0].version)));
    }
    let families = families.all;
    let metric = Metric {
        collector,
        side: match raw.server {
            RawSide::Both => Side::Both,
            RawSide::Primary => Side::Primary,
            RawSide::Replica => Side::Replica,
        },
        scope: match raw.database {
            Some(RawScope::All) => Scope::All,
            None => Scope::Own,
        },
        optional: raw.optional,
        interval: duration(raw.interval.as_deref(), "interval", place)?,
        timeout: duration(raw.timeout.as_deref(), "timeout", place)?,
        requires: raw.requires,
        bound: raw.bound,
        extension,
        builtin: place.file.starts_with(super::builtin::PREFIX),
        until: raw.until,
        queries,
        source,
        tag: raw.tag,
    };
    let _ = raw.sort;
    Ok(Parsed { metric, families })
}

struct Families<'a> {
    tag: &'a str,
    unit: Option<String>,
    collector: &'a str,
    source: &'a Source,
    all: Vec<Family>,
}

impl Families<'_> {
    fn columns(
        &mut self,
        raw: &[RawColumn],
        place: &MetricPosition<'_>,
    ) -> Result<Vec<Column>, CatalogError> {
        if raw.len() > COLUMNS {
            return Err(place.invalid(&format!(
                "a query has {} columns, and PostgreSQL returns no more than {COLUMNS}",
                raw.len()
            )));
        }
        let mut columns: Vec<Column> = Vec::with_capacity(raw.len());
        let mut any = false;
        for (index, column) in raw.iter().enumerate() {
            let name = column.name.clone().unwrap_or_default();
            if !name.is_empty() && !is_name(&name) {
                return Err(place.invalid(&format!(
                    "column {}: letters, digits and _ are allowed, and no digit first",
                    index + 1
                )));
            }
            let kind = match column.kind {
                RawKind::Label => {
                    self.label(&name, &columns, place)?;
                    columns.push(Column {
                        name,
                        kind: ColumnKind::Label,
                    });
                    continue;
                }
                RawKind::Gauge => Kind::Gauge,
                RawKind::Counter => Kind::Counter,
                RawKind::Histogram => Kind::Histogram,
                RawKind::GaugeHistogram => {
                    any = true;
                    self.snapshot(&name, column, &mut columns, place)?;
                    continue;
                }
            };
            any = true;
            let at = self.family(&name, kind, column, place)?;
            if columns.iter().any(|have| matches!(have.kind, ColumnKind::Value(one) | ColumnKind::HistogramBounds(one) if one == at)) {
                return Err(place.invalid(&format!("column {name} is given twice")));
            }
            if kind == Kind::Histogram {
                for (suffix, kind) in [
                    ("", ColumnKind::HistogramBounds(at)),
                    ("_bucket", ColumnKind::HistogramBuckets),
                    ("_sum", ColumnKind::HistogramSum),
                    ("_count", ColumnKind::HistogramCount),
                ] {
                    columns.push(Column {
                        name: format!("{name}{suffix}"),
                        kind,
                    });
                }
            } else {
                columns.push(Column {
                    name,
                    kind: ColumnKind::Value(at),
                });
            }
        }
        if !any {
            return Err(place
                .invalid("columns: at least one of type gauge, counter or histogram is needed"));
        }
        Ok(columns)
    }

    /// A histogram of what is at present, which falls. Text format 0.0.4 has no type for it, and
    /// OpenMetrics' `gaugehistogram` would call its samples `_gsum` and `_gcount`. So it is three
    /// families of gauges, whose samples have the names of a histogram's.
    fn snapshot(
        &mut self,
        name: &str,
        raw: &RawColumn,
        columns: &mut Vec<Column>,
        place: &MetricPosition<'_>,
    ) -> Result<(), CatalogError> {
        let mut at = [0; 3];
        for (at, (suffix, what)) in at.iter_mut().zip([
            ("_bucket", "Number of those that are not above the bound."),
            ("_sum", "Sum of all."),
            ("_count", "Number of all."),
        ]) {
            let about = raw.description.as_deref().unwrap_or_default().trim();
            let column = RawColumn {
                name: None,
                kind: RawKind::Gauge,
                description: Some(format!("{about} {what}").trim().to_owned()),
                unit: raw.unit.clone(),
            };
            let family = format!("pgexporter_{}{suffix}", self.tag);
            *at = self.named(family, Kind::Gauge, &column, place)?;
        }
        let [buckets, sum, count] = at;
        for (suffix, kind) in [
            ("", ColumnKind::HistogramBounds(buckets)),
            ("_bucket", ColumnKind::HistogramBuckets),
            ("_sum", ColumnKind::Value(sum)),
            ("_count", ColumnKind::Value(count)),
        ] {
            columns.push(Column {
                name: format!("{name}{suffix}"),
                kind,
            });
        }
        Ok(())
    }

    fn label(
        &self,
        name: &str,
        before: &[Column],
        place: &MetricPosition<'_>,
    ) -> Result<(), CatalogError> {
        if name.is_empty() {
            return Err(place.invalid("a column of type label needs a name"));
        }
        if matches!(name, "server" | "le" | "quantile") || name.starts_with("__") {
            return Err(place.invalid(&format!(
                "label {name} is the exporter's own; rename the column"
            )));
        }
        if before
            .iter()
            .any(|column| column.kind == ColumnKind::Label && column.name == name)
        {
            return Err(place.invalid(&format!("label {name} is given twice")));
        }
        Ok(())
    }

    fn family(
        &mut self,
        column: &str,
        kind: Kind,
        raw: &RawColumn,
        place: &MetricPosition<'_>,
    ) -> Result<usize, CatalogError> {
        // A histogram's column only tells its four result columns apart.
        let name = if column.is_empty() || kind == Kind::Histogram {
            format!("pgexporter_{}", self.tag)
        } else {
            format!("pgexporter_{}_{column}", self.tag)
        };
        self.named(name, kind, raw, place)
    }

    /// The index of a family of that name.
    fn named(
        &mut self,
        name: String,
        kind: Kind,
        raw: &RawColumn,
        place: &MetricPosition<'_>,
    ) -> Result<usize, CatalogError> {
        let unit = raw.unit.as_ref().or(self.unit.as_ref());
        let help = match (&raw.description, unit) {
            (Some(help), Some(unit)) => format!("{} ({unit})", help.trim()),
            (Some(help), None) => help.trim().to_owned(),
            (None, Some(unit)) => format!("{name} ({unit})"),
            (None, None) => name.clone(),
        };
        if let Some(at) = self.all.iter().position(|family| family.name == name) {
            if self.all[at].kind != kind {
                return Err(place.invalid(&format!(
                    "family {name} is a {} in one query and a {} in another",
                    self.all[at].kind.as_str(),
                    kind.as_str()
                )));
            }
            return Ok(at);
        }
        self.all.push(Family {
            name,
            kind,
            help,
            collector: self.collector.to_owned(),
            source: self.source.clone(),
        });
        Ok(self.all.len() - 1)
    }
}

/// Names of families and labels, without the colon that recording rules use.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn duration(
    text: Option<&str>,
    key: &str,
    place: &MetricPosition<'_>,
) -> Result<Option<Duration>, CatalogError> {
    let Some(text) = text else { return Ok(None) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    match (digits.parse::<u64>(), seconds) {
        (Ok(number), Some(seconds)) if number <= 1_000_000 => {
            Ok(Some(Duration::from_secs(number * seconds)))
        }
        _ => Err(place.invalid(&format!("{key}: allowed are 10s, 5m, 2h, 1d"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families(text: &str) -> Vec<(String, Kind)> {
        parse("a.yaml", text)
            .unwrap()
            .into_iter()
            .flat_map(|parsed| parsed.families)
            .map(|family| (family.name, family.kind))
            .collect()
    }

    #[test]
    fn the_present_and_the_older_form_give_the_same_families() {
        let present = "
version: 13
metrics:
  - tag: pg_thing
    queries:
      - query: SELECT a, b, c FROM t;
        columns:
          - {name: a, type: label}
          - {name: b, type: counter, description: B}
          - {type: gauge}
";
        let older = "
- query: SELECT a, b, c FROM t
  tag: pg_thing
  sort: data
  server: both
  columns:
    - name: a
      type: label
    - name: b
      type: counter
      description: B
    - type: gauge
";
        let expected = vec![
            ("pgexporter_pg_thing_b".to_owned(), Kind::Counter),
            ("pgexporter_pg_thing".to_owned(), Kind::Gauge),
        ];
        assert_eq!(families(present), expected);
        assert_eq!(families(older), expected);
        let parsed = parse("a.yaml", present).unwrap();
        assert_eq!(&*parsed[0].metric.queries[0].sql, "SELECT a, b, c FROM t");
    }

    #[test]
    fn json_with_is_histogram_is_read() {
        let text = r#"{"version": "1.4", "extension": "foo", "metrics": [{"tag": "h", "queries": [
            {"query": "SELECT 1", "is_histogram": true,
             "columns": [{"name": "x", "type": "histogram", "description": "X"}]}]}]}"#;
        let parsed = parse("a.json", text).unwrap();
        assert_eq!(parsed[0].metric.extension.as_deref(), Some("foo"));
        assert_eq!(parsed[0].metric.queries[0].version, Version(vec![1, 4]));
        assert_eq!(parsed[0].metric.queries[0].columns.len(), 4);
        assert_eq!(parsed[0].families[0].name, "pgexporter_h");
    }

    #[test]
    fn what_is_wrong_is_said_with_file_line_and_what_is_allowed() {
        let metric = |body: &str| format!("version: 13\nmetrics:\n  - tag: t\n{body}");
        let cases = [
            (String::new(), "is empty"),
            (
                metric("    queries: []\n"),
                "a.yaml: line 3: tag t: query is missing",
            ),
            (metric("    querys: []\n"), "unknown field `querys`"),
            (
                metric("    queries: [{query: x, columns: [{name: a, type: label}]}]\n"),
                "at least one of type gauge, counter or histogram",
            ),
            (
                metric("    queries: [{query: x, columns: [{name: a, type: summary}]}]\n"),
                "unknown variant, expected one of `label`, `gauge`, `counter`, `histogram`, `gaugehistogram`",
            ),
            (
                metric(
                    "    queries: [{query: x, columns: [{name: server, type: label}, {type: gauge}]}]\n",
                ),
                "label server is the exporter's own",
            ),
            (
                metric(
                    "    interval: 5 min\n    queries: [{query: x, columns: [{type: gauge}]}]\n",
                ),
                "interval: allowed are 10s, 5m, 2h, 1d",
            ),
            (
                metric(
                    "    queries: [{version: 13, query: x, columns: [{type: gauge}]}, {version: 13, query: y, columns: [{type: gauge}]}]\n",
                ),
                "version 13 is given twice",
            ),
            (
                metric(
                    "    queries: [{version: 13, query: x, columns: [{type: gauge}]}, {version: 14, query: y, columns: [{type: counter}]}]\n",
                ),
                "is a gauge in one query and a counter in another",
            ),
        ];
        for (text, expected) in cases {
            let error = parse("a.yaml", &text).err().map(|error| error.to_string());
            assert!(
                error
                    .as_deref()
                    .is_some_and(|error| error.contains(expected)),
                "{text}: {error:?} lacks {expected}"
            );
        }
    }
}
