//! What clients of the ports do, and that it costs others nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{
    GATE, Gate, Metrics, ROLE, all_failures, exporter, failures, healthy_is_whole, is_active,
    nothing_lost, recovers, scrape_within, server, settled,
};
use crate::support::{DEADLINE, Exporter, Postgres, Samples, eventually, within};

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
    let displaced = |samples: &Samples, port: &str| {
        let name = "pgexporter_connections_displaced_total";
        samples.value(name, &[("port", port)])
    };
    let after = exporter.metrics();
    for (port, at_least) in [("metrics", 500.0), ("health", 500.0), ("management", 0.0)] {
        assert_eq!(displaced(&before, port), Some(0.0), "{port}");
        let number = displaced(&after, port).expect("every port has a sample");
        assert!(number >= at_least, "{port}: {number}");
    }
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

/// A message of the protocol.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a small message");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// Stands before a server, and sends of its own when the server has been quiet for a moment.
struct Flood {
    port: u16,
    on: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Flood {
    fn before(server: &Postgres, piece: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let far = server.port();
        let (on, connections, sent) =
            <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let flood = Self {
            port,
            on: on.clone(),
            connections: connections.clone(),
            sent: sent.clone(),
        };
        thread::spawn(move || {
            // As many as a test could need; it ends with the program.
            for near in listener.incoming().flatten().take(1_000) {
                connections.fetch_add(1, Ordering::Relaxed);
                let far = TcpStream::connect(("127.0.0.1", far)).expect("the server listens");
                let (mut from, mut to) = (
                    near.try_clone().expect("a second handle"),
                    far.try_clone().expect("a second handle"),
                );
                thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(std::net::Shutdown::Both).ok();
                });
                let (on, sent, piece) = (on.clone(), sent.clone(), piece.clone());
                thread::spawn(move || flood_between(far, near, &on, &sent, &piece));
            }
        });
        flood
    }

    fn section(&self, name: &str) -> String {
        format!(
            "[{name}]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            self.port
        )
    }
}

fn flood_between(
    mut far: TcpStream,
    mut near: TcpStream,
    on: &AtomicBool,
    sent: &AtomicUsize,
    piece: &[u8],
) {
    let quiet = Some(Duration::from_millis(200));
    far.set_read_timeout(quiet).expect("it is set");
    let mut buffer = vec![0; 64 * 1024];
    let mut left = 64 * 1024 * 1024_usize;
    loop {
        match far.read(&mut buffer) {
            Ok(0) => {
                near.shutdown(std::net::Shutdown::Both).ok();
                return;
            }
            Ok(read) => {
                if near.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            Err(_) => {
                // Nothing was said for a moment: what comes now comes between two messages.
                let piece = piece.repeat(4_096 / piece.len());
                while on.load(Ordering::Relaxed) && left > piece.len() {
                    if near.write_all(&piece).is_err() {
                        far.shutdown(std::net::Shutdown::Both).ok();
                        return;
                    }
                    left -= piece.len();
                    sent.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
        }
    }
}

#[test]
fn a_server_that_floods_between_scrapes_is_ended_and_named_and_costs_others_nothing() {
    let (real, healthy) = (server(17), server(18));
    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello from nobody\0\0");
    let setting = message(b'S', b"application_name\0flood\0");
    let error = message(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by nobody\0\0");
    let row = message(b'D', &[0, 1, 0, 0, 0, 1, b'1']);
    let floods = [
        ("notices", notice),
        ("settings", setting),
        ("errors", error),
        ("rows", row),
        ("ready", message(b'Z', b"I")),
    ]
    .map(|(name, piece)| (name, Flood::before(&real, piece)));
    let mut builder = Exporter::builder().server_as("healthy", &healthy, ROLE, healthy.password());
    for (name, flood) in &floods {
        builder = builder.section(&flood.section(name));
    }
    let exporter = builder.start();
    let before = settled(&exporter);
    for (_, flood) in &floods {
        flood.on.store(true, Ordering::Relaxed);
    }
    let told = |name: &str| {
        let log = exporter.log();
        let of = format!("server={name}");
        let lines = log.lines().filter(|line| line.contains(&of));
        lines.filter(|line| line.contains("down:")).count()
    };
    // Nobody scrapes meanwhile.
    for (name, _) in &floods {
        let ended = within(DEADLINE, || told(name) > 0);
        let reason = exporter.log();
        assert!(ended, "{name} is not ended: {reason}");
        assert!(reason.contains("reason=unrequested_data"), "{reason}");
    }
    let (during, _) = scrape_within(&exporter, 10.0);
    for (name, _) in &floods {
        let counted = failures(&during, name, "unrequested_data");
        assert_eq!(counted, 1.0, "{name}: {}", exporter.log());
    }
    let connections: Vec<usize> = floods
        .iter()
        .map(|(_, flood)| flood.connections.load(Ordering::Relaxed))
        .collect();
    for _ in 0..3 {
        let (during, _) = scrape_within(&exporter, 10.0);
        healthy_is_whole(&before, &during);
    }
    let page = exporter.get("/").body;
    assert!(page.contains("unrequested data"), "{page}");
    for ((name, flood), before) in floods.iter().zip(connections) {
        // What the system's buffers hold, and little more was taken.
        let sent = flood.sent.load(Ordering::Relaxed);
        assert!(sent < 48 * 1024 * 1024, "{name}: {sent}");
        let now = flood.connections.load(Ordering::Relaxed);
        assert!(now <= before + 1, "{name}: {before}, {now} connections");
        assert_eq!(told(name), 1, "{name}: {}", exporter.log());
        flood.on.store(false, Ordering::Relaxed);
    }
    for (name, _) in &floods {
        recovers(&exporter, name);
    }
}

/// A file descriptor for each of these and more is wanted, and there are few.
#[test]
fn more_servers_than_descriptors_leave_the_ports_and_the_command_line_theirs() {
    let real = server(17);
    let mut builder = Exporter::builder()
        .set("max_connections = 1000")
        .set("management = {management}")
        // What they are asked is not what this is about.
        .set("collectors = stat_io")
        .open_files(192);
    for number in 0..150 {
        builder = builder.server_as(&format!("s{number}"), &real, ROLE, real.password());
    }
    let exporter = builder.start();
    let expected = "max_connections = 1000 takes a limit of";
    eventually("it is said", || exporter.log().contains(expected));
    let expected = "150 servers are scraped, and max_connections leaves";
    eventually("it is said", || exporter.log().contains(expected));
    let page = exporter.get("/").body;
    assert!(page.contains(expected), "{page}");
    let says: [&[u8]; 2] = [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"];
    let mut held = Vec::new();
    let mut local = Vec::new();
    for number in 0..300 {
        for port in ["health", "metrics", "management"] {
            held.push(quiet(address(&exporter, port), says[number % 2]));
        }
        local.push(UnixStream::connect(exporter.folder().join(".s.pgexporter")));
    }
    for _ in 0..3 {
        let (samples, _) = scrape_within(&exporter, 10.0);
        let active = samples.all("pgexporter_postgresql_active");
        let up = active.iter().filter(|sample| sample.value > 0.5).count();
        assert_eq!(active.len(), 150);
        assert!(up > 0, "{}", exporter.log());
        let health = address(&exporter, "health");
        assert_eq!(probe(health, "/livez", Duration::from_secs(10)), Ok(200));
    }
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .arg("-c")
        .arg(exporter.folder().join("pgexporter.conf"))
        .arg("status")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && text.contains(expected), "{text}");
    let log = exporter.log();
    assert!(!log.contains("Too many open files"), "{log}");
    assert!(!log.contains("os error 24"), "{log}");
    let told = log.matches(expected).count();
    assert_eq!(told, 1);
    drop((held, local));
    let (samples, _): (Samples, _) = scrape_within(&exporter, 10.0);
    assert_eq!(samples.all("pgexporter_postgresql_active").len(), 150);
}
