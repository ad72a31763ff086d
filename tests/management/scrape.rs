//! `scrape SERVER`: what each query takes, while the scrapes go on.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Exporter, Keeper, Postgres, eventually};
use crate::{cli, json, lonely, said};

/// Two queries that are slow and seldom, and one in every database.
const SLOW: &str = "
version: 13
metrics:
  - tag: nap
    interval: 1h
    query: SELECT 1 FROM pg_sleep(1)
    columns: [{type: gauge, description: A nap.}]
  - tag: long_nap
    interval: 1h
    query: SELECT 1 FROM pg_sleep(1.5)
    columns: [{type: gauge, description: A longer one.}]
  - tag: everywhere
    database: all
    query: SELECT 42
    columns: [{type: gauge, description: The answer.}]
";

fn connections(server: &Postgres) -> u32 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgexporter'";
    server.value(count).parse().expect("a number")
}

#[test]
fn a_scrape_of_one_server_tells_the_slowest_query_first_and_holds_up_no_other_scrape() {
    let server = Postgres::start(17);
    server.execute("CREATE DATABASE other");
    let folder = Keeper::new().expect("a temporary folder");
    std::fs::write(folder.path().join("slow.yaml"), SLOW).expect("it is written");
    let exporter = Exporter::builder()
        .set(&format!("metrics_path = {}", folder.path().display()))
        .server("one", &server)
        .start();
    eventually("all ran once", || {
        exporter.metrics().value("pgexporter_nap", &[]) == Some(1.0)
    });

    let (answer, scrapes) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| said(&cli(&exporter, &["scrape", "one"])));
        let mut scrapes = Vec::new();
        while !asked.is_finished() {
            let begun = Instant::now();
            let samples = exporter.metrics();
            assert_eq!(
                samples.value("pgexporter_postgresql_active", &[]),
                Some(1.0)
            );
            assert_eq!(samples.value("pgexporter_nap", &[]), Some(1.0));
            scrapes.push(begun.elapsed());
            assert!(connections(&server) <= 2);
            std::thread::sleep(Duration::from_millis(50));
        }
        (asked.join().expect("it ended"), scrapes)
    });
    // One waits for the query that runs, and not for the other nap.
    let longest = scrapes.iter().max().copied().unwrap_or_default();
    assert!(scrapes.len() > 2, "{scrapes:?}");
    assert!(longest < Duration::from_millis(2400), "{scrapes:?}");

    let (status, out, err) = answer;
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..2], ["one", "at"], "{out}");
    assert!(out.lines().nth(1).is_some_and(|head| {
        head.starts_with("COLLECTOR ") && head.ends_with("  SAMPLES  RESULT")
    }));
    assert_eq!(
        lines[2][1..5],
        ["long_nap", "postgres", "3600", "s"],
        "{out}"
    );
    assert_eq!(lines[3][1], "nap", "{out}");
    let millis: f64 = lines[2][5].parse().expect("milliseconds");
    assert!((1500.0..2500.0).contains(&millis), "{out}");

    let (status, document) = json(&exporter, &["scrape", "one"]);
    assert_eq!(
        (status, &document["Header"]["Command"]),
        (0, &json!("scrape"))
    );
    let response = &document["Response"];
    let queries = response["Queries"].as_array().expect("a list");
    let of = |tag: &str| -> Vec<_> { queries.iter().filter(|one| one["Tag"] == tag).collect() };
    assert_eq!(
        of("everywhere")
            .iter()
            .map(|one| &one["Database"])
            .collect::<Vec<_>>(),
        ["postgres", "other"]
    );
    let connect = queries.iter().filter(|one| one["Collector"] == "connect");
    assert_eq!(connect.count(), 1, "one other database: {queries:?}");
    let settings = of("pg_settings")[0];
    assert!(settings["Samples"].as_u64() > Some(200), "{settings}");
    let sum: f64 = queries
        .iter()
        .filter_map(|one| one["Duration"].as_f64())
        .sum();
    let whole = response["Duration"].as_f64().expect("seconds");
    assert!(2.5 < sum && sum <= whole, "{sum} of {whole}");
    assert!(response["RoundTrip"].as_f64() < Some(1.0));
    // What it asked is what a scrape shows: the samples are counted alike.
    eventually("the count of the scrapes", || {
        exporter.metrics();
        let (_, document) = json(&exporter, &["targets"]);
        document["Response"]["Servers"][0]["Samples"] == response["Samples"]
    });
    assert!(connections(&server) <= 2);
}

#[test]
fn a_scrape_says_what_the_role_may_not_see_and_why_there_is_none() {
    let server = Postgres::start(17);
    server.execute("CREATE ROLE plain LOGIN");
    let exporter = Exporter::builder()
        .server_as("one", &server, "plain", None)
        .section("[down]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
        .start();
    let (status, document) = json(&exporter, &["scrape", "one"]);
    assert_eq!(status, 0, "{document}");
    let queries = document["Response"]["Queries"].as_array().expect("a list");
    let denied = queries.iter().find(|one| one["Outcome"] == "denied");
    let message = denied.expect("a plain role sees less")["Message"].as_str();
    assert!(
        message.is_some_and(|why| why.contains("permission denied")),
        "{denied:?}"
    );

    let begun = Instant::now();
    let (status, _, err) = said(&cli(&exporter, &["scrape", "down"]));
    assert_eq!(status, 1);
    assert!(err.contains("refused"), "{err}");
    assert!(begun.elapsed() < Duration::from_secs(10));

    let (status, _, err) = said(&cli(&lonely().start(), &["scrape", "nowhere"]));
    assert_eq!(status, 1);
    assert!(
        err.contains("Unknown server 'nowhere'; `targets` lists"),
        "{err}"
    );
}

#[test]
fn a_server_that_hangs_ends_the_scrape_and_nothing_else() {
    let server = Postgres::start(17);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("blocking_timeout = 2s")
        .start();
    eventually("it is scraped", || {
        let active = exporter.metrics();
        active.value("pgexporter_postgresql_active", &[]) == Some(1.0)
    });
    server.freeze();
    let (status, _, err) = said(&cli(&exporter, &["scrape", "one"]));
    server.thaw();
    assert_eq!(status, 1);
    assert!(err.contains("no answer in time"), "{err}");
    eventually("it is scraped again", || {
        let active = exporter.metrics();
        active.value("pgexporter_postgresql_active", &[]) == Some(1.0)
    });
    assert!(connections(&server) <= 2);
}
