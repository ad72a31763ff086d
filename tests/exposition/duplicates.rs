//! No two samples of a scrape have one label set: the first is kept, the others are counted and
//! told once, with both places.

use std::fs;

use rustix::process::Signal;

use super::custom::{exporter, folder};
use super::lint;
use super::support::{Exporter, Postgres, Samples, eventually};

const COUNTED: &str = "pgexporter_postgresql_duplicate_samples_total";

/// Rows of one query, two queries of one family, one query in two databases, a histogram, and labels
/// that become alike when they are written.
const METRICS: &str = "
metrics:
  - tag: rows
    query: SELECT l, n, m FROM doubled
    columns: [{name: l, type: label}, {name: n, type: gauge}, {name: m, type: gauge}]
  - tag: a
    query: SELECT 'x', 1
    columns: [{name: l, type: label}, {name: b_c, type: gauge}]
  - tag: a_b
    query: VALUES ('x', 2), ('y', 3)
    columns: [{name: l, type: label}, {name: c, type: gauge}]
  - tag: own_database
    database: all
    query: SELECT 'same', 4
    columns: [{name: database, type: label}, {type: gauge}]
  - tag: ages
    query: SELECT 'x', ARRAY[1, 2], ARRAY[i, i], i, i FROM generate_series(1, 3) AS i
    columns: [{name: l, type: label}, {name: age, type: histogram}]
  - tag: long
    query: SELECT repeat('q', 150) || i, i FROM generate_series(1, 4) AS i
    columns: [{name: query, type: label}, {type: gauge}]
  - tag: single
    query: SELECT 5
    columns: [{type: gauge}]
";

fn scene() -> Postgres {
    let server = Postgres::start(17);
    server.execute("CREATE DATABASE other");
    server.execute(
        "CREATE TABLE doubled (l text, n int, m int);
         INSERT INTO doubled VALUES ('x', 1, NULL), ('x', 2, 20), ('y', 3, 30), ('x', 4, 40)",
    );
    server
}

#[test]
fn no_two_samples_of_a_scrape_have_one_label_set() {
    let server = scene();
    let files = folder(&[("m.yaml", METRICS)]);
    let exporter = exporter(&server, &files).start();
    let body = exporter.get("/metrics").body;
    // It fails on a sample that stands twice.
    lint::assert_parses(&body);
    let samples = Samples::parse(&body);
    let value = |name: &str, l: &str| samples.value(&format!("pgexporter_{name}"), &[("l", l)]);
    assert_eq!(value("rows_n", "x"), Some(1.0), "{}", exporter.log());
    assert_eq!(value("rows_n", "y"), Some(3.0));
    // The first row with labels l="x" has nothing there.
    assert_eq!(value("rows_m", "x"), Some(20.0));
    assert_eq!(value("a_b_c", "x"), Some(1.0));
    assert_eq!(value("a_b_c", "y"), Some(3.0));
    assert_eq!(value("ages_count", "x"), Some(1.0));
    let name = "pgexporter_own_database";
    assert_eq!(samples.value(name, &[("database", "same")]), Some(4.0));

    let count = |samples: &Samples, collector: &str| {
        samples.value(COUNTED, &[("server", "one"), ("collector", collector)])
    };
    // The second scrape counts what the first found as well.
    let found = |samples: &Samples| {
        ["rows", "a_b", "own_database", "ages", "long", "single"]
            .map(|collector| count(samples, collector))
    };
    let first = found(&exporter.metrics());
    let second = found(&exporter.metrics());
    let per_scrape = [3.0, 1.0, 1.0, 2.0 * 5.0, 3.0];
    for (at, expected) in per_scrape.into_iter().enumerate() {
        let (first, second) = (
            first[at].unwrap_or_default(),
            second[at].unwrap_or_default(),
        );
        assert_eq!(second - first, expected, "{at}: {}", exporter.log());
    }
    assert_eq!(second[5], None);

    let told = |log: &str, words: &[&str]| {
        let line = |line: &&str| words.iter().all(|words| line.contains(words));
        log.lines().filter(line).count()
    };
    let log = exporter.log();
    for words in [
        &["WARN", "tag=rows", "3 samples left out", "m.yaml, tag rows"][..],
        &[
            "WARN",
            "m.yaml, tag a (database postgres)",
            "m.yaml, tag a_b (database postgres)",
        ],
        &[
            "WARN",
            "tag own_database (database postgres)",
            "tag own_database (database other)",
        ],
        &["WARN", "tag=ages"],
        &["WARN", "tag=long"],
    ] {
        assert_eq!(told(&log, words), 1, "{words:?}: {log}");
    }

    server.execute("DELETE FROM doubled WHERE n IN (2, 4)");
    let before = count(&exporter.metrics(), "rows");
    let after = exporter.metrics();
    assert_eq!(count(&after, "rows"), before);
    assert_eq!(
        told(&exporter.log(), &["INFO", "tag=rows", "no more duplicate"]),
        1
    );
}

#[test]
fn two_files_that_define_one_tag_are_joined_or_refused_with_both_places() {
    let server = Postgres::start(17);
    let metric = |version: u32, more: &str| {
        format!(
            "metrics:\n  - {{tag: twice, {more} queries: [{{version: {version}, query: SELECT \
             {version}, columns: [{{type: gauge}}]}}]}}\n"
        )
    };
    let (old, new) = (metric(13, ""), metric(16, ""));
    let files = folder(&[("a.yaml", &new), ("b.yaml", &old)]);
    // A file that is named twice is one definition.
    let exporter = exporter(&server, &files)
        .argument("-Y")
        .argument(files.path().join("a.yaml"))
        .start();
    let shown = |exporter: &Exporter| {
        let samples = exporter.metrics();
        samples.value("pgexporter_twice", &[])
    };
    assert_eq!(shown(&exporter), Some(16.0), "{}", exporter.log());

    fs::write(files.path().join("c.yaml"), &old).expect("it is written");
    exporter.signal(Signal::HUP);
    eventually("the reload is refused", || {
        let log = exporter.log();
        [
            "tag twice is defined twice",
            "b.yaml",
            "c.yaml",
            "both have a query for version 13",
        ]
        .iter()
        .all(|words| log.contains(words))
    });
    assert_eq!(shown(&exporter), Some(16.0), "{}", exporter.log());
    drop(exporter);

    for (text, words) in [
        (metric(14, "interval: 5m,"), "they differ in interval"),
        (
            "metrics: [{tag: postgresql, query: SELECT 1, columns: [{name: active, type: gauge}]}]"
                .to_owned(),
            "pgexporter_postgresql_active is the exporter's own",
        ),
        (
            "metrics: [{tag: pg_settings, query: SELECT 1, columns: [{name: port, type: gauge}]}]"
                .to_owned(),
            "pgexporter_pg_settings_port is the exporter's own",
        ),
        (
            "metrics: [{tag: twice_h, query: SELECT 1, columns: [{name: x, type: histogram}]}, \
             {tag: twice_h_sum, query: SELECT 1, columns: [{type: gauge}]}]"
                .to_owned(),
            "both bring samples called pgexporter_twice_h_sum",
        ),
    ] {
        fs::write(files.path().join("c.yaml"), text).expect("it is written");
        let Err(refused) = super::custom::exporter(&server, &files).try_start() else {
            panic!("it was taken: {words}");
        };
        for words in [words, "c.yaml"] {
            assert!(refused.log.contains(words), "{words}: {}", refused.log);
        }
    }
}
