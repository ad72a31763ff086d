//! Servers that are not there, go, hang, refuse, or come back as something else.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{
    Gate, Metrics, ROLE, SLACK, Watch, all_failures, exporter, failures, furnish, healthy_is_whole,
    is_active, nothing_lost, recovers, scrape_within, server, settled,
};
use crate::support::{Exporter, Postgres, Samples, eventually};

#[test]
fn a_server_that_is_down_at_first_is_scraped_once_it_is_up() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    sick.stop_fast();
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    eventually("the healthy server is scraped", || {
        is_active(&exporter.metrics(), "healthy")
    });
    let (before, took) = scrape_within(&exporter, 10.0);
    assert!(!is_active(&before, "sick"));
    assert!(failures(&before, "sick", "connection_refused") >= 1.0);
    assert!(took < Duration::from_secs(3), "{took:?}");
    let page = exporter.get("/").body;
    assert!(
        page.contains("check that the server runs and listens there"),
        "{page}"
    );

    sick.start_again();
    let after = recovers(&exporter, "sick");
    healthy_is_whole(&before, &after);
    let failed = all_failures(&after, "sick");
    assert_eq!(
        failed,
        failures(&after, "sick", "connection_refused") + failures(&after, "sick", "not_ready")
    );
    watch.never_more_than_two();
}

#[test]
fn a_server_stopped_in_mid_scrape_is_down_at_once_and_back_when_it_is() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    // It sleeps while the gate is closed. If it waited there, a server that stops would open it.
    let doze = "SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory') \
                THEN length(pg_sleep(30)::text) ELSE 1 END";
    let metrics = Metrics::new(&[("doze", "timeout: 30s", doze)]);
    let exporter = exporter(&sick, &healthy, &metrics).start();
    let before = settled(&exporter);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    type Stop = fn(&Postgres);
    let stops: [(&str, Stop); 2] = [
        ("fast", Postgres::stop_fast),
        ("immediate", Postgres::stop_immediate),
    ];
    for (name, stop) in stops {
        let _gate = Gate::close(&sick);
        let (during, took) = std::thread::scope(|scope| {
            let scrape = scope.spawn(|| scrape_within(&exporter, 30.0));
            eventually("the scrape is under way", || sick.value(asleep) == "1");
            stop(&sick);
            scrape.join().expect("no panic")
        });
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
        assert!(!is_active(&during, "sick"), "{name}");
        // The scrape tries another session at once, which a server that has stopped refuses.
        let counted = |samples: &Samples| -> f64 {
            ["not_ready", "connection_lost", "connection_refused"]
                .iter()
                .map(|reason| failures(samples, "sick", reason))
                .sum()
        };
        assert!(counted(&during) > counted(&before), "{name}");
        healthy_is_whole(&before, &during);
        sick.start_again();
        let after = recovers(&exporter, "sick");
        nothing_lost(&before, &after, "sick");
        healthy_is_whole(&before, &after);
    }
    watch.never_more_than_two();
}

#[test]
fn a_frozen_server_costs_others_nothing_and_is_whole_after_the_thaw() {
    let (sick, healthy) = (server(18), server(17));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    sick.freeze();
    for turn in 0..3 {
        let (during, took) = scrape_within(&exporter, 2.0);
        assert!(took < Duration::from_secs(2) + SLACK, "{turn}: {took:?}");
        // From then on it is known.
        assert!(
            turn == 0 || took < Duration::from_secs(1) + SLACK,
            "{turn}: {took:?}"
        );
        assert!(!is_active(&during, "sick"));
        assert!(failures(&during, "sick", "timeout") >= 1.0);
        healthy_is_whole(&before, &during);
    }
    sick.thaw();
    let after = recovers(&exporter, "sick");
    nothing_lost(&before, &after, "sick");
    healthy_is_whole(&before, &after);
    let again = exporter.metrics();
    nothing_lost(&before, &again, "sick");
    assert_eq!(
        all_failures(&again, "sick"),
        failures(&again, "sick", "timeout")
    );
    watch.never_more_than_two();
}

#[test]
fn a_server_frozen_before_the_login_gets_one_connection_and_no_more() {
    let (sick, healthy) = (server(18), server(17));
    let watch = Watch::on(&sick);
    eventually("it is watched", || watch.looks() > 0);
    sick.freeze();
    let begin = Instant::now();
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[]))
        .set("blocking_timeout = 1s")
        .start();
    eventually("the time is over for several attempts", || {
        let (during, took) = scrape_within(&exporter, 1.0);
        assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
        let labels = [("server", "sick")];
        let made = during.value("pgexporter_postgresql_connections_total", &labels);
        failures(&during, "sick", "timeout") >= 1.0
            && (made >= Some(4.0) || begin.elapsed() > Duration::from_secs(6))
    });
    let waiting = connections_to(&exporter, sick.port());
    assert!(
        waiting <= 1,
        "{waiting} connections wait for a frozen server"
    );
    sick.thaw();
    recovers(&exporter, "sick");
    settled(&exporter);
    watch.never_more_than_two();
}

/// Sockets of the exporter that are connected to a port.
fn connections_to(exporter: &Exporter, port: u16) -> usize {
    let pid = exporter.pid();
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a table");
    table
        .lines()
        .filter(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.len() > 9
                && columns[2].ends_with(&format!(":{port:04X}"))
                && sockets.contains(&format!("socket:[{}]", columns[9]))
        })
        .count()
}

#[test]
fn a_server_without_a_free_connection_is_told_from_one_that_is_down() {
    let sick = Postgres::builder(17)
        .max_connections(6)
        .set("superuser_reserved_connections", 2)
        .set("max_wal_senders", 0)
        .start();
    furnish(&sick);
    let healthy = server(18);
    let watch = Watch::on(&sick);
    sick.execute("CREATE ROLE crowd LOGIN");
    let mut as_crowd = sick.config("postgres");
    as_crowd.user("crowd");
    // Those who come from the test itself may hold a place for a moment.
    let fill = || {
        let mut crowd = Vec::new();
        while let Ok(session) = crate::support::Session::open(&as_crowd) {
            crowd.push(session);
        }
        crowd
    };
    let mut crowd = fill();
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    eventually("the reason is counted", || {
        crowd.extend(fill());
        let samples = exporter.metrics();
        !is_active(&samples, "sick") && failures(&samples, "sick", "too_many_connections") >= 1.0
    });
    assert!(exporter.get("/").body.contains("raise max_connections"));
    drop(crowd);
    let after = recovers(&exporter, "sick");

    // A session that is there goes on when only the other databases cannot be reached.
    let before = settled(&exporter);
    let crowd = fill();
    let during = exporter.metrics();
    assert!(is_active(&during, "sick"));
    let everywhere = |samples: &Samples| {
        samples
            .with("pgexporter_everywhere", &[("server", "sick")])
            .len()
    };
    assert_eq!((everywhere(&before), everywhere(&during)), (5, 1));
    assert_eq!(all_failures(&during, "sick"), all_failures(&after, "sick"));
    healthy_is_whole(&before, &during);
    drop(crowd);
    eventually("all databases are back", || {
        everywhere(&exporter.metrics()) == 5
    });
    watch.never_more_than_two();
}

#[test]
fn a_wrong_password_is_mended_by_a_new_password_file_and_a_hangup_signal() {
    let sick = Postgres::builder(17)
        .password("of the superuser", "scram-sha-256")
        .start();
    furnish(&sick);
    sick.execute(&format!("ALTER ROLE {ROLE} PASSWORD 'right-one'"));
    let healthy = server(18);
    let watch = Watch::on(&sick);
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("sick", &sick, ROLE, Some("wrong-one"))
        .server_as("healthy", &healthy, ROLE, None)
        .start();
    eventually("the reason is counted", || {
        let samples = exporter.metrics();
        is_active(&samples, "healthy") && failures(&samples, "sick", "authentication_failed") >= 1.0
    });
    let before = exporter.metrics();
    assert!(!is_active(&before, "sick"));
    let page = exporter.get("/").body;
    assert!(
        page.contains("its password") && page.contains(ROLE),
        "{page}"
    );
    let line = format!("{}:{}:*:{ROLE}:right-one\n", sick.host(), sick.port());
    std::fs::write(exporter.folder().join("pgpass"), line).expect("it is written");
    exporter.signal(Signal::HUP);
    let after = recovers(&exporter, "sick");
    healthy_is_whole(&before, &after);
    let told = exporter.log() + &exporter.get("/").body;
    assert!(!told.contains("right-one") && !told.contains("wrong-one"));
    // Changed there, and here again: the session of before is closed first.
    for password in ["second-one", "third-one"] {
        sick.execute(&format!("ALTER ROLE {ROLE} PASSWORD '{password}'"));
        let line = format!("{}:{}:*:{ROLE}:{password}\n", sick.host(), sick.port());
        std::fs::write(exporter.folder().join("pgpass"), line).expect("it is written");
        exporter.signal(Signal::HUP);
        let seen = exporter.log().matches("reloaded").count();
        eventually("it reloads", || {
            exporter.log().matches("reloaded").count() >= seen
        });
        healthy_is_whole(&before, &recovers(&exporter, "sick"));
    }
    watch.never_more_than_two();
}

#[test]
fn a_server_that_comes_back_as_another_version_is_scraped_as_that_version() {
    let old = server(16);
    let healthy = server(18);
    let port = old.port();
    let exporter = exporter(&old, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    let version = |samples: &Samples| {
        let found = samples.with("pgexporter_postgresql_version", &[("server", "sick")]);
        found.first().map(|sample| sample.labels["version"].clone())
    };
    assert_eq!(version(&before).as_deref(), Some("16"));
    old.stop_fast();
    drop(old);
    let new = Postgres::builder(17).port(port).start();
    furnish(&new);
    let watch = Watch::on(&new);
    eventually("the new version is scraped", || {
        let samples = exporter.metrics();
        is_active(&samples, "sick") && version(&samples).as_deref() == Some("17")
    });
    let after = settled(&exporter);
    // A view of 17 that 16 has not.
    for (samples, there) in [(&before, false), (&after, true)] {
        let name = "pgexporter_pg_wait_events_count";
        assert_eq!(!samples.with(name, &[("server", "sick")]).is_empty(), there);
    }
    healthy_is_whole(&before, &after);
    watch.never_more_than_two();
}

#[test]
fn a_promotion_is_noticed_by_the_next_scrape() {
    let primary = server(17);
    let replica = primary.replica();
    primary.wait_for_replay(&replica);
    let watch = Watch::on(&replica);
    let exporter = exporter(&replica, &primary, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    let receiving = |samples: &Samples| {
        samples
            .samples
            .iter()
            .filter(|sample| {
                sample
                    .labels
                    .get("server")
                    .is_some_and(|name| name == "sick")
                    && sample.name.starts_with("pgexporter_pg_stat_walreceiver")
            })
            .count()
    };
    assert!(receiving(&before) > 0);
    replica.promote();
    let after = exporter.metrics();
    assert!(is_active(&after, "sick"));
    assert_eq!(
        receiving(&after),
        0,
        "families of a replica after the promotion"
    );
    let name = "pgexporter_postgresql_primary";
    let sick = [("server", "sick")];
    assert_eq!(
        (before.value(name, &sick), after.value(name, &sick)),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(all_failures(&after, "sick"), 0.0);
    assert!(exporter.get("/").body.matches("primary").count() >= 2);
    watch.never_more_than_two();
}

#[test]
fn an_extension_is_noticed_when_it_comes_and_when_it_goes() {
    let sick = Postgres::builder(17).preload("pg_stat_statements").start();
    furnish(&sick);
    let healthy = server(18);
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    let there = |samples: &Samples| {
        let labels = [("server", "sick"), ("extension", "pg_stat_statements")];
        !samples
            .with("pgexporter_postgresql_extension_info", &labels)
            .is_empty()
    };
    assert!(!there(&before));
    for _ in 0..2 {
        sick.execute("CREATE EXTENSION pg_stat_statements");
        let after = exporter.metrics();
        assert!(there(&after));
        nothing_lost(&before, &after, "sick");
        sick.execute("DROP EXTENSION pg_stat_statements");
        let after = exporter.metrics();
        assert!(!there(&after));
        nothing_lost(&before, &after, "sick");
        assert_eq!(all_failures(&after, "sick"), 0.0);
    }
    watch.never_more_than_two();
}
