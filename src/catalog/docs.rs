//! `docs/metrics/`, made from the catalogue: an index, and a page for each collector.

mod about;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::{Catalog, ColumnKind, Family, Metric, Query, Scope, Side};
use crate::model::{Kind, NEWEST_MAJOR};

/// A file of the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name inside `docs/metrics/`.
    pub name: String,
    /// Its text, Markdown.
    pub text: String,
}

/// A family that stands in no catalogue, because the exporter makes it itself.
#[derive(Clone, Copy, Debug)]
pub struct OwnFamily<'a> {
    /// Full name.
    pub name: &'a str,
    /// Its type.
    pub kind: Kind,
    /// What it measures.
    pub help: &'a str,
}

/// All pages: `README.md` (the index), one for each collector, `exporter.md` for the families in
/// `own`, and `pg_settings.md`.
#[must_use]
pub fn markdown(catalog: &Catalog, own: &[OwnFamily<'_>]) -> Vec<Page> {
    let mut collectors: BTreeMap<&str, Vec<&Metric>> = BTreeMap::new();
    for metric in &catalog.metrics {
        let metrics = collectors.entry(&metric.collector).or_default();
        metrics.push(Arc::as_ref(metric));
    }
    let mut index = about::INDEX.to_owned();
    index.push_str(
        "| Collector | What | Families | Versions | Server | Databases | Interval | Bound | \
         Rights |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut pages = Vec::with_capacity(collectors.len() + 3);
    for (name, metrics) in &collectors {
        row(&mut index, catalog, name, metrics);
        pages.push(Page {
            name: format!("{name}.md"),
            text: collector(catalog, name, metrics),
        });
    }
    pages.push(Page {
        name: "README.md".to_owned(),
        text: index,
    });
    pages.push(Page {
        name: "exporter.md".to_owned(),
        text: exporter(own),
    });
    pages.push(Page {
        name: "pg_settings.md".to_owned(),
        text: include_str!("docs/settings.md").to_owned(),
    });
    pages
}

// Writing into a `String` cannot fail, so the results of `writeln!` below are dropped.

/// A line of the index. What differs between the metrics of a collector is listed.
fn row(index: &mut String, catalog: &Catalog, name: &str, metrics: &[&Metric]) {
    let mut families: Vec<usize> = metrics.iter().flat_map(|one| families(one)).collect();
    families.sort_unstable();
    families.dedup();
    let majors: Vec<u32> = (0..=NEWEST_MAJOR)
        .filter(|major| metrics.iter().any(|one| at(one, *major).is_some()))
        .collect();
    let mark = metrics.iter().any(|one| makes_series(one));
    let _ = writeln!(
        index,
        "| [{name}]({name}.md){} | {} | {} | {} | {} | {} | {} | {} | {} |",
        if mark { " **(series)**" } else { "" },
        about(name),
        families
            .iter()
            .filter(|at| catalog.families.get(**at).is_some())
            .count(),
        ranges(&majors),
        each(metrics, |one| Some(side(one.side).to_owned())),
        each(metrics, |one| Some(scope(one.scope).to_owned())),
        each(metrics, |one| one.interval.map(duration)),
        each(metrics, |one| one.bound.clone()),
        each(metrics, |one| one.requires.clone()),
    );
}

fn collector(catalog: &Catalog, name: &str, metrics: &[&Metric]) -> String {
    let mut page = format!(
        "# {name}\n\n<!-- Generated from the catalogue in src/catalog/builtin by `make docs`. Do \
         not edit. -->\n\n{}\n\n[All collectors](README.md)\n",
        about(name)
    );
    for metric in metrics {
        facts(&mut page, metric);
        page.push_str("\n| Family | Type | Labels | Versions | Help |\n");
        page.push_str("| --- | --- | --- | --- | --- |\n");
        let mut own = families(metric);
        own.sort_unstable();
        own.dedup();
        for family in own {
            if let Some(about) = catalog.families.get(family) {
                table_line(&mut page, metric, family, about);
            }
        }
        statements(&mut page, metric);
    }
    page
}

/// What holds for a metric as a whole.
fn facts(page: &mut String, metric: &Metric) {
    let _ = writeln!(page, "\n## `{}`\n", metric.tag);
    let _ = writeln!(page, "* Server: {}", side(metric.side));
    let _ = writeln!(page, "* Databases: {}", scope(metric.scope));
    if let Some(extension) = &metric.extension {
        let _ = writeln!(page, "* Extension: {extension}; versions are those of it");
    }
    match metric.interval {
        Some(interval) => {
            let _ = writeln!(page, "* Interval: {}", duration(interval));
        }
        None => page.push_str("* Interval: none, it runs at every scrape\n"),
    }
    if let Some(timeout) = metric.timeout {
        let _ = writeln!(page, "* Timeout: {}", duration(timeout));
    }
    if let Some(bound) = &metric.bound {
        let _ = writeln!(page, "* Bound: {bound}");
    }
    if let Some(requires) = &metric.requires {
        let _ = writeln!(page, "* Rights or settings: {requires}");
    }
    if metric.optional {
        page.push_str("* Optional: a query that fails counts as no error\n");
    }
    if makes_series(metric) {
        page.push_str(
            "* Series: labels with a process number or the text of a statement make a new time \
             series each time they change; the text is cut to `query_text_length` characters\n",
        );
    }
}

fn table_line(page: &mut String, metric: &Metric, family: usize, about: &Family) {
    let mut labels: Vec<(String, Vec<u32>)> = Vec::new();
    let mut majors = Vec::new();
    for major in 0..=NEWEST_MAJOR {
        let Some(query) = at(metric, major).filter(|query| holds(query, family)) else {
            continue;
        };
        majors.push(major);
        let mut names = label_names(query);
        let buckets = |one: &super::Column| one.kind == ColumnKind::HistogramBounds(family);
        if about.kind == Kind::Gauge && query.columns.iter().any(buckets) {
            names.push_str(", `le`");
        }
        match labels.iter_mut().find(|(have, _)| *have == names) {
            Some((_, which)) => which.push(major),
            None => labels.push((names, vec![major])),
        }
    }
    let labels = match labels.as_slice() {
        [(names, _)] => names.clone(),
        many => many
            .iter()
            .map(|(names, which)| format!("{names} ({})", ranges(which)))
            .collect::<Vec<_>>()
            .join("; "),
    };
    let _ = writeln!(
        page,
        "| `{}` | {} | {labels} | {} | {} |",
        about.name,
        about.kind.as_str(),
        ranges(&majors),
        cell(&about.help),
    );
}

/// The SQL of each range of versions, folded.
fn statements(page: &mut String, metric: &Metric) {
    for query in &metric.queries {
        let majors: Vec<u32> = (0..=NEWEST_MAJOR)
            .filter(|major| at(metric, *major).is_some_and(|one| std::ptr::eq(one, query)))
            .collect();
        let which = match &metric.extension {
            Some(name) => format!("{name} {} and newer", query.version),
            None => ranges(&majors),
        };
        let _ = writeln!(
            page,
            "\n<details>\n<summary>SQL, {which}</summary>\n\n```sql\n{}\n```\n\n</details>",
            query.sql
        );
    }
}

fn exporter(own: &[OwnFamily<'_>]) -> String {
    let mut page =
        "# The exporter's own families\n\n<!-- Generated from src/scrape/self_metrics.rs by `make \
                    docs`. Do not edit. -->\n\nThey need no right, no query of the catalogue, and \
                    are there also when no server answers.\n\n[All collectors](README.md)\n\n| \
                    Family | Type | Labels | Help |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for OwnFamily { name, kind, help } in own {
        let labels = about::OWN_LABELS.iter().find(|(have, _)| have == name);
        let labels = labels.map_or("none", |(_, labels)| labels);
        let (kind, help) = (kind.as_str(), cell(help));
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
    }
    page.push_str(about::OWN);
    page
}

fn about(collector: &str) -> &'static str {
    let known = about::COLLECTORS
        .iter()
        .find(|(name, _)| *name == collector);
    known.map_or("", |(_, line)| line)
}

/// The query that such a server runs.
fn at(metric: &Metric, major: u32) -> Option<&Query> {
    if major < crate::model::OLDEST_MAJOR || metric.until.is_some_and(|until| major > until) {
        return None;
    }
    let version = super::Version(vec![major]);
    metric.queries.iter().rfind(|one| one.version <= version)
}

fn families(metric: &Metric) -> Vec<usize> {
    let columns = metric.queries.iter().flat_map(|query| &query.columns);
    columns.filter_map(|column| family(column.kind)).collect()
}

fn holds(query: &Query, wanted: usize) -> bool {
    let mut found = query.columns.iter().filter_map(|one| family(one.kind));
    found.any(|at| at == wanted)
}

fn family(kind: ColumnKind) -> Option<usize> {
    match kind {
        ColumnKind::Value(at) | ColumnKind::HistogramBounds(at) => Some(at),
        _ => None,
    }
}

fn labels(query: &Query) -> impl Iterator<Item = &str> {
    let labels = query.columns.iter();
    let labels = labels.filter(|column| column.kind == ColumnKind::Label);
    labels.map(|column| column.name.as_str())
}

/// As they are sent: `server` first, and `database` unless the query brings it.
fn label_names(query: &Query) -> String {
    let mut names = vec!["server"];
    names.extend(labels(query));
    if !names.contains(&"database") {
        names.push("database");
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn makes_series(metric: &Metric) -> bool {
    let mut labels = metric.queries.iter().flat_map(labels);
    labels.any(|name| {
        matches!(name, "pid" | "query") || name.ends_with("_pid") || name.ends_with("_query")
    })
}

/// `13–16, 18`.
fn ranges(majors: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for major in majors {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *major => *last = *major,
            _ => parts.push((*major, *major)),
        }
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}–{last}"),
        })
        .collect();
    parts.join(", ")
}

/// What the metrics of a collector say, each answer once.
fn each(metrics: &[&Metric], what: impl Fn(&Metric) -> Option<String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for said in metrics.iter().filter_map(|metric| what(metric)) {
        if !all.contains(&said) {
            all.push(said);
        }
    }
    cell(&all.join("; "))
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Both => "primary and replica",
        Side::Primary => "primary",
        Side::Replica => "replica",
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Own => "own",
        Scope::All => "all",
    }
}

fn duration(length: Duration) -> String {
    format!("{} s", length.as_secs())
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_collector_has_its_line() {
        let catalog = super::super::load(&[]).unwrap();
        let mut found: Vec<&str> = catalog
            .metrics
            .iter()
            .map(|metric| metric.collector.as_str())
            .collect();
        found.sort_unstable();
        found.dedup();
        let named: Vec<&str> = about::COLLECTORS.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, named);
    }

    #[test]
    fn versions_are_shown_as_ranges() {
        assert_eq!(ranges(&[13, 14, 15, 18]), "13–15, 18");
        assert_eq!(ranges(&[17]), "17");
        assert_eq!(ranges(&[]), "");
    }
}
