//! What the README and the pages of `docs/` promise: links lead somewhere, examples work, and
//! every reason of a failure is explained.
#![allow(clippy::unwrap_used, clippy::panic)]

use test_support as support;

use std::fs;
use std::path::{Path, PathBuf};

use pgexporter::model::TargetErrorKind;
use pgexporter::{catalog, config};
use support::{Exporter, Postgres, Samples, eventually};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(|name| Path::new(ROOT).join(name))
    .into();
    let mut folders = vec![Path::new(ROOT).join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The text without what stands between fences.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What `](…)` and `src="…"` hold.
fn links(prose: &str) -> Vec<&str> {
    let of = |begin: &'static str, end: char| {
        let parts = prose.split(begin).skip(1);
        parts.filter_map(move |rest| rest.split(end).next())
    };
    of("](", ')').chain(of("src=\"", '"')).collect()
}

/// The anchors that headings get on the project's site.
fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            // Made by `make bench`, on the machine that it ran on.
            if target.ends_with("docs/performance.md") && !target.exists() {
                continue;
            }
            let found = target.exists()
                && (anchor.is_empty()
                    || anchors(&prose(&fs::read_to_string(&target).unwrap()))
                        .iter()
                        .any(|one| one == anchor));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 100, "only {seen} links were found");
}

#[test]
fn every_reason_of_a_failure_is_explained() {
    let page = fs::read_to_string(format!("{ROOT}/docs/faults.md")).unwrap();
    for reason in TargetErrorKind::ALL {
        let line = format!("| `{}` |", reason.as_str());
        assert!(page.contains(&line), "docs/faults.md lacks {line}");
    }
}

#[test]
fn the_example_of_a_configuration_is_read_without_a_complaint() {
    let path = Path::new(ROOT).join("docs/examples/pgexporter.conf");
    let loaded = config::load(&path).unwrap();
    assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
    assert_eq!(loaded.configuration.servers.len(), 2);
}

#[test]
fn each_example_of_metrics_is_read() {
    let folder = Path::new(ROOT).join("docs/examples/metrics");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metrics = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "json");
        if metrics {
            read += 1;
            if let Err(error) = catalog::load(std::slice::from_ref(&path)) {
                panic!("{error}");
            }
        }
    }
    assert!(read >= 7, "only {read} examples");
}

#[test]
fn the_examples_of_metrics_give_samples_on_real_servers() {
    let old = Postgres::start(13);
    let new = Postgres::builder(17)
        .preload("pg_stat_statements")
        .set("pg_stat_statements.track", "all")
        .start();
    new.execute("CREATE EXTENSION pg_stat_statements");
    // One statement from a client, and the same from a function: it has two rows.
    new.execute("CREATE TABLE nested (id int)");
    new.execute(
        "CREATE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS $$
         BEGIN FOR i IN 1..2000 LOOP PERFORM pg_sleep(0); INSERT INTO nested VALUES (1); END LOOP; END $$",
    );
    new.execute("SELECT nested()");
    for _ in 0..20 {
        new.execute("INSERT INTO nested VALUES (1)");
    }
    for server in [&old, &new] {
        server.execute("CREATE ROLE monitor LOGIN IN ROLE pg_monitor");
        server.execute("CREATE TABLE orders (state text, created timestamptz DEFAULT now())");
        server.execute("INSERT INTO orders SELECT 'paid' FROM generate_series(1, 3)");
        server.execute("GRANT SELECT ON orders TO monitor");
    }
    let exporter = Exporter::builder()
        .server_as("old", &old, "monitor", None)
        .server_as("new", &new, "monitor", None)
        .argument("-Y")
        .argument(format!("{ROOT}/docs/examples/metrics"))
        .start();
    let up = |samples: &Samples| {
        samples
            .all("pgexporter_postgresql_active")
            .iter()
            .all(|one| one.value == 1.0)
    };
    eventually("both servers answer", || up(&exporter.metrics()));
    let samples = exporter.metrics();
    let of = |family: &str, server: &str| samples.with(family, &[("server", server)]).len();
    for server in ["old", "new"] {
        let labels = [("server", server), ("state", "paid")];
        assert_eq!(
            samples.value("pgexporter_shop_orders_waiting", &labels),
            Some(3.0)
        );
        for family in [
            "pgexporter_shop_orders_oldest",
            "pgexporter_session_age_bucket",
            "pgexporter_pg_long_running_transactions_age_seconds",
            "pgexporter_tables_count",
            "pgexporter_prepared_transactions",
            "pgexporter_temp_files_size",
        ] {
            // A server without a transaction that runs has none to show.
            let transactions = family.contains("transactions_age");
            assert!(
                of(family, server) > 0 || transactions,
                "{family} of {server}: {}",
                exporter.log()
            );
        }
    }
    assert_eq!(of("pgexporter_backup_exclusive", "old"), 1);
    assert_eq!(of("pgexporter_backup_exclusive", "new"), 0);
    assert_eq!(of("pgexporter_tables_never_read", "old"), 0);
    assert_eq!(of("pgexporter_tables_never_read", "new"), 1);
    assert_eq!(of("pgexporter_pg_stat_statements_calls", "old"), 0);
    assert!(
        of("pgexporter_pg_stat_statements_calls", "new") > 0,
        "{}",
        exporter.log()
    );
    assert_eq!(
        samples.value("pgexporter_query_errors_total", &[]),
        Some(0.0),
        "{}",
        exporter.log()
    );
    let both = samples.all("pgexporter_pg_stat_statements_calls");
    let nested = |toplevel: &str| {
        let calls = if toplevel == "t" { 20.0 } else { 2000.0 };
        both.iter()
            .filter(|one| one.labels["toplevel"] == toplevel && one.value == calls)
            .map(|one| one.labels["queryid"].as_str())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (top, inner) = (nested("t"), nested("f"));
    assert!(
        top.intersection(&inner).next().is_some(),
        "{both:?}: {}",
        exporter.log()
    );
    // No example brings a sample twice.
    assert!(
        samples
            .all("pgexporter_postgresql_duplicate_samples_total")
            .is_empty()
    );
    assert!(!exporter.log().contains("left out"), "{}", exporter.log());
}

/// Both the page and its template, which is filled by `make soak`.
#[test]
fn each_test_that_the_page_on_reliability_names_is_there() {
    for page in ["docs/reliability.md", "benches/soak/reliability.md"] {
        let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
        let mut rows = 0;
        for line in text.lines().filter(|line| line.starts_with("| ")) {
            let Some((_, last)) = line.trim_end_matches(" |").rsplit_once(" | ") else {
                continue;
            };
            let mut binary = String::new();
            for name in last.split('`').skip(1).step_by(2) {
                if !name.contains('_') {
                    binary = name.to_owned();
                    continue;
                }
                let folder = Path::new(ROOT).join("tests").join(&binary);
                let files = fs::read_dir(&folder).into_iter().flatten();
                let files = files.map(|entry| entry.unwrap().path());
                let found = files
                    .chain([folder.with_extension("rs")])
                    .filter_map(|file| fs::read_to_string(file).ok())
                    .any(|text| text.contains(&format!("fn {name}()")));
                assert!(found, "{page}: there is no test {name} in {binary}");
                rows += 1;
            }
        }
        assert!(rows > 40, "{page}: {rows} tests");
    }
}
