//! Tries and turns: how often what fails is tried, and that one database does not cost another.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Metrics, ROLE, SLACK, Watch, furnish, is_active, scrape_within};
use crate::support::exporter::can_name_hosts;
use crate::support::{Exporter, PgBouncer, Postgres, Samples, eventually};

const SICK: [(&str, &str); 1] = [("server", "sick")];

/// How often a query of a collector failed for a reason.
fn failed(samples: &Samples, collector: &str, reason: &str) -> f64 {
    let labels = [
        ("server", "sick"),
        ("collector", collector),
        ("reason", reason),
    ];
    samples
        .value("pgexporter_postgresql_query_failures_total", &labels)
        .unwrap_or(0.0)
}

/// Databases with a sample of the metric that runs in each.
fn seen(samples: &Samples) -> Vec<String> {
    let mut names: Vec<String> = samples
        .with("pgexporter_everywhere", &SICK)
        .iter()
        .map(|sample| sample.labels["database"].clone())
        .collect();
    names.sort();
    names
}

/// Databases that the exporter says are missing, with the reason.
fn missing(samples: &Samples) -> Vec<(String, String)> {
    samples
        .with("pgexporter_postgresql_database_missing", &SICK)
        .iter()
        .map(|one| (one.labels["database"].clone(), one.labels["reason"].clone()))
        .collect()
}

/// Scrapes until the server answers.
fn first(exporter: &Exporter) -> Samples {
    let mut last = None;
    eventually("the server is scraped", || {
        let samples = exporter.metrics();
        let active = is_active(&samples, "sick");
        last = Some(samples);
        active
    });
    last.expect("a scrape")
}

#[test]
fn what_fails_waits_for_its_interval_and_longer_each_time_and_a_grant_counts_at_a_reload() {
    let server = Postgres::builder(17)
        .set("log_min_error_statement", "error")
        .start();
    furnish(&server);
    server.execute("CREATE TABLE zero AS SELECT 0 AS n; GRANT SELECT ON zero TO public");
    server.execute("CREATE TABLE locked AS SELECT 7 AS n; GRANT SELECT ON locked TO public");
    server.execute("CREATE TABLE secret AS SELECT 5 AS n");
    let metrics = Metrics::new(&[
        (
            "slow",
            "interval: 1h, timeout: 1s",
            "SELECT length(pg_sleep(601)::text)",
        ),
        ("divided", "interval: 1h", "SELECT 11 / n FROM zero"),
        ("waits", "interval: 1h", "SELECT n + 12 - 12 FROM locked"),
        ("often", "", "SELECT 13 / n FROM zero"),
        ("denied", "interval: 1h", "SELECT n + 14 - 14 FROM secret"),
        ("denied_often", "", "SELECT n + 15 - 15 FROM secret"),
    ]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("lock_timeout = 300ms")
        .server_as("sick", &server, ROLE, None)
        .start();
    // A new session prepares what it can, whatever is due.
    eventually("connected", || exporter.log().contains("connected"));
    let lock = server.session("postgres");
    lock.execute("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE");
    first(&exporter);
    let begun = Instant::now();
    for _ in 0..8 {
        let samples = exporter.metrics();
        assert!(is_active(&samples, "sick"));
    }
    // How often the server's log has a statement that failed.
    let runs = |part: &str| server.log().matches(part).count();
    let parts = ["pg_sleep(601)", "11 / n", "n + 12", "n + 14", "n + 15"];
    for part in parts {
        assert_eq!(runs(part), 1, "{part}: {}", server.log());
    }
    // Two at once, then after 2, 4, 8 … seconds.
    let allowed = 3 + begun.elapsed().as_secs() as usize / 2;
    let often = runs("13 / n");
    assert!(
        often >= 2 && often <= allowed.min(6),
        "{often} of {allowed}"
    );

    let samples = exporter.metrics();
    for (collector, reason) in [
        ("slow", "timeout"),
        ("divided", "error"),
        ("waits", "lock_timeout"),
        ("denied", "permission_denied"),
        ("denied_often", "permission_denied"),
    ] {
        assert_eq!(failed(&samples, collector, reason), 1.0, "{collector}");
        let of_it = [("server", "sick"), ("collector", collector)];
        let all = samples.with("pgexporter_postgresql_query_failures_total", &of_it);
        assert_eq!(all.len(), 1, "{collector}");
    }
    assert!(failed(&samples, "often", "error") >= 2.0);
    let log = exporter.log();
    for tag in ["slow", "divided", "waits", "often"] {
        let told = log.lines().filter(|line| {
            line.contains(&format!("tag={tag} ")) || line.ends_with(&format!("tag={tag}"))
        });
        assert_eq!(told.count(), 1, "{tag}: {log}");
    }

    // A GRANT, and whatever else was mended, counts at a reload.
    server.execute("GRANT SELECT ON secret TO public; UPDATE zero SET n = 1");
    lock.execute("ROLLBACK");
    exporter.signal(Signal::HUP);
    eventually("all but the slow one are back", || {
        let samples = exporter.metrics();
        ["divided", "waits", "often", "denied", "denied_often"]
            .iter()
            .all(|tag| samples.value(&format!("pgexporter_{tag}"), &SICK).is_some())
    });
    assert_eq!(runs("pg_sleep(601)"), 2);
    assert!(
        exporter
            .metrics()
            .with("pgexporter_postgresql_denied", &SICK)
            .iter()
            .all(|one| { !one.labels["collector"].starts_with("denied") })
    );
}

#[test]
fn a_query_that_the_deadline_cuts_off_waits_as_well_and_costs_those_behind_it_nothing() {
    let server = Postgres::start(18);
    furnish(&server);
    // Its statement may be out of date, for all that this says: it is tried again behind all others.
    server.execute(
        "CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
         RAISE 'cache lookup failed' USING ERRCODE = 'XX000'; END $$",
    );
    let metrics = Metrics::new(&[
        ("broken", "interval: 1h", "SELECT broken()"),
        ("quick", "interval: 1h", "SELECT 3"),
        ("slow", "interval: 1h", "SELECT length(pg_sleep(602)::text)"),
        ("later", "interval: 1h", "SELECT 4"),
    ]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("sick", &server, ROLE, None)
        .start();
    eventually("connected", || exporter.log().contains("connected"));
    scrape_within(&exporter, 2.0);
    let mut last = None;
    for _ in 0..5 {
        let (samples, took) = scrape_within(&exporter, 20.0);
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(is_active(&samples, "sick"), "{}", exporter.log());
        last = Some(samples);
    }
    let samples = last.expect("a scrape");
    assert_eq!(samples.value("pgexporter_quick", &SICK), Some(3.0));
    assert_eq!(samples.value("pgexporter_later", &SICK), Some(4.0));
    assert_eq!(failed(&samples, "slow", "deadline"), 1.0);
    // What was put off is not what the server was at when the deadline came: it had its turn later.
    assert_eq!(failed(&samples, "broken", "error"), 1.0);
    assert_eq!(
        server.log().matches("pg_sleep(602)").count(),
        1,
        "{}",
        server.log()
    );
    assert_eq!(seen(&samples).len(), 5);
}

/// A server whose databases refuse in every way: `a` and `z` are good.
fn refusing() -> Postgres {
    let server = Postgres::builder(17)
        .set("log_connections", "on")
        .hba(&format!("host hba {ROLE} 127.0.0.1/32 reject"))
        .start();
    server.execute(&format!("CREATE ROLE {ROLE} LOGIN"));
    server.execute(&format!("GRANT pg_monitor TO {ROLE}"));
    for name in [
        "a", "closed", "full", "hba", "invalid", "none", "right", "z",
    ] {
        server.execute(&format!("CREATE DATABASE \"{name}\""));
    }
    server.execute("ALTER DATABASE closed ALLOW_CONNECTIONS false");
    server.execute("ALTER DATABASE \"full\" CONNECTION LIMIT 1");
    server.execute("ALTER DATABASE \"none\" CONNECTION LIMIT 0");
    server.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'invalid'");
    server.execute("REVOKE CONNECT ON DATABASE \"right\" FROM public");
    server
}

#[test]
fn databases_that_cannot_be_entered_cost_no_attempt_at_each_scrape_and_are_named() {
    let server = refusing();
    let holder = server.session("full");
    let watch = Watch::on(&server);
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("sick", &server, ROLE, None)
        .start();
    first(&exporter);
    let mut last = None;
    for _ in 0..6 {
        let samples = exporter.metrics();
        assert_eq!(seen(&samples), ["a", "postgres", "z"], "{}", exporter.log());
        last = Some(samples);
    }
    let samples = last.expect("a scrape");
    let fatal = |server: &Postgres| -> Vec<String> {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("FATAL"));
        lines.map(str::to_owned).collect()
    };
    let lines = fatal(&server);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("too many connections")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("pg_hba.conf")),
        "{lines:#?}"
    );

    let reasons = [
        ("closed", "not_accepting"),
        ("full", "connection_limit"),
        ("hba", "not_allowed"),
        ("invalid", "invalid"),
        ("none", "connection_limit"),
        ("right", "permission_denied"),
    ];
    let expected: Vec<(String, String)> = reasons
        .iter()
        .map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned()))
        .collect();
    assert_eq!(missing(&samples), expected);
    assert_eq!(failed(&samples, "everywhere", "not_allowed"), 1.0);
    assert_eq!(failed(&samples, "everywhere", "connection_limit"), 1.0);
    // They are no timeouts, and no query was sent to them.
    assert_eq!(
        samples.value("pgexporter_query_timeouts_total", &[]),
        Some(0.0)
    );
    assert_eq!(
        samples.value("pgexporter_query_errors_total", &[]),
        Some(2.0)
    );
    let log = exporter.log();
    assert_eq!(
        log.matches("no samples of this database").count(),
        2,
        "{log}"
    );
    let page = exporter.get("/").body;
    for (name, _) in reasons {
        assert!(
            page.contains(&format!("<li><code>{name}</code>")),
            "{name}: {page}"
        );
    }

    let output = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .args(["-c", "pgexporter.conf", "-F", "json", "status", "details"])
        .current_dir(exporter.folder())
        .output()
        .expect("it is built");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let told = &document["Response"]["Servers"][0]["MissingDatabases"];
    for (at, (name, reason)) in reasons.iter().enumerate() {
        assert_eq!(
            (&told[at]["Database"], &told[at]["Reason"]),
            (&(*name).into(), &(*reason).into()),
            "{told}"
        );
        assert!(
            !told[at]["Message"].as_str().unwrap_or_default().is_empty(),
            "{told}"
        );
    }

    // What was mended counts at a reload.
    drop(holder);
    let hba = server.data_dir().join("pg_hba.conf");
    let text = std::fs::read_to_string(&hba).expect("it can be read");
    std::fs::write(&hba, text.replace("reject", "trust")).expect("it can be written");
    server.reload();
    server.execute("ALTER DATABASE \"none\" CONNECTION LIMIT -1");
    server.execute("GRANT CONNECT ON DATABASE \"right\" TO public");
    exporter.signal(Signal::HUP);
    eventually("they are seen", || {
        let samples = exporter.metrics();
        seen(&samples) == ["a", "full", "hba", "none", "postgres", "right", "z"]
            && missing(&samples).len() == 2
    });
    let log = exporter.log();
    assert_eq!(
        log.matches("this database answers again").count(),
        2,
        "{log}"
    );
    watch.never_more_than_two();
}

#[test]
fn a_locked_catalogue_hides_its_database_alone_and_lengthens_few_scrapes() {
    let server = Postgres::start(17);
    furnish(&server);
    let watch = Watch::on(&server);
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("lock_timeout = 10s")
        .server_as("sick", &server, ROLE, None)
        .start();
    first(&exporter);
    for catalogue in ["pg_class", "pg_namespace"] {
        let lock = server.session("d2");
        lock.execute(&format!(
            "BEGIN; LOCK TABLE pg_catalog.{catalogue} IN ACCESS EXCLUSIVE MODE"
        ));
        // Intervals hold whatever is locked: what is due at once are the tables' collectors.
        exporter.signal(Signal::HUP);
        let mut long = 0;
        for turn in 0..8 {
            let (samples, took) = scrape_within(&exporter, 4.0);
            assert!(took < Duration::from_secs(4) + SLACK, "{took:?}");
            assert!(
                is_active(&samples, "sick"),
                "{catalogue}: {}",
                exporter.log()
            );
            let found = seen(&samples);
            for name in ["d1", "d3", "d4", "postgres"] {
                assert!(
                    found.contains(&name.to_owned()),
                    "{catalogue}, {turn}: {name} in {found:?}: {}",
                    exporter.log()
                );
            }
            long += u32::from(took > Duration::from_secs(2));
        }
        assert!(long <= 4, "{catalogue}: {long} of 8 scrapes waited for it");
        lock.execute("ROLLBACK");
        drop(lock);
        exporter.signal(Signal::HUP);
        eventually("all are seen", || seen(&exporter.metrics()).len() == 5);
    }
    watch.never_more_than_two();
}

/// Passes connections on to a server, and counts the requests to cancel among them. Each address of
/// this machine that begins with 127 can have one.
struct Relay {
    port: u16,
    cancels: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Relay {
    fn start(address: (&str, u16), target: u16) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("it can be polled");
        let relay = Self {
            port,
            cancels: Arc::default(),
            over: Arc::default(),
        };
        let (cancels, over) = (relay.cancels.clone(), relay.over.clone());
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((near, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                let cancels = cancels.clone();
                thread::spawn(move || relay_one(near, target, &cancels));
            }
        });
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn relay_one(mut near: TcpStream, target: u16, cancels: &AtomicUsize) {
    near.set_nonblocking(false).expect("it can block");
    let mut far = TcpStream::connect(("127.0.0.1", target)).expect("the server listens");
    let (mut near_too, mut far_too) = (
        near.try_clone().expect("a second handle"),
        far.try_clone().expect("a second handle"),
    );
    thread::spawn(move || {
        let _ = std::io::copy(&mut far_too, &mut near_too);
        let _ = near_too.shutdown(Shutdown::Write);
    });
    let mut head = [0; 8];
    if near.read_exact(&mut head).is_ok() {
        // CancelRequest (PostgreSQL, "Message Formats").
        if head[4..] == 80_877_102_u32.to_be_bytes() {
            cancels.fetch_add(1, Ordering::Relaxed);
        }
        if far.write_all(&head).is_ok() {
            let _ = std::io::copy(&mut near, &mut far);
        }
    }
    let _ = far.shutdown(Shutdown::Write);
}

#[test]
fn a_stuck_query_is_cancelled_seldom_and_at_the_server_that_runs_it() {
    let server = Postgres::start(16);
    furnish(&server);
    let relay = Relay::start(("127.0.0.2", 0), server.port());
    let named = can_name_hosts();
    let host = if named { "db.test" } else { "127.0.0.2" };
    let metrics = Metrics::new(&[(
        "stuck",
        "",
        "SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'hang') THEN length(pg_sleep(603)::text) ELSE 1 END",
    )]);
    let mut builder = Exporter::builder().set(&metrics.line()).section(&format!(
        "[sick]\nhost = {host}\nport = {}\nuser = {ROLE}\n",
        relay.port
    ));
    if named {
        builder = builder.hosts("127.0.0.1 localhost\n127.0.0.2 db.test\n");
    }
    let exporter = builder.start();
    first(&exporter);
    // From now on the name leads to another server.
    let other = Relay::start(("127.0.0.3", relay.port), server.port());
    if named {
        let hosts = exporter.folder().join("hosts");
        std::fs::write(hosts, "127.0.0.1 localhost\n127.0.0.3 db.test\n").expect("it is written");
    }
    server.execute("CREATE ROLE hang");
    let scrape = |seconds| scrape_within(&exporter, seconds);
    let backend = thread::scope(|scope| {
        let scrape = scope.spawn(|| scrape(2.0));
        let mut pid = String::new();
        eventually("the query runs", || {
            pid = server.value(&format!(
                "SELECT pid FROM pg_stat_activity WHERE usename = '{ROLE}' AND wait_event = 'PgSleep'"
            ));
            !pid.is_empty()
        });
        // It takes no note of a cancel.
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
        kill_process(pid, Signal::STOP).expect("it is stopped");
        scrape.join().expect("no panic");
        pid
    });
    eventually("the first request", || {
        relay.cancels.load(Ordering::Relaxed) >= 1
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(7) {
        // Scrapes go on meanwhile and know that the server is busy.
        scrape(1.0);
        thread::sleep(Duration::from_millis(300));
    }
    let cancels = relay.cancels.load(Ordering::Relaxed);
    let allowed = 2..=3;
    assert!(allowed.contains(&cancels), "{cancels} requests in 7 s");
    assert_eq!(other.cancels.load(Ordering::Relaxed), 0);
    server.execute("DROP ROLE hang");
    kill_process(backend, Signal::CONT).expect("it goes on");
    first(&exporter);
    eventually("the query is over", || {
        server.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0"
    });
}

#[test]
fn what_failed_is_not_tried_again_by_each_new_session() {
    let server = Postgres::builder(15)
        .set("log_min_error_statement", "error")
        .start();
    furnish(&server);
    server.execute("CREATE TABLE secret AS SELECT 5 AS n");
    server.execute("CREATE SCHEMA shut; CREATE TABLE shut.secret AS SELECT 5 AS n");
    server.execute("REVOKE SELECT ON pg_settings FROM public");
    let metrics = Metrics::new(&[
        ("denied", "", "SELECT n + 21 - 21 FROM secret"),
        ("shut", "", "SELECT n + 22 - 22 FROM shut.secret"),
        ("absent", "interval: 1h", "SELECT n + 23 FROM absent"),
        // It ends its own session; the exporter cannot know whether it will again.
        (
            "ends",
            "interval: 1h",
            "SELECT length(pg_terminate_backend(pg_backend_pid())::text) + 24",
        ),
    ]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("cache = off")
        .server_as("sick", &server, ROLE, None)
        .start();
    // The one that ends the session costs two scrapes.
    first(&exporter);
    let before = server.log().len();
    for _ in 0..5 {
        let samples = exporter.metrics();
        assert!(is_active(&samples, "sick"), "{}", exporter.log());
    }
    let log = server.log();
    for part in ["n + 21", "n + 22", "n + 23", "+ 24", "view pg_settings"] {
        let all = log.matches(part).count();
        let later = log[before..].matches(part).count();
        assert!(all <= 3 && later <= 1, "{part}: {all}, {later}: {log}");
    }
    let told = exporter.log();
    assert_eq!(told.matches("tag=pg_settings").count(), 1, "{told}");
}

/// Databases that are seen in each of so many scrapes, and how many of them took long.
fn seen_in_all(exporter: &Exporter, scrapes: usize) -> (Vec<String>, usize) {
    let mut all: Option<Vec<String>> = None;
    let mut long = 0;
    for _ in 0..scrapes {
        let (samples, took) = scrape_within(exporter, 4.0);
        assert!(took < Duration::from_secs(4) + SLACK, "{took:?}");
        assert!(is_active(&samples, "sick"), "{}", exporter.log());
        let found = seen(&samples);
        all = Some(match all {
            None => found,
            Some(all) => all
                .into_iter()
                .filter(|name| found.contains(name))
                .collect(),
        });
        long += usize::from(took > Duration::from_secs(2));
    }
    (all.expect("a scrape"), long)
}

#[test]
fn a_login_that_hangs_in_one_database_hides_that_database_alone() {
    hang_in_one_database(|_| "127.0.0.1".to_owned());
}

#[test]
fn a_login_that_hangs_in_one_database_over_a_unix_socket_hides_that_database_alone() {
    hang_in_one_database(|server| server.socket_dir().display().to_string());
}

fn hang_in_one_database(host: impl Fn(&Postgres) -> String) {
    let server = Postgres::start(18);
    furnish(&server);
    server.execute("CREATE DATABASE left_out");
    server.execute_in(
        "d2",
        &format!(
            "CREATE FUNCTION hang() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF session_user = '{ROLE}' THEN PERFORM pg_sleep(604); END IF; END $$; \
             CREATE EVENT TRIGGER hang ON login EXECUTE FUNCTION hang()"
        ),
    );
    let watch = Watch::on(&server);
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .section(&format!(
            "[sick]\nhost = {}\nport = {}\nuser = {ROLE}\n\
             databases = d*, left*\nexclude_databases = left_*\n",
            host(&server),
            server.port()
        ))
        .start();
    first(&exporter);
    // The first walk may find nothing better than to wait for the login.
    let (all, long) = seen_in_all(&exporter, 8);
    assert_eq!(all, ["d1", "d3", "d4", "postgres"], "{}", exporter.log());
    assert!(long <= 3, "{long} scrapes took long");
    let samples = exporter.metrics();
    assert_eq!(
        missing(&samples),
        [("d2".to_owned(), "too_slow".to_owned())]
    );
    server.execute_in("d2", "DROP EVENT TRIGGER hang");
    exporter.signal(Signal::HUP);
    eventually("all are seen", || seen(&exporter.metrics()).len() == 5);
    watch.never_more_than_two();
}

#[test]
fn a_database_that_a_pooler_holds_back_hides_itself_alone() {
    let server = Postgres::start(16);
    furnish(&server);
    let bouncer = PgBouncer::start(&server, "transaction");
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .section(&format!(
            "[sick]\nhost = 127.0.0.1\nport = {}\nuser = postgres\n",
            bouncer.port()
        ))
        .start();
    first(&exporter);
    eventually("all are seen", || seen(&exporter.metrics()).len() == 5);
    bouncer.text("pgbouncer", "PAUSE d2");
    scrape_within(&exporter, 4.0);
    let (all, long) = seen_in_all(&exporter, 6);
    assert_eq!(all, ["d1", "d3", "d4", "postgres"], "{}", exporter.log());
    assert!(long <= 3, "{long} scrapes took long");
    bouncer.text("pgbouncer", "RESUME d2");
    exporter.signal(Signal::HUP);
    eventually("all are seen", || seen(&exporter.metrics()).len() == 5);
}
