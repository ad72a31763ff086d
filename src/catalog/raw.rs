//! The files as they are written, before anything is checked.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with metrics")]
pub(super) struct RawFile {
    pub version: Option<RawVersion>,
    pub extension: Option<String>,
    pub metrics: Vec<RawMetric>,
}

/// A metric; the older form of the format has `query` and `columns` here and no `queries`.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a metric with tag, query and columns"
)]
pub(super) struct RawMetric {
    pub tag: String,
    pub collector: Option<String>,
    #[serde(default)]
    pub sort: Sort,
    #[serde(default)]
    pub server: RawSide,
    pub database: Option<RawScope>,
    #[serde(default)]
    pub optional: bool,
    pub interval: Option<String>,
    pub timeout: Option<String>,
    pub requires: Option<String>,
    pub bound: Option<String>,
    pub unit: Option<String>,
    pub until: Option<u32>,
    pub version: Option<RawVersion>,
    #[serde(default)]
    pub queries: Vec<RawQuery>,
    pub query: Option<String>,
    #[serde(default)]
    pub columns: Vec<RawColumn>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a query with query and columns")]
pub(super) struct RawQuery {
    pub version: Option<RawVersion>,
    pub query: String,
    pub columns: Vec<RawColumn>,
    /// JSON files of the field carry it; the columns tell the same.
    #[serde(default, rename = "is_histogram")]
    pub _is_histogram: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a column with name and type")]
pub(super) struct RawColumn {
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: RawKind,
    pub description: Option<String>,
    pub unit: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKind {
    Label,
    Gauge,
    Counter,
    Histogram,
    /// A histogram of what is at present. Not of the C program.
    GaugeHistogram,
}

/// Read so that a wrong word is refused. Samples of a family always stand together, so it changes
/// nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sort {
    #[default]
    Name,
    Data,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSide {
    #[default]
    Both,
    Primary,
    Replica,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawScope {
    All,
}

/// `13`, `1.4` or `"1.10"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "invalid type: other, expected a version such as 13 or 1.4"
)]
pub(super) enum RawVersion {
    Whole(u32),
    Decimal(f64),
    Text(String),
}

impl RawVersion {
    pub(super) fn text(&self) -> String {
        match self {
            RawVersion::Whole(number) => number.to_string(),
            RawVersion::Decimal(number) => number.to_string(),
            RawVersion::Text(text) => text.clone(),
        }
    }
}
