//! A statement that a session holds prepared goes out of date: it is prepared anew in the scrape
//! that finds it so.

use super::custom::{exporter, folder};
use super::support::Postgres;

const METRICS: &str = "
metrics:
  - tag: ages
    query: SELECT name, age FROM people
    columns: [{name: name, type: label}, {name: age, type: gauge}]
  - tag: all_of_it
    query: SELECT * FROM narrow
    columns: [{type: gauge}]
  - tag: called
    query: SELECT answer()
    columns: [{type: gauge}]
  - tag: steady
    query: SELECT 5 FROM people
    columns: [{type: gauge}]
  - tag: unsupported
    query: SELECT unsupported()
    columns: [{type: gauge}]
";

const SCENE: &str = "
CREATE TABLE people AS SELECT 'ann'::varchar(9) AS name, 7::int AS age;
CREATE TABLE narrow AS SELECT 3 AS a;
CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 41';
CREATE FUNCTION unsupported() RETURNS int LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'not here'; END $$;
";

#[test]
fn a_statement_whose_result_changed_is_prepared_anew_in_the_same_scrape() {
    for major in [13, 18] {
        let server = Postgres::start(major);
        server.execute(SCENE);
        let files = folder(&[("m.yaml", METRICS)]);
        let exporter = exporter(&server, &files).start();
        let value = |name: &str| {
            let samples = exporter.metrics();
            let found = samples.value(&format!("pgexporter_{name}"), &[]);
            assert!(
                samples.value("pgexporter_steady", &[]) == Some(5.0),
                "{name}: {}",
                exporter.log()
            );
            found
        };
        // Twice, so that all run as prepared statements that answered before.
        for _ in 0..2 {
            assert_eq!(value("ages_age"), Some(7.0));
        }
        let errors = |of: &str| {
            let log = exporter.log();
            log.lines()
                .filter(|line| line.contains(&format!("tag={of}")))
                .count()
        };
        server.execute("ALTER TABLE people ALTER age TYPE numeric USING age + 0.5");
        assert_eq!(value("ages_age"), Some(7.5), "{major}: {}", exporter.log());
        server.execute("ALTER TABLE people ALTER age TYPE text USING 'on'");
        assert_eq!(value("ages_age"), Some(1.0), "{major}: {}", exporter.log());
        server.execute(
            "ALTER TABLE people ALTER age TYPE float8 USING 0.25, ALTER name TYPE text USING 'eve'",
        );
        assert_eq!(value("ages_age"), Some(0.25), "{major}: {}", exporter.log());
        server.execute(
            "DROP FUNCTION answer(); CREATE FUNCTION answer() RETURNS numeric LANGUAGE sql AS \
             'SELECT 42.5'",
        );
        assert_eq!(value("called"), Some(42.5), "{major}: {}", exporter.log());
        assert_eq!(value("all_of_it"), Some(3.0), "{major}");
        for tag in ["ages", "called", "all_of_it"] {
            assert_eq!(errors(tag), 0, "{major}: {}", exporter.log());
        }
        // A column more is no more what the definition says, which is told in these words.
        server.execute("ALTER TABLE narrow ADD b int");
        assert_eq!(value("all_of_it"), None, "{major}");
        let said = "the query returns 2 columns, its definition lists 1";
        assert!(exporter.log().contains(said), "{}", exporter.log());
        server.execute("ALTER TABLE narrow DROP b");
        assert_eq!(value("all_of_it"), Some(3.0), "{major}: {}", exporter.log());
        // One that fails so each time is told once and costs its own metric.
        assert_eq!(value("unsupported"), None);
        assert_eq!(errors("unsupported"), 1, "{}", exporter.log());
    }
}

/// A user's query takes all prepared statements of the session away, at every scrape.
const FORGETFUL: &str = "
metrics:
  - tag: forgets
    query: SELECT forget(), 2
    columns: [{type: gauge}, {name: two, type: gauge}]
  - tag: steady
    query: SELECT 5, 2
    columns: [{type: gauge}, {name: two, type: gauge}]
";

#[test]
fn a_session_whose_statements_are_gone_prepares_them_anew_in_the_same_scrape() {
    runs_on_without_statements("");
}

#[test]
fn a_session_whose_statements_are_others_now_prepares_them_anew_in_the_same_scrape() {
    // As a pooler does that gives names twice. None of ours has so many columns; of those that have
    // one the server takes the format of that for all, so that they have the wrong shape.
    runs_on_without_statements(
        "FOREACH taken IN ARRAY names LOOP
             EXECUTE format('PREPARE %I AS SELECT %s 1', taken, repeat('1, ', 90));
         END LOOP;",
    );
}

/// `more` is what the query that takes all statements away does beside that.
fn runs_on_without_statements(more: &str) {
    let server = Postgres::start(17);
    server.execute(&format!(
        "CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS $$
         DECLARE taken text; names text[];
         BEGIN
             SELECT COALESCE(array_agg(name), '{{}}') INTO names FROM pg_prepared_statements;
             EXECUTE 'DEALLOCATE ALL'; {more} RETURN 1;
         END $$"
    ));
    let files = folder(&[("m.yaml", FORGETFUL)]);
    let exporter = exporter(&server, &files).start();
    let first = exporter.metrics();
    for turn in 0..4 {
        let samples = exporter.metrics();
        let log = exporter.log();
        let active = samples.value("pgexporter_postgresql_active", &[]);
        assert_eq!(active, Some(1.0), "{turn}: {log}");
        for (name, value) in [("pgexporter_forgets", 1.0), ("pgexporter_steady", 5.0)] {
            assert_eq!(samples.value(name, &[]), Some(value), "{turn}: {log}");
        }
        if more.is_empty() {
            let errors = samples.value("pgexporter_query_errors_total", &[]);
            assert_eq!(errors, Some(0.0), "{turn}: {log}");
            assert!(
                samples.types.len() + 3 >= first.types.len(),
                "{turn}: {} families of {}: {log}",
                samples.types.len(),
                first.types.len()
            );
        }
        let connections = samples.value("pgexporter_postgresql_connections_total", &[]);
        assert_eq!(
            connections,
            first.value("pgexporter_postgresql_connections_total", &[]),
            "{log}"
        );
    }
}

/// Metrics of an extension, and one in every database.
const OF_EXTENSION: &str = "
extension: pg_stat_statements
metrics:
  - tag: release
    queries:
      - {version: '1.8', query: SELECT 8 FROM pg_stat_statements(false) LIMIT 1, columns: [{type: gauge}]}
      - {version: '1.9', query: SELECT 9 + 0 * dealloc FROM pg_stat_statements_info, columns: [{type: gauge}]}
";
const EVERYWHERE: &str = "
metrics:
  - tag: amounts
    database: all
    query: SELECT amount FROM amounts
    columns: [{type: gauge}]
";

#[test]
fn a_changed_extension_and_a_changed_table_of_another_database_cost_no_scrape() {
    let server = Postgres::builder(17).preload("pg_stat_statements").start();
    server.execute("CREATE EXTENSION pg_stat_statements VERSION '1.8'");
    server.execute("CREATE DATABASE other");
    for database in ["postgres", "other"] {
        server.execute_in(database, "CREATE TABLE amounts AS SELECT 3::int AS amount");
    }
    let files = folder(&[("e.yaml", OF_EXTENSION), ("m.yaml", EVERYWHERE)]);
    // So many that the other database keeps its session.
    let exporter = exporter(&server, &files)
        .set("session_databases = 3")
        .start();
    let shown = |release: Option<f64>, amount: f64| {
        let samples = exporter.metrics();
        let log = exporter.log();
        assert_eq!(samples.value("pgexporter_release", &[]), release, "{log}");
        for database in ["postgres", "other"] {
            let found = samples.value("pgexporter_amounts", &[("database", database)]);
            assert_eq!(found, Some(amount), "{database}: {log}");
        }
        samples.value("pgexporter_query_errors_total", &[])
    };
    for _ in 0..2 {
        assert_eq!(shown(Some(8.0), 3.0), Some(0.0));
    }
    server.execute("ALTER EXTENSION pg_stat_statements UPDATE TO '1.10'");
    for database in ["postgres", "other"] {
        let sql = "ALTER TABLE amounts ALTER amount TYPE numeric USING amount + 0.25";
        server.execute_in(database, sql);
    }
    assert_eq!(shown(Some(9.0), 3.25), Some(0.0));
    server.execute("DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements");
    for database in ["postgres", "other"] {
        let sql = "DROP TABLE amounts; CREATE TABLE amounts AS SELECT 7::float8 AS amount";
        server.execute_in(database, sql);
    }
    assert_eq!(shown(Some(9.0), 7.0), Some(0.0));
    server.execute("DROP EXTENSION pg_stat_statements");
    shown(None, 7.0);
    server.execute("CREATE EXTENSION pg_stat_statements");
    shown(Some(9.0), 7.0);
}
