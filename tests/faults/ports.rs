//! What clients of the ports do, and that it costs others nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::bed::{
    GATE, Gate, Metrics, all_failures, exporter, healthy_is_whole, is_active, nothing_lost,
    scrape_within, server, settled,
};
use crate::support::{Exporter, eventually};

fn address(exporter: &Exporter, port: &str) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], exporter.port(port)))
}

/// A connection that sends these bytes and nothing more.
fn quiet(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("it listens");
    // One that was dropped already has done its part.
    stream.write_all(bytes).ok();
    stream
}

/// The status of an answer, as a kubelet with this patience sees it.
fn probe(to: SocketAddr, path: &str, patience: Duration) -> Result<u16, String> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, patience).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(patience)).expect("it is set");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(|e| format!("{e} after {:?}", begun.elapsed()))?;
    let status = answer.get(9..12).and_then(|word| word.parse().ok());
    status.ok_or(answer)
}

#[test]
fn silent_connections_on_the_ports_keep_neither_probes_nor_scrapes_away() {
    const PATIENCE: Duration = Duration::from_secs(10);
    let (sick, healthy) = (server(17), server(18));
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    let (health, metrics) = (address(&exporter, "health"), address(&exporter, "metrics"));
    let says: [&[u8]; 4] = [
        b"",
        b"GET /livez HT",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    // More than the port has places for, of each kind.
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..1_200 {
        held.push(quiet(health, says[number % 4]));
        if number % 100 == 99 {
            assert_eq!(probe(health, "/livez", PATIENCE), Ok(200), "{number}");
            assert_eq!(probe(health, "/readyz", PATIENCE), Ok(200), "{number}");
        }
    }
    for number in 0..2_000 {
        held.push(quiet(metrics, says[number % 4]));
        if number % 400 == 399 {
            let (during, _) = scrape_within(&exporter, 10.0);
            nothing_lost(&before, &during, "sick");
            healthy_is_whole(&before, &during);
        }
    }
    // Nobody has gone away, and they are still held off.
    for _ in 0..5 {
        assert_eq!(probe(health, "/livez", PATIENCE), Ok(200));
        healthy_is_whole(&before, &scrape_within(&exporter, 10.0).0);
    }
    let log = exporter.log();
    let told = log.matches("too many connections at once").count();
    assert!((1..=6).contains(&told), "told {told} times:\n{log}");
}

#[test]
fn a_connection_that_is_answered_stays_while_silent_ones_come() {
    let (sick, healthy) = (server(17), server(18));
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[GATE]))
        .set("lock_timeout = 30s")
        .set("metrics_query_timeout = 30s")
        .start();
    let before = settled(&exporter);
    let gate = Gate::close(&sick);
    let metrics = address(&exporter, "metrics");
    std::thread::scope(|scope| {
        let scrape = scope.spawn(|| scrape_within(&exporter, 30.0));
        eventually("the scrape is under way", || gate.is_waited_for());
        let held: Vec<_> = (0..600).map(|_| quiet(metrics, b"GET ")).collect();
        gate.open();
        let (during, _) = scrape.join().expect("no panic");
        nothing_lost(&before, &during, "sick");
        healthy_is_whole(&before, &during);
        drop(held);
    });
}

#[test]
fn an_impatient_client_counts_no_failure_and_changes_no_state() {
    let (sick, healthy) = (server(17), server(18));
    // A server that has its time to answer.
    let slow = ("slow", "", "SELECT 1 FROM pg_sleep(0.7)");
    let metrics = Metrics::new(&[slow]);
    for cache in ["0", "1m"] {
        let exporter = exporter(&sick, &healthy, &metrics)
            .set(&format!("metrics_cache_max_age = {cache}"))
            .set("metrics_cache_max_size = 100M")
            .start();
        eventually("both are connected", || {
            exporter.log().matches("connected").count() >= 2
        });
        let hurried = [
            "1e-7", "0.001", "0.05", "0.1", "0.3", "1e-12", "-1", "NaN", "inf", "1e308", "",
        ];
        for seconds in hurried {
            let header = ("X-Prometheus-Scrape-Timeout-Seconds", seconds);
            let begun = Instant::now();
            // Named once, and twice.
            assert_eq!(exporter.get_with("/metrics", &[header]).status, 200);
            assert_eq!(exporter.get_with("/metrics", &[header, header]).status, 200);
            assert!(begun.elapsed() < Duration::from_secs(20), "{seconds}");
        }
        // Some do not even wait for the head of the answer.
        for _ in 0..50 {
            quiet(
                address(&exporter, "metrics"),
                b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 1e-7\r\n\r\n",
            );
        }
        assert!(!exporter.get("/").body.contains("no answer before"));
        let (after, _) = scrape_within(&exporter, 20.0);
        for name in ["sick", "healthy"] {
            assert!(is_active(&after, name), "{cache}: {}", exporter.log());
            assert_eq!(all_failures(&after, name), 0.0, "{cache}, {name}");
            assert_eq!(
                after.value("pgexporter_slow", &[("server", name)]),
                Some(1.0)
            );
        }
        let timeouts = after.value("pgexporter_query_timeouts_total", &[]);
        assert_eq!(timeouts, Some(0.0), "{cache}: {}", exporter.log());
        assert!(!exporter.log().contains("down:"), "{}", exporter.log());
    }
}

#[test]
fn a_collection_that_many_wait_for_in_vain_is_one_failure() {
    let (sick, healthy) = (server(17), server(18));
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    sick.freeze();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let exporter = &exporter;
            // Most of them wait less long than the collection takes.
            let seconds = if number % 2 == 0 { 3.0 } else { 0.2 };
            scope.spawn(move || scrape_within(exporter, seconds));
        }
    });
    let during = scrape_within(&exporter, 3.0).0;
    let failures = all_failures(&during, "sick");
    // One of those, and one of the scrape that asks.
    assert!((1.0..=3.0).contains(&failures), "{failures}");
    healthy_is_whole(&before, &during);
    sick.thaw();
}
