//! The limit of all servers together.

use crate::bed::{SERVER, TestMetrics, builtin, is_active, left_out, memory};
use crate::support::{Exporter, Samples, eventually};

/// Rows of which the server of the role `greedy` has half a million.
const MUCH: &str = "  - tag: much
    queries:
      - query: SELECT md5(i::text), i FROM (SELECT generate_series(1, CASE current_user WHEN 'greedy' THEN 400000 ELSE 3 END) AS i) AS many
        columns:
          - {name: text, type: label}
          - {type: gauge, description: Rows that all servers together have no room for.}
";

#[test]
fn servers_that_take_more_than_all_may_have_lose_their_large_families_and_nobody_else_any() {
    SERVER.execute("CREATE ROLE greedy LOGIN; GRANT pg_monitor TO greedy");
    let metrics = TestMetrics::with(MUCH);
    let greedy: Vec<String> = (1..=3).map(|number| format!("greedy{number}")).collect();
    let healthy: Vec<String> = (1..=5).map(|number| format!("healthy{number}")).collect();
    let mut builder = Exporter::builder()
        .set(&metrics.line())
        .set("query_bytes_limit = 256M")
        .set("target_bytes_limit = 256M")
        .set("total_bytes_limit = 16M");
    for (names, role) in [(&greedy, "greedy"), (&healthy, "healthy")] {
        for name in names {
            builder = builder.server_as(name, &SERVER, role, None);
        }
    }
    let exporter = builder.start();
    let mut last = None;
    eventually("all are up, and too much", || {
        let samples = exporter.metrics();
        let up = greedy.iter().chain(&healthy);
        let up = up.clone().all(|name| is_active(&samples, name));
        let too_much = greedy
            .iter()
            .any(|name| left_out(&samples, name, "much") > 0.0);
        last = Some(samples);
        up && too_much
    });
    let samples = last.expect("a scrape");
    let whole = builtin(&samples, "healthy1");
    assert!(whole > 300, "{whole} samples");
    let count =
        |samples: &Samples, name: &str| samples.with("pgexporter_much", &[("server", name)]).len();
    for _ in 0..3 {
        let samples = exporter.metrics();
        for name in &healthy {
            let here = builtin(&samples, name);
            assert!(here * 20 > whole * 19, "{name}: {here} of {whole}");
            assert_eq!(count(&samples, name), 3, "{name}");
            let missing = samples.with("pgexporter_postgresql_left_out", &[("server", name)]);
            assert!(missing.is_empty(), "{missing:?}");
        }
        let mut lost = 0;
        for name in &greedy {
            assert!(is_active(&samples, name), "{name}: {}", exporter.log());
            let labels = [("server", name.as_str()), ("collector", "much")];
            let missing = samples.value("pgexporter_postgresql_left_out", &labels);
            // The family is there whole, or not at all; the others of the server are.
            let expected = if missing.is_some() { 0 } else { 400_000 };
            assert_eq!(count(&samples, name), expected, "{name}");
            assert!(builtin(&samples, name) * 20 > whole * 19, "{name}");
            lost += usize::from(missing.is_some());
        }
        assert!(
            (1..=3).contains(&lost),
            "{lost} of them: {}",
            exporter.log()
        );
    }
    let log = exporter.log();
    assert!(log.contains("raise total_bytes_limit"), "{log}");
    let peak = memory(&exporter, "VmHWM");
    assert!(peak < 160 * 1024, "{peak} kB");
}
