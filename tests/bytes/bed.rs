//! A real server with roles that metrics of the test know, and what an exporter holds.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::support::{Exporter, Postgres, Samples};

/// One server for all tests of this file. Its roles have the right to see everything, and each
/// stands for another way to give too much.
pub static SERVER: LazyLock<Postgres> = LazyLock::new(|| {
    let server = Postgres::builder(17).max_connections(200).start();
    for role in ["healthy", "labels", "rows", "row", "refusal", "notices"] {
        server.execute(&format!("CREATE ROLE {role} LOGIN"));
        server.execute(&format!("GRANT pg_monitor TO {role}"));
    }
    server.execute(
        "CREATE FUNCTION speak(bytes int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
         IF current_user = 'refusal' THEN RAISE EXCEPTION '%', repeat('x', bytes); END IF; \
         IF current_user = 'notices' THEN FOR i IN 1..bytes / 1000 LOOP \
         RAISE WARNING '%', repeat('x', 1000); END LOOP; END IF; RETURN 1; END $$",
    );
    server
});

/// Metrics that are harmless, unless a role of [`SERVER`] asks.
pub struct TestMetrics {
    folder: tempfile::TempDir,
}

const METRICS: &str = "version: 13
metrics:
  - tag: one
    queries:
      - query: SELECT 1
        columns:
          - {type: gauge, description: One.}
  - tag: labelled
    queries:
      - query: SELECT i::text || repeat('x', CASE current_user WHEN 'labels' THEN 1000 * 1000 ELSE 1 END), 1 FROM generate_series(1, 10) AS i
        columns:
          - {name: text, type: label}
          - {type: gauge, description: Labels that may be long.}
  - tag: rows
    queries:
      - query: SELECT 'a row with a number ' || i, i FROM (SELECT generate_series(1, CASE current_user WHEN 'rows' THEN 1000 * 1000 * 1000 ELSE 3 END) AS i) AS endless
        columns:
          - {name: text, type: label}
          - {type: gauge, description: Rows that may be many.}
  - tag: row
    queries:
      - query: SELECT repeat('x', CASE current_user WHEN 'row' THEN 6 * 1000 * 1000 ELSE 1 END), 1
        columns:
          - {name: text, type: label}
          - {type: gauge, description: A row that may be long.}
  - tag: spoken
    queries:
      - query: SELECT speak(6 * 1000 * 1000)
        columns:
          - {type: gauge, description: What may be refused at length.}
";

impl TestMetrics {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With further metrics.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("metrics.yaml"),
            format!("{METRICS}{more}"),
        )
        .expect("it is written");
        Self { folder }
    }

    /// The line of the configuration that names it.
    pub fn line(&self) -> String {
        format!("metrics_path = {}", self.path().display())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("metrics.yaml")
    }
}

/// A number of the process's status, in kB: `VmRSS` is what it holds, `VmHWM` the most it held.
pub fn memory(exporter: &Exporter, line: &str) -> i64 {
    let path = format!("/proc/{}/status", exporter.pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let found = status.lines().find(|one| one.starts_with(line));
    let words = found.expect("a line").split_whitespace();
    words
        .clone()
        .nth(1)
        .and_then(|kb| kb.parse().ok())
        .expect("a number")
}

/// Whether a server answered.
pub fn is_active(samples: &Samples, server: &str) -> bool {
    samples
        .value("pgexporter_postgresql_active", &[("server", server)])
        .is_some_and(|value| value > 0.5)
}

/// How often a server brought nothing because it sent too much.
pub fn too_large(samples: &Samples, server: &str) -> f64 {
    failures(samples, server, "message_too_large")
}

/// How often a server brought nothing, for that reason.
pub fn failures(samples: &Samples, server: &str, reason: &str) -> f64 {
    let labels = [("server", server), ("reason", reason)];
    let name = "pgexporter_postgresql_failures_total";
    samples.value(name, &labels).unwrap_or_default()
}

/// How often a collector of a server was left out as too large.
pub fn left_out(samples: &Samples, server: &str, collector: &str) -> f64 {
    let labels = [
        ("server", server),
        ("collector", collector),
        ("reason", "too_large"),
    ];
    let name = "pgexporter_postgresql_limit_exceeded_total";
    samples.value(name, &labels).unwrap_or_default()
}

/// How many samples of the built-in catalogue a server has.
pub fn builtin(samples: &Samples, server: &str) -> usize {
    let of_server = |sample: &&crate::support::Sample| {
        sample
            .labels
            .get("server")
            .is_some_and(|name| name == server)
            && sample.name.starts_with("pgexporter_pg_")
    };
    samples.samples.iter().filter(of_server).count()
}
