//! Metrics that users add by `metrics_path`: a file or a folder, YAML, JSON, or the older form.

use std::fs;

use super::lint;
use super::support::exporter::ExporterBuilder;
use super::support::{Exporter, Keeper, Postgres, Samples};

/// Every type of column that a user may meet, as a label and as a measure.
const TYPES: &str = r#"
version: 13
metrics:
  - tag: types
    queries:
      - query: |
          -- a comment, and 100 % of a percent sign
          SELECT 1.50::numeric, '2026-01-02 03:04:05+00'::timestamptz, '1 day 2 h'::interval,
                 '10.0.0.1/8'::inet, ARRAY[1,2]::int[], ARRAY['a','b"c']::text[], true, 'x'::"char",
                 '{"k": 1}'::jsonb, NULL::text, '\x00ff'::bytea, 'a'::name, 7::int2, 0.1::float4,
                 12345678901234567890.5::numeric, 'NaN'::numeric, 'NaN'::float8, NULL::int,
                 '2026-01-02'::timestamp, '1 day'::interval, '10.0.0.1'::inet, false, 'on'::text,
                 '(disabled)'::text, ''::text, '-12.5'::text, 'Infinity'::float8, 9223372036854775807,
                 '16/B374D848'::pg_lsn, 4294967295::oid;
        columns:
          - {name: l_numeric, type: label}
          - {name: l_timestamp, type: label}
          - {name: l_interval, type: label}
          - {name: l_inet, type: label}
          - {name: l_ints, type: label}
          - {name: l_texts, type: label}
          - {name: l_bool, type: label}
          - {name: l_char, type: label}
          - {name: l_json, type: label}
          - {name: l_null, type: label}
          - {name: l_bytes, type: label}
          - {name: l_name, type: label}
          - {name: l_int2, type: label}
          - {name: l_float4, type: label}
          - {name: numeric, type: gauge, description: A numeric.}
          - {name: numeric_nan, type: gauge, description: No number.}
          - {name: float_nan, type: gauge, description: No number either.}
          - {name: null, type: gauge, description: Nothing.}
          - {name: timestamp, type: gauge, description: Any other text.}
          - {name: interval, type: gauge, description: Any other text.}
          - {name: inet, type: gauge, description: Any other text.}
          - {name: bool, type: gauge, description: False.}
          - {name: on, type: gauge, description: On.}
          - {name: disabled, type: gauge, description: Disabled.}
          - {name: empty, type: gauge, description: Empty.}
          - {name: text, type: gauge, description: A number in a text.}
          - {name: infinite, type: gauge, description: Infinite.}
          - {name: int8, type: counter, description: The greatest.}
          - {name: lsn, type: gauge, description: A position.}
          - {name: oid, type: gauge, description: Unsigned.}
  - tag: sizes
    unit: bytes
    queries:
      - query: SELECT 'a', ARRAY[10,1,100], ARRAY[5,2,9], 123.5::numeric, 12
        columns:
          - {name: kind, type: label}
          - {name: size, type: histogram, description: Sizes}
  - tag: chosen
    queries:
      - {version: 13, query: "SELECT 13", columns: [{type: gauge, description: The version.}]}
      - {version: 17, query: "SELECT 17", columns: [{type: gauge, description: The version.}]}
      - {version: 99, query: "SELECT 99", columns: [{type: gauge, description: The version.}]}
  - {tag: nowhere, server: replica, query: SELECT 1, columns: [{type: gauge}]}
  - {tag: rowless, query: "SELECT 1 WHERE false", columns: [{type: gauge}]}
  - {tag: absent, optional: true, query: SELECT x FROM not_there, columns: [{type: gauge}]}
  - tag: of_databases
    database: all
    query: SELECT count(*) FROM pg_class WHERE relname = 'own'
    columns: [{type: gauge, description: Tables of that name.}]
"#;

const JSON: &str = r#"{"version": 13, "metrics": [{"tag": "json", "queries": [
    {"query": "SELECT name, amount FROM own", "is_histogram": false, "columns": [
        {"name": "name", "type": "label"},
        {"name": "amount", "type": "gauge", "description": "The amount."}]}]}]}"#;

const OLDER: &str = "
- query: SELECT count(*) AS count FROM own;
  tag: older
  sort: data
  server: primary
  columns:
    - name: rows
      type: gauge
      description: Rows of the table.
";

/// A server with a table of the user's in `public`, and a database beside.
fn server(major: u32) -> Postgres {
    let server = Postgres::start(major);
    server.execute("CREATE DATABASE other");
    server.execute("CREATE TABLE own AS SELECT 'n'::text AS name, 2.25::numeric AS amount");
    server
}

pub(crate) fn exporter(server: &Postgres, folder: &Keeper) -> ExporterBuilder {
    Exporter::builder()
        .set(&format!("metrics_path = {}", folder.path().display()))
        .server("one", server)
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> Keeper {
    let folder = Keeper::new().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("it is written");
    }
    folder
}

#[test]
fn a_users_metrics_of_every_form_and_type_are_served() {
    for (major, chosen) in [(13, 13.0), (18, 17.0)] {
        let server = server(major);
        let files = folder(&[
            ("types.yaml", TYPES),
            ("more.json", JSON),
            ("older.yml", OLDER),
            ("notes.txt", "not: [read"),
        ]);
        let exporter = exporter(&server, &files).start();
        let body = exporter.get("/metrics").body;
        lint::assert_parses(&body);
        let samples = Samples::parse(&body);
        let value = |name: &str, labels: &[(&str, &str)]| {
            samples.value(&format!("pgexporter_{name}"), labels)
        };

        let labels: Vec<(&str, &str)> = vec![
            ("l_numeric", "1.50"),
            ("l_timestamp", "2026-01-02 03:04:05+00"),
            ("l_interval", "1 day 02:00:00"),
            ("l_inet", "10.0.0.1/8"),
            ("l_ints", "{1,2}"),
            ("l_texts", "{a,\"b\\\"c\"}"),
            ("l_bool", "t"),
            ("l_char", "x"),
            ("l_json", "{\"k\": 1}"),
            ("l_null", ""),
            ("l_bytes", "\\x00ff"),
            ("l_name", "a"),
            ("l_int2", "7"),
            ("l_float4", "0.1"),
            ("server", "one"),
            ("database", "postgres"),
        ];
        for (name, expected) in [
            ("numeric", 12_345_678_901_234_567_890.5),
            ("timestamp", 1.0),
            ("interval", 1.0),
            ("inet", 1.0),
            ("bool", 0.0),
            ("on", 1.0),
            ("disabled", 0.0),
            ("empty", 0.0),
            ("text", -12.5),
            ("infinite", f64::INFINITY),
            ("int8", 9_223_372_036_854_775_807.0),
            ("lsn", 1.0),
            ("oid", 4_294_967_295.0),
        ] {
            let found = value(&format!("types_{name}"), &labels);
            assert_eq!(found, Some(expected), "{name}\n{}", exporter.log());
        }
        for name in ["types_numeric_nan", "types_float_nan"] {
            assert!(value(name, &labels).is_some_and(f64::is_nan), "{name}");
        }
        // Exact to the last digit, which no floating-point number is.
        assert!(body.contains(" 12345678901234567890.5\n"));
        assert!(body.contains(" 9223372036854775807\n"));
        for name in ["types_null", "nowhere", "rowless", "absent"] {
            assert_eq!(value(name, &[]), None, "{name}");
        }
        assert_eq!(samples.types["pgexporter_types_int8"], "counter");

        for (le, count) in [("1", 2.0), ("10", 5.0), ("100", 9.0), ("+Inf", 12.0)] {
            let labels = [("kind", "a"), ("le", le)];
            assert_eq!(value("sizes_bucket", &labels), Some(count), "{le}");
        }
        assert_eq!(value("sizes_sum", &[]), Some(123.5));
        assert_eq!(value("sizes_count", &[]), Some(12.0));
        assert_eq!(samples.types["pgexporter_sizes"], "histogram");
        assert_eq!(samples.helps["pgexporter_sizes"], "Sizes (bytes)");

        assert_eq!(value("chosen", &[]), Some(chosen));
        assert_eq!(value("json_amount", &[("name", "n")]), Some(2.25));
        assert_eq!(value("older_rows", &[]), Some(1.0));
        for (database, tables) in [("postgres", 1.0), ("other", 0.0)] {
            let found = value("of_databases", &[("database", database)]);
            assert_eq!(found, Some(tables), "{database}");
        }

        // The kept statements find their tables again.
        server.execute("UPDATE own SET amount = 7");
        let name = "pgexporter_json_amount";
        assert_eq!(exporter.metrics().value(name, &[]), Some(7.0));
    }
}

#[test]
fn a_users_tag_replaces_the_built_in_one_of_that_name() {
    let server = server(17);
    let files = folder(&[(
        "roles.yaml",
        "metrics: [{tag: pg_role, query: \"SELECT 'mine', 42\", columns: [{name: whose, type: label}, {type: gauge, description: My own.}]}]",
    )]);
    let samples = exporter(&server, &files).start().metrics();
    let found = samples.all("pgexporter_pg_role");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].labels["whose"].as_str(), found[0].value),
        ("mine", 42.0)
    );
    assert_eq!(samples.helps["pgexporter_pg_role"], "My own.");
    // Its neighbours are as they were.
    assert!(samples.value("pgexporter_postgresql_primary", &[]) == Some(1.0));
}

#[test]
fn a_bad_file_is_refused_at_start_with_its_name_its_line_and_what_is_allowed() {
    let server = server(17);
    let good = "metrics:\n  - {tag: a, query: SELECT 1, columns: [{type: gauge}]}\n";
    for (name, text, expected) in [
        ("a.yaml", "", &["is empty"][..]),
        ("a.yaml", "metrics: [", &["line 2"]),
        (
            "a.yaml",
            "metrics:\n  - tag: a\n    querys: x\n",
            &["querys", "line 3", "query"],
        ),
        (
            "a.yaml",
            "metrics:\n  - tag: a\n    query: SELECT 1\n    columns: [{type: summary}]\n",
            &[
                "unknown variant",
                "line 4",
                "`label`, `gauge`, `counter`, `histogram`, `gaugehistogram`",
            ],
        ),
        (
            "a.yaml",
            "metrics:\n  - tag: a\n    query: SELECT 1\n    columns:\n      - {name: x, type: label}\n",
            &[
                "line 2",
                "tag a",
                "at least one of type gauge, counter or histogram",
            ],
        ),
        (
            "a.yaml",
            "metrics:\n  - tag: a-b\n    query: SELECT 1\n    columns: [{type: gauge}]\n",
            &["line 2", "letters, digits and _ are allowed"],
        ),
        (
            "a.yaml",
            "metrics:\n  - tag: a\n    server: master\n    query: SELECT 1\n    columns: [{type: gauge}]\n",
            &["line 3", "unknown variant", "`both`, `primary`, `replica`"],
        ),
        (
            "a.json",
            "{\"metrics\": [\n  {\"tag\": \"a\", \"querys\": []}]}",
            &["querys", "line 2"],
        ),
        (
            "b.yaml",
            "metrics:\n  - {tag: a, query: SELECT 1, columns: [{type: counter}]}\n",
            &[
                "tag a is defined twice",
                "a.yaml",
                "both have a query for version 13",
            ],
        ),
    ] {
        let files = folder(&[(name, text)]);
        if name == "b.yaml" {
            fs::write(files.path().join("a.yaml"), good).expect("it is written");
        }
        let Err(refused) = exporter(&server, &files).try_start() else {
            panic!("it was taken: {text}");
        };
        assert!(
            refused.status.is_some_and(|status| !status.success()),
            "{}",
            refused.log
        );
        for words in [name].iter().chain(expected) {
            assert!(
                refused.log.contains(words),
                "no {words:?} for {text:?} in {}",
                refused.log
            );
        }
    }
}

#[test]
fn a_query_that_does_not_fit_its_columns_fails_alone() {
    let server = server(17);
    let files = folder(&[(
        "a.yaml",
        "metrics:
  - {tag: narrow, query: 'SELECT 1', columns: [{name: a, type: gauge}, {name: b, type: gauge}]}
  - {tag: wrong, query: 'SELECT nothing FROM nowhere', columns: [{type: gauge}]}
  - {tag: writes, query: 'DELETE FROM own RETURNING 1', columns: [{type: gauge}]}
  - {tag: right, query: 'SELECT 3', columns: [{type: gauge}]}
",
    )]);
    let exporter = exporter(&server, &files).start();
    let samples = exporter.metrics();
    assert_eq!(samples.value("pgexporter_right", &[]), Some(3.0));
    for name in [
        "pgexporter_narrow_a",
        "pgexporter_wrong",
        "pgexporter_writes",
    ] {
        assert_eq!(samples.value(name, &[]), None, "{name}");
    }
    assert_eq!(
        samples.value("pgexporter_query_errors_total", &[]),
        Some(3.0)
    );
    assert_eq!(
        samples.value("pgexporter_postgresql_active", &[]),
        Some(1.0)
    );
    assert_eq!(
        server.value("SELECT count(*) FROM own"),
        "1",
        "a write was let through"
    );
    let log = exporter.log();
    for tag in ["narrow", "wrong", "writes"] {
        assert!(log.contains(tag), "{log}");
    }
}
