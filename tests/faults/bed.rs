//! Two servers, an exporter on both, a watcher that counts sessions, and what is asked of a scrape.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::exporter::ExporterBuilder;
use crate::support::{Exporter, Postgres, Samples, Session, client};

/// A build for tests, on a machine with other tests, needs a moment to write an answer.
pub const SLACK: Duration = Duration::from_millis(1_500);

/// The role that exporters log in as, and nobody else.
pub const ROLE: &str = "monitor";

/// Gives a server the role, and four databases beside `postgres`.
pub fn furnish(server: &Postgres) {
    let session = server.session("postgres");
    session.execute(&format!("CREATE ROLE {ROLE} LOGIN"));
    session.execute(&format!("GRANT pg_monitor TO {ROLE}"));
    for name in ["d1", "d2", "d3", "d4"] {
        session.execute(&format!("CREATE DATABASE {name}"));
    }
}

/// A furnished server of a major version.
pub fn server(major: u32) -> Postgres {
    let server = Postgres::start(major);
    furnish(&server);
    server
}

/// A file of custom metrics. `EVERYWHERE` is always among them, so that each scrape walks through
/// all databases.
pub struct Metrics {
    folder: tempfile::TempDir,
}

const EVERYWHERE: &str = "  - tag: everywhere
    database: all
    queries:
      - query: SELECT 1
        columns:
          - {type: gauge, description: One in each database.}
";

impl Metrics {
    /// With further metrics: tag, further keys such as `timeout: 1s`, and the query of one column.
    pub fn new(more: &[(&str, &str, &str)]) -> Self {
        let mut text = format!("version: 13\nmetrics:\n{EVERYWHERE}");
        for (tag, keys, sql) in more {
            text.push_str(&format!("  - tag: {tag}\n"));
            for key in keys.split(", ").filter(|key| !key.is_empty()) {
                text.push_str(&format!("    {key}\n"));
            }
            text.push_str(&format!(
                "    queries:\n      - query: {sql}\n        columns:\n          - {{type: gauge, description: A test.}}\n"
            ));
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("metrics.yaml"), text).expect("it is written");
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

/// A lock that the metric [`GATE`] waits for: a scrape stands still while it is held.
pub struct Gate(Session);

/// A metric that waits at the gate of its server.
pub const GATE: (&str, &str, &str) = (
    "gate",
    "",
    "SELECT length(pg_advisory_xact_lock_shared(42)::text)",
);

impl Gate {
    pub fn close(server: &Postgres) -> Self {
        let session = server.session("postgres");
        session.execute("SELECT pg_advisory_lock(42)");
        Self(session)
    }

    /// Whether a scrape waits before it.
    pub fn is_waited_for(&self) -> bool {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        self.0.text(sql)[0][0].as_deref() != Some("0")
    }

    pub fn open(self) {
        self.0.execute("SELECT pg_advisory_unlock(42)");
    }
}

/// An exporter's configuration for two servers, `sick` and `healthy`.
pub fn exporter(sick: &Postgres, healthy: &Postgres, metrics: &Metrics) -> ExporterBuilder {
    Exporter::builder()
        .set(&metrics.line())
        .server_as("sick", sick, ROLE, sick.password())
        .server_as("healthy", healthy, ROLE, healthy.password())
}

/// A scrape as Prometheus asks for it, and how long it took.
#[track_caller]
pub fn scrape_within(exporter: &Exporter, seconds: f64) -> (Samples, Duration) {
    let begin = Instant::now();
    let answer = exporter.get_with(
        "/metrics",
        &[("X-Prometheus-Scrape-Timeout-Seconds", &seconds.to_string())],
    );
    let took = begin.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.body);
    (Samples::parse(&answer.body), took)
}

/// Whether a server answered.
#[track_caller]
pub fn is_active(samples: &Samples, server: &str) -> bool {
    samples
        .value("pgexporter_postgresql_active", &[("server", server)])
        .expect("every server has this sample")
        > 0.5
}

/// How often a server brought nothing, for one reason.
#[track_caller]
pub fn failures(samples: &Samples, server: &str, reason: &str) -> f64 {
    let labels = [("server", server), ("reason", reason)];
    samples
        .value("pgexporter_postgresql_failures_total", &labels)
        .expect("every reason has a sample from the start")
}

/// All failures of a server, to see that there were none for another reason.
pub fn all_failures(samples: &Samples, server: &str) -> f64 {
    samples
        .with(
            "pgexporter_postgresql_failures_total",
            &[("server", server)],
        )
        .iter()
        .map(|sample| sample.value)
        .sum()
}

/// Waits until both servers answer a scrape, whose families by server are the measure for later.
#[track_caller]
pub fn settled(exporter: &Exporter) -> Samples {
    let mut last = None;
    crate::support::eventually("all servers are scraped", || {
        let samples = exporter.metrics();
        let active = samples.all("pgexporter_postgresql_active");
        let all = active.len() > 1 && active.iter().all(|sample| sample.value > 0.5);
        last = Some(samples);
        all
    });
    last.expect("a scrape")
}

/// Waits until a server answers again.
#[track_caller]
pub fn recovers(exporter: &Exporter, server: &str) -> Samples {
    let mut last = None;
    crate::support::eventually(&format!("{server} is scraped again"), || {
        let samples = exporter.metrics();
        let active = is_active(&samples, server);
        last = Some(samples);
        active
    });
    last.expect("a scrape")
}

/// The series of a server that do not come and go with what goes on at the server: all but those
/// of waits, locks and single sessions.
pub fn series(samples: &Samples, server: &str) -> BTreeSet<String> {
    const VOLATILE: [&str; 11] = [
        "wait_event",
        "locks",
        "idle_procs",
        "process_idle",
        "long_running",
        "mem_ctx",
        "progress",
        "aios",
        "activity",
        "denied",
        "installed_extensions",
    ];
    samples
        .samples
        .iter()
        .filter(|sample| {
            sample
                .labels
                .get("server")
                .is_some_and(|name| name == server)
        })
        .filter(|sample| !VOLATILE.iter().any(|part| sample.name.contains(part)))
        .map(|sample| format!("{} {:?}", sample.name, sample.labels))
        .collect()
}

/// Fails the test when a server shows less than it did before.
#[track_caller]
pub fn nothing_lost(before: &Samples, after: &Samples, server: &str) {
    let (before, after) = (series(before, server), series(after, server));
    assert!(before.len() > 500, "only {} series before", before.len());
    let lost: Vec<_> = before.difference(&after).collect();
    assert!(lost.is_empty(), "{server} lost {lost:#?}");
}

/// Fails the test when the healthy server did not answer whole and without a failure.
#[track_caller]
pub fn healthy_is_whole(before: &Samples, after: &Samples) {
    assert!(is_active(after, "healthy"));
    assert_eq!(
        all_failures(after, "healthy"),
        all_failures(before, "healthy")
    );
    nothing_lost(before, after, "healthy");
}

/// Counts the role's sessions at a server every 2 ms, all the time.
pub struct Watch {
    most: Arc<AtomicUsize>,
    looks: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub fn on(server: &Postgres) -> Self {
        let (most, looks, stop) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let config = server.config("postgres");
        let role = server.value(&format!(
            "SELECT oid FROM pg_roles WHERE rolname = '{ROLE}'"
        ));
        // No view and no catalogue: a locked one must not blind us.
        let sql = format!(
            "SELECT count(*) FROM pg_stat_get_activity(NULL) AS a WHERE a.usesysid = {role}"
        );
        let (max, counted, end) = (most.clone(), looks.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                while !end.load(Ordering::Relaxed) {
                    // A server that is stopped is watched again once it is back.
                    if let Ok(client) = client::connect(&config).await
                        && let Ok(statement) = client.prepare(&sql).await
                    {
                        while !end.load(Ordering::Relaxed) {
                            let asked = client.query_one(&statement, &[]);
                            let limit = Duration::from_millis(500);
                            let mut asked = std::pin::pin!(asked);
                            let row = loop {
                                // A frozen server answers later; the test may end before.
                                match tokio::time::timeout(limit, asked.as_mut()).await {
                                    Ok(row) => break row.ok(),
                                    Err(_) if end.load(Ordering::Relaxed) => break None,
                                    Err(_) => {}
                                }
                            };
                            let Some(row) = row else { break };
                            let count = usize::try_from(row.get::<_, i64>(0)).expect("a count");
                            max.fetch_max(count, Ordering::Relaxed);
                            counted.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            runtime.shutdown_background();
        });
        Self {
            most,
            looks,
            stop,
            thread: Some(thread),
        }
    }

    /// The most sessions at once that were seen.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How often it looked.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// Fails the test when there ever were more than two.
    #[track_caller]
    pub fn never_more_than_two(&self) {
        self.never_more_than(2);
    }

    #[track_caller]
    pub fn never_more_than(&self, limit: usize) {
        let looks = self.looks();
        assert!(looks > 20, "looked only {looks} times");
        let most = self.most();
        assert!(most > 0, "never a session");
        assert!(most <= limit, "{most} sessions at once");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
