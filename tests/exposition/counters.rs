//! A counter only grows, or begins again at 0: what falls otherwise would be read as growth.

use std::collections::BTreeMap;

use super::support::{Exporter, Postgres, Samples, eventually};

/// Two indexes, a TOAST table and two functions of one name, all of them used.
const SCENE: &str = "
CREATE TABLE orders (id int PRIMARY KEY, day int, note text);
CREATE INDEX by_day ON orders (day);
INSERT INTO orders SELECT i, i % 100, repeat(md5(i::text), 200) FROM generate_series(1, 3000) AS i;
ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
UPDATE orders SET note = note || 'x' WHERE id < 200;
ANALYZE orders;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM orders WHERE day = 7;
SELECT count(note) FROM orders WHERE id < 100;
SELECT sum(length(note)) FROM orders WHERE day < 50;
CREATE FUNCTION total(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION total(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
SELECT total(i), total(i::text) FROM generate_series(1, 50) AS i;
";

/// Name and labels, with the value, of each sample of a counter.
fn counters(samples: &Samples) -> BTreeMap<String, f64> {
    let of = |one: &&super::support::Sample| {
        samples.types.get(&one.name).map(String::as_str) == Some("counter")
    };
    let counters = samples.samples.iter().filter(of);
    counters
        .map(|one| (format!("{} {:?}", one.name, one.labels), one.value))
        .collect()
}

#[test]
fn no_counter_falls_when_what_it_counts_for_is_dropped() {
    let server = Postgres::builder(18).set("track_functions", "all").start();
    server.execute(SCENE);
    let exporter = Exporter::builder()
        .set("collector_interval = 1s")
        .server("one", &server)
        .start();
    let functions = [("funcname", "total")];
    let calls = "pgexporter_pg_stat_user_functions_calls";
    let tables = [("relname", "orders"), ("database", "postgres")];
    let scans = "pgexporter_pg_stat_all_indexes_idx_scans";
    let reads = "pgexporter_pg_statio_all_tables_idx_blks_hit";
    // A session tells the server of what it counted when it ends, or some time after.
    let mut before = Samples::default();
    eventually("all is counted", || {
        before = exporter.metrics();
        before.value(calls, &functions) == Some(100.0)
            && before.value(scans, &tables) >= Some(3.0)
            && before.value(reads, &tables) >= Some(100.0)
    });
    let known = counters(&before);
    assert!(known.len() > 300, "only {} counters", known.len());
    server.execute("DROP INDEX by_day; DROP FUNCTION total(text)");
    let mut after = Samples::default();
    eventually("the sums have fallen", || {
        after = exporter.metrics();
        let fell = |name: &str, labels: &[(&str, &str)]| {
            after.value(name, labels) < before.value(name, labels)
        };
        fell(calls, &functions) && fell(scans, &tables) && fell(reads, &tables)
    });
    let fallen: Vec<String> = counters(&after)
        .into_iter()
        .filter_map(|(name, now)| {
            let then = known.get(&name)?;
            (now < *then).then(|| format!("{name}: {then}, then {now}"))
        })
        .collect();
    assert!(fallen.is_empty(), "{fallen:#?}");
}
