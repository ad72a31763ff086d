//! What a query gives: labels, rows, and all of them together.

use crate::bed::{SERVER, TestMetrics, builtin, is_active, left_out, memory};
use crate::support::{Exporter, eventually};

#[test]
fn a_long_label_is_cut_and_an_endless_result_is_left_out_alone() {
    let metrics = TestMetrics::with(
        "  - tag: buckets
    queries:
      - query: SELECT repeat('l', 900), array_agg(i), array_agg(i), 1, 1 FROM generate_series(1, CASE current_user WHEN 'rows' THEN 300000 ELSE 3 END) AS i
        columns:
          - {name: text, type: label}
          - {name: buckets, type: histogram, description: A histogram with many buckets.}
",
    );
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("labels", &SERVER, "labels", None)
        .server_as("rows", &SERVER, "rows", None)
        .server_as("healthy", &SERVER, "healthy", None)
        .start();
    let mut last = None;
    eventually("all are up", || {
        let samples = exporter.metrics();
        let all = ["labels", "rows", "healthy"];
        let up = all.iter().all(|name| is_active(&samples, name));
        let cut = left_out(&samples, "rows", "rows") >= 1.0;
        last = Some(samples);
        up && cut
    });
    let samples = last.expect("a scrape");
    let cut = samples.with("pgexporter_labelled", &[("server", "labels")]);
    assert_eq!(cut.len(), 10);
    for sample in cut {
        let text = &sample.labels["text"];
        assert!(
            text.len() > 1000 && text.len() <= 1024,
            "{} bytes",
            text.len()
        );
        assert!(text.ends_with('…'), "{text}");
    }
    let short = samples.with("pgexporter_labelled", &[("server", "rows")]);
    assert!(short.iter().all(|sample| sample.labels["text"].len() <= 3));
    // The family is left out whole, and all the others are there.
    let rows = |server| samples.with("pgexporter_rows", &[("server", server)]).len();
    assert_eq!((rows("rows"), rows("labels"), rows("healthy")), (0, 3, 3));
    let whole = builtin(&samples, "healthy");
    let here = builtin(&samples, "rows");
    assert!(here * 10 > whole * 9, "{here} of {whole} samples");
    assert!(left_out(&samples, "rows", "buckets") >= 1.0);
    let buckets = |server| {
        samples
            .with("pgexporter_buckets_count", &[("server", server)])
            .len()
    };
    assert_eq!((buckets("rows"), buckets("healthy")), (0, 1));
    // It is said in each place, and once in the log, whatever the number of scrapes.
    for _ in 0..3 {
        exporter.metrics();
    }
    let log = exporter.log();
    let told = log
        .lines()
        .filter(|line| line.contains("raise query_bytes_limit"));
    assert_eq!(told.count(), 1, "{log}");
    let page = exporter.get("/").body;
    assert!(page.contains("query_bytes_limit"), "the overview says why");
    let connections = samples.value(
        "pgexporter_postgresql_connections_total",
        &[("server", "rows")],
    );
    assert_eq!(connections, Some(1.0), "the session is kept: {log}");
    let most = memory(&exporter, "VmHWM");
    assert!(most < 100 * 1024, "{most} kB");
}
