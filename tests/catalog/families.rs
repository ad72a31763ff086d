//! The contract with dashboards: the families of the C program, with the type that is true.

use std::collections::BTreeSet;

use super::support::Samples;

/// Facts of the inherited catalogue, a family a line. `labels` are those beside `server` and
/// `database`; after `|` those of PostgreSQL 18.
const TABLE: &str = include_str!("families.tsv");

/// Families that no server here can fill, and why. The array's length is part of the promise.
pub(crate) const UNFILLED: [(&str, &str); 5] = [
    ("pgexporter_pg_shmem_allocations_numa_allocations", LIBNUMA),
    ("pgexporter_pg_shmem_allocations_numa_avg_bytes", LIBNUMA),
    ("pgexporter_pg_shmem_allocations_numa_max_bytes", LIBNUMA),
    ("pgexporter_pg_shmem_allocations_numa_min_bytes", LIBNUMA),
    ("pgexporter_pg_shmem_allocations_numa_total_bytes", LIBNUMA),
];

const LIBNUMA: &str = "the test servers are built without libnuma";

/// The exporter's own families: name, type, labels.
pub(crate) const OWN: [(&str, &str, &[&str]); 20] = [
    ("pgexporter_state", "gauge", &[]),
    ("pgexporter_version", "gauge", &["pgexporter_version"]),
    ("pgexporter_logging_info", "counter", &[]),
    ("pgexporter_logging_warn", "counter", &[]),
    ("pgexporter_logging_error", "counter", &[]),
    ("pgexporter_logging_fatal", "counter", &[]),
    (
        "pgexporter_connections_displaced_total",
        "counter",
        &["port"],
    ),
    ("pgexporter_task_panics_total", "counter", &["task"]),
    ("pgexporter_query_executions_total", "counter", &[]),
    ("pgexporter_query_errors_total", "counter", &[]),
    ("pgexporter_query_timeouts_total", "counter", &[]),
    ("pgexporter_postgresql_active", "gauge", &["server"]),
    (
        "pgexporter_postgresql_version",
        "gauge",
        &["server", "version", "minor_version"],
    ),
    ("pgexporter_postgresql_uptime", "gauge", &["server"]),
    (
        "pgexporter_postgresql_extension_info",
        "gauge",
        &["server", "extension", "version", "comment"],
    ),
    (
        "pgexporter_postgresql_failures_total",
        "counter",
        &["server", "reason"],
    ),
    (
        "pgexporter_postgresql_connections_total",
        "counter",
        &["server"],
    ),
    (
        "pgexporter_postgresql_scrape_duration_seconds",
        "gauge",
        &["server"],
    ),
    (
        "pgexporter_postgresql_denied",
        "gauge",
        &["server", "collector"],
    ),
    // The scene has a database that nobody may connect to.
    (
        "pgexporter_postgresql_database_missing",
        "gauge",
        &["server", "database", "reason"],
    ),
];

/// A family of the catalogue as one major version has it.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) labels: BTreeSet<&'static str>,
    pub(crate) collector: &'static str,
    /// Only replicas have it.
    pub(crate) of_replica: bool,
    /// Every database has it.
    pub(crate) everywhere: bool,
}

/// All families of a major version; of every one for `None`.
pub(crate) fn of(major: Option<u32>) -> Vec<Family> {
    let mut lines = TABLE.lines();
    let head = "family\ttype\tlabels\tcollector\trole\tscope\tversions";
    assert_eq!(lines.next(), Some(head));
    lines
        .filter_map(|line| {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let [name, kind, labels, collector, role, scope, versions] = fields[..] else {
                panic!("not seven fields: {line}");
            };
            let (first, last) = versions.split_once('-').expect("first-last");
            let [first, last] = [first, last].map(|one| one.parse::<u32>().expect("a version"));
            if major.is_some_and(|major| !(first..=last).contains(&major)) {
                return None;
            }
            let (before, since) = labels.split_once('|').unwrap_or((labels, labels));
            let labels = if major.is_some_and(|major| major < 18) {
                before
            } else {
                since
            };
            let own = labels.split(',').filter(|label| *label != "-");
            Some(Family {
                name,
                kind,
                labels: own.chain(["server", "database"]).collect(),
                collector,
                of_replica: role == "replica",
                everywhere: scope == "all",
            })
        })
        .collect()
}

/// What is wrong with a scrape of a primary and a replica of that version, under the names
/// `primary` and `replica`: names, types, label sets; families that lack and those too many.
pub(crate) fn check(samples: &Samples, major: u32) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = of(Some(major));
    for family in &expected {
        let name = family.name;
        let unfilled = UNFILLED.iter().any(|(one, _)| *one == name);
        let mut at = [
            ("primary", !family.of_replica),
            ("replica", family.of_replica),
        ];
        if !family.of_replica {
            // What a replica has of these depends on what happens there.
            at[1].1 = !samples_of(samples, family, "replica").is_empty();
        }
        for (server, wanted) in at {
            let found = samples_of(samples, family, server);
            if wanted && found.is_empty() && !unfilled {
                wrong.push(format!("{name} has no sample of the {server}"));
            }
            if !wanted && !found.is_empty() {
                wrong.push(format!("{name} has samples of the {server}"));
            }
            for labels in found {
                if labels != family.labels {
                    wrong.push(format!("{name} has labels {labels:?}"));
                }
            }
        }
        let kind = samples.types.get(name).map(String::as_str);
        if kind != Some(family.kind) && !(unfilled && kind.is_none()) {
            wrong.push(format!("{name} is a {kind:?}, not a {}", family.kind));
        }
        if kind.is_some()
            && samples
                .helps
                .get(name)
                .is_none_or(|help| !help.ends_with('.'))
        {
            wrong.push(format!("{name} has no sentence of help"));
        }
    }
    for (name, kind) in &samples.types {
        if let Some((_, true_kind, labels)) = OWN.iter().find(|(own, ..)| own == name) {
            let labels: BTreeSet<&str> = labels.iter().copied().collect();
            let sets = samples.label_names(name);
            if kind != true_kind
                || sets
                    .iter()
                    .any(|set| set.iter().copied().collect::<BTreeSet<_>>() != labels)
            {
                wrong.push(format!("{name} is a {kind} with labels {sets:?}"));
            }
        } else if !name.starts_with("pgexporter_pg_settings_")
            && !expected.iter().any(|family| family.name == name)
        {
            wrong.push(format!("{name} is no family of PostgreSQL {major}"));
        }
    }
    wrong
}

/// The different label sets of a family's samples of one server; a histogram's without `le`.
fn samples_of<'a>(
    samples: &'a Samples,
    family: &Family,
    server: &str,
) -> BTreeSet<BTreeSet<&'a str>> {
    let names: Vec<String> = match family.kind {
        "histogram" => ["_bucket", "_sum", "_count"]
            .map(|suffix| format!("{}{suffix}", family.name))
            .into(),
        _ => vec![family.name.to_owned()],
    };
    samples
        .samples
        .iter()
        .filter(|sample| names.contains(&sample.name))
        .filter(|sample| sample.labels.get("server").is_some_and(|one| one == server))
        .map(|sample| {
            let labels = sample.labels.keys().map(String::as_str);
            labels
                .filter(|label| *label != "le" || family.kind != "histogram")
                .collect()
        })
        .collect()
}
