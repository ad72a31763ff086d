//! Every SQL type with its extremes, as a measure and as a label: what is sent is what promtool
//! and a real Prometheus read, in both formats.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::custom::{exporter, folder};
use super::support::{Postgres, Prometheus, Samples, promtool_check, within};

/// Expressions, with the type to cast to. Those that a major version lacks are left out there.
const VALUES: [(&str, &str); 62] = [
    ("numeric", "10::numeric ^ 400"),
    ("numeric", "-(10::numeric ^ 400)"),
    ("numeric", "10::numeric ^ 131071"),
    ("numeric", "10::numeric ^ -400"),
    ("numeric", "1.7976931348623157e308::numeric"),
    ("numeric", "1.7976931348623159e308::numeric"),
    ("numeric", "repeat('9', 309)::numeric"),
    ("numeric", "('0.' || repeat('3', 16383))::numeric"),
    ("numeric", "'NaN'::numeric"),
    ("numeric", "12345678901234567890.5"),
    ("text", "'1e400'"),
    ("text", "'-1e400'"),
    ("text", "'1e-400'"),
    ("text", "'4.9e-324'"),
    ("text", "'0e999999999999'"),
    ("text", "'1e999999999999999999999'"),
    ("text", "repeat('0', 5000) || '7'"),
    ("text", "'-0'"),
    ("text", "'+5'"),
    ("text", "'.5'"),
    ("text", "'5.'"),
    ("text", "'1_000'"),
    ("text", "'0x1F'"),
    ("text", "'0x1p-2'"),
    ("text", "'inf'"),
    ("text", "'-Infinity'"),
    ("text", "'nan'"),
    ("text", "'+NaN'"),
    ("text", "' 7 '"),
    ("text", "E'a\\n# TYPE x counter\\nx 1'"),
    ("text", "'٣'"),
    ("float8", "'NaN'"),
    ("float8", "'Infinity'"),
    ("float8", "'-Infinity'"),
    ("float8", "4.9e-324"),
    ("float8", "1.7976931348623157e308"),
    ("float8", "'-0'"),
    ("float4", "'NaN'"),
    ("float4", "1e-45"),
    ("float4", "3.4028235e38"),
    ("int8", "-9223372036854775808"),
    ("int4", "-2147483648"),
    ("int2", "-32768"),
    ("oid", "4294967295"),
    ("xid", "'4294967295'"),
    ("xid8", "'18446744073709551615'"),
    ("bool", "true"),
    ("\"char\"", "'\\351'"),
    ("\"char\"", "0"),
    ("bytea", "'\\x00ff'"),
    ("money", "'-92233720368547758.08'"),
    ("interval", "'-178000000 years'"),
    ("timestamptz", "'infinity'"),
    ("timestamp", "'-infinity'"),
    ("date", "'4713-01-01 BC'"),
    ("jsonb", "'{\"a\": [1, \"\\u00e9\\n\"]}'"),
    ("json", "'1e400'"),
    ("int4[]", "'{1,NULL}'"),
    ("uuid", "'00000000-0000-0000-0000-000000000000'"),
    ("inet", "'::1/128'"),
    ("bit(3)", "B'101'"),
    ("int4range", "'[1,5)'"),
];

/// A tag for each value: it is a gauge, a counter and a label.
fn metrics(server: &Postgres) -> (String, usize) {
    let mut text = String::from("metrics:\n");
    let mut count = 0;
    for (at, (kind, value)) in VALUES.iter().enumerate() {
        let value = format!("CAST({value} AS {kind})");
        if server
            .session("postgres")
            .try_execute(&format!("SELECT {value}"))
            .is_err()
        {
            continue;
        }
        count += 1;
        let sql = format!("SELECT {value}, {value}, {value}")
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        let _ = write!(
            text,
            "  - tag: v{at}\n    query: \"{sql}\"\n    columns: [{{name: l, type: label}}, {{name: g, type: gauge, \
             description: \"a \\\"b\\\" \\\\ c\\n# EOF\\nd\\0e \"}}, {{name: c_total, type: counter, description: \"\"}}]\n"
        );
    }
    text.push_str(
        "  - tag: sizes
    query: SELECT ARRAY['NaN', '-Infinity', '1e308', '0.1', '-0', '0', 'Infinity']::float8[], ARRAY[1,2,'NaN',4,5,6,7]::float8[], 10::numeric ^ 400, 10::numeric ^ 400
    columns: [{name: h, type: histogram}]
",
    );
    (text, count)
}

#[test]
fn every_value_of_every_type_is_read_by_prometheus_in_both_formats() {
    let servers = [13, 18].map(|major| (major, Postgres::start(major)));
    let mut exporters = Vec::new();
    for (major, server) in &servers {
        let (text, count) = metrics(server);
        assert!(count + 6 >= VALUES.len(), "{major}: only {count} values");
        let files = folder(&[("v.yaml", &text)]);
        for line in ["openmetrics = off", "openmetrics = on"] {
            let exporter = exporter(server, &files).set(line).start();
            exporters.push((*major, count, line, exporter));
        }
    }
    let addresses: Vec<String> = exporters
        .iter()
        .map(|(.., exporter)| format!("127.0.0.1:{}", exporter.port("metrics")))
        .collect();
    let prometheus = Prometheus::start(&addresses, "groups: []");
    for ((major, count, line, exporter), address) in exporters.iter().zip(&addresses) {
        let body = exporter.get("/metrics").body;
        if let Err(said) = promtool_check(&body) {
            panic!("{major} {line}: {said}");
        }
        let answer = exporter.get_with("/metrics", &[super::WISH]).body;
        if *line == "openmetrics = on" {
            let families = super::openmetrics::check(&answer).expect("it is OpenMetrics 1.0");
            // OpenMetrics has no counter that is negative or not a number.
            for (tag, kind) in [
                (0, "counter"),
                (1, "unknown"),
                (8, "unknown"),
                (42, "unknown"),
            ] {
                let name = if kind == "counter" { "c" } else { "c_total" };
                let found = families.get(&format!("pgexporter_v{tag}_{name}"));
                assert_eq!(found.map(String::as_str), Some(kind), "{tag}");
            }
        }
        let samples = Samples::parse(&body);
        for (kind, suffix) in [("gauge", "_g"), ("counter", "_c_total")] {
            let ours = |name: &str| name.starts_with("pgexporter_v") && name.ends_with(suffix);
            let found: Vec<_> = samples
                .samples
                .iter()
                .filter(|one| ours(&one.name))
                .collect();
            assert_eq!(found.len(), *count, "{major} {kind}: {}", exporter.log());
        }
        let number = |tag: usize| samples.value(&format!("pgexporter_v{tag}_g"), &[]);
        let known: BTreeMap<usize, f64> = [
            (0, f64::INFINITY),
            (1, f64::NEG_INFINITY),
            (2, f64::INFINITY),
            (3, 0.0),
            (4, f64::MAX),
            (5, f64::INFINITY),
            (13, 5e-324),
            (16, 7.0),
            (21, 1.0),
            (47, 1.0),
            (48, 0.0),
        ]
        .into();
        for (tag, value) in known {
            assert_eq!(number(tag), Some(value), "{major} {:?}", VALUES[tag]);
        }
        // Whole as Prometheus sees it: it takes all of a scrape or nothing.
        let query = |what: &str| {
            let found = prometheus.query(&format!("{what}{{instance=\"{address}\"}}"));
            found.ok()?.first().map(|series| series.value)
        };
        let taken = within(super::support::DEADLINE, || query("up") == Some(1.0));
        let targets = super::support::exporter::get(&prometheus.url("/api/v1/targets"), &[]);
        let why = targets.map(|answer| answer.body).unwrap_or_default();
        assert!(taken, "{major} {line}: {why}");
        let scraped = query("scrape_samples_scraped").unwrap_or_default();
        let sent = samples.samples.len();
        // What comes and goes at the server are a few sessions and locks.
        let difference = (scraped - sent as f64).abs();
        assert!(difference < 25.0, "{major} {line}: {scraped} of {sent}");
        for suffix in ["g", "c_total"] {
            let expr = format!(
                "count({{__name__=~\"pgexporter_v[0-9]+_{suffix}\",instance=\"{address}\"}})"
            );
            let stored = prometheus.query(&expr).expect("an answer");
            assert_eq!(stored[0].value, *count as f64, "{major} {line} {suffix}");
        }
    }
}
