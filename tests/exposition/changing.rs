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
    query: SELECT forget()
    columns: [{type: gauge}]
  - tag: steady
    query: SELECT 5
    columns: [{type: gauge}]
";

#[test]
fn a_session_whose_statements_are_gone_prepares_them_anew_in_the_same_scrape() {
    let server = Postgres::start(17);
    server.execute(
        "CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS $$
         BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$",
    );
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
        let errors = samples.value("pgexporter_query_errors_total", &[]);
        assert_eq!(errors, Some(0.0), "{turn}: {log}");
        assert!(
            samples.types.len() + 3 >= first.types.len(),
            "{turn}: {} families of {}: {log}",
            samples.types.len(),
            first.types.len()
        );
        let connections = samples.value("pgexporter_postgresql_connections_total", &[]);
        assert_eq!(
            connections,
            first.value("pgexporter_postgresql_connections_total", &[]),
            "{log}"
        );
    }
}
