//! Connections that break without a word from the server: what stands between resets or closes them.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::bed::{Metrics, ROLE, all_failures, furnish, is_active, nothing_lost, scrape_within};
use crate::support::{DEADLINE, Exporter, Postgres, eventually, within};

/// Passes connections on to a port of this machine until it is told to break them.
struct Breaker {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Counted up to break what there is.
    breaks: AtomicU64,
    /// The next bytes of a client break its connection.
    on_write: AtomicBool,
    /// By a reset, or by an orderly end.
    reset: AtomicBool,
    over: AtomicBool,
    /// Connections so far.
    accepted: AtomicU64,
    /// Each connection breaks by itself after so many milliseconds; 0 is never.
    life: AtomicU64,
}

impl Breaker {
    fn before(server: &Postgres) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (state, target) = (Arc::<State>::default(), server.port());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while !shared.over.load(Ordering::Acquire) {
                let Ok((near, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let shared = Arc::clone(&shared);
                shared.accepted.fetch_add(1, Ordering::AcqRel);
                thread::spawn(move || pass(near, target, &shared));
            }
        });
        Self { port, state }
    }

    fn break_by(&self, reset: bool) {
        self.state.reset.store(reset, Ordering::Release);
    }

    fn break_at_next_write(&self) {
        self.state.on_write.store(true, Ordering::Release);
    }

    /// From now on each new connection breaks after that time.
    fn break_after(&self, life: Duration) {
        let life = u64::try_from(life.as_millis()).expect("it is short");
        self.state.life.store(life, Ordering::Release);
    }

    fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Acquire)
    }

    fn break_now(&self) {
        self.state.breaks.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
    }
}

/// Both directions in one thread, so that nobody else holds a socket that is to be reset.
fn pass(mut near: TcpStream, target: u16, state: &State) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)) else {
        return;
    };
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
    }
    let breaks = state.breaks.load(Ordering::Acquire);
    let begin = Instant::now();
    let life = Some(state.life.load(Ordering::Acquire)).filter(|life| *life > 0);
    let life = life.map(Duration::from_millis);
    let mut buffer = vec![0; 64 << 10];
    while !state.over.load(Ordering::Acquire) {
        let mut move_on = |from: &mut TcpStream, to: &mut TcpStream, is_client: bool| {
            let read = match from.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => {
                    return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            };
            if is_client && state.on_write.swap(false, Ordering::AcqRel) {
                return false;
            }
            to.write_all(&buffer[..read]).is_ok()
        };
        if !move_on(&mut near, &mut far, true) || !move_on(&mut far, &mut near, false) {
            break;
        }
        if state.breaks.load(Ordering::Acquire) != breaks
            || life.is_some_and(|life| begin.elapsed() > life)
        {
            break;
        }
    }
    if state.reset.load(Ordering::Acquire) {
        let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
    }
}

fn start(breaker: &Breaker, metrics: &Metrics) -> Exporter {
    Exporter::builder()
        .set(&metrics.line())
        .section(&format!(
            "[sick]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            breaker.port
        ))
        .start()
}

#[test]
fn a_connection_to_another_database_that_breaks_is_replaced_in_the_same_scrape() {
    let server = Postgres::start(17);
    furnish(&server);
    let breaker = Breaker::before(&server);
    let doze = "SELECT count(*) FROM pg_class, pg_sleep(CASE WHEN current_database() = 'd2' THEN 1 ELSE 0 END)";
    let metrics = Metrics::new(&[("doze", "database: all", doze)]);
    let exporter = start(&breaker, &metrics);
    eventually("it is scraped", || {
        let samples = exporter.metrics();
        is_active(&samples, "sick") && samples.all("pgexporter_doze").len() > 4
    });
    let before = exporter.metrics();
    let at_work = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{ROLE}' \
         AND datname = 'd2' AND wait_event = 'PgSleep'"
    );
    for reset in [true, false] {
        breaker.break_by(reset);
        let during = thread::scope(|scope| {
            let scrape = scope.spawn(|| scrape_within(&exporter, 25.0).0);
            assert!(within(DEADLINE, || server.value(&at_work) == "t"));
            // Its own session says nothing meanwhile, and is replaced at its next use.
            breaker.break_now();
            scrape.join().expect("a scrape")
        });
        assert!(is_active(&during, "sick"), "{reset}: {}", exporter.log());
        nothing_lost(&before, &during, "sick");
        assert_eq!(all_failures(&during, "sick"), 0.0, "{}", exporter.log());
    }
    let log = exporter.log();
    assert!(!log.contains("no samples"), "{log}");
}

#[test]
fn connections_that_break_soon_after_the_login_are_replaced_once_a_scrape() {
    let server = Postgres::start(17);
    server.execute(&format!("CREATE ROLE {ROLE} LOGIN"));
    server.execute(&format!("GRANT pg_monitor TO {ROLE}"));
    let breaker = Breaker::before(&server);
    let metrics = Metrics::new(&[("own", "", "SELECT count(*) FROM pg_class, pg_sleep(2)")]);
    let exporter = start(&breaker, &metrics);
    eventually("it is scraped", || is_active(&exporter.metrics(), "sick"));
    breaker.break_by(true);
    breaker.break_after(Duration::from_millis(700));
    breaker.break_now();
    // Until what was made beside the scrapes has broken as well.
    thread::sleep(Duration::from_secs(3));
    let before = breaker.accepted();
    let (samples, _) = scrape_within(&exporter, 25.0);
    let made = breaker.accepted() - before;
    assert!(samples.all("pgexporter_own").is_empty());
    assert_eq!(made, 2, "{}", exporter.log());
}

#[test]
fn a_connection_that_breaks_without_a_word_is_replaced_in_the_same_scrape() {
    let server = Postgres::start(17);
    furnish(&server);
    let breaker = Breaker::before(&server);
    let metrics = Metrics::new(&[("own", "", "SELECT count(*) FROM pg_class, pg_sleep(1)")]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .set("cache = off")
        .section(&format!(
            "[sick]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            breaker.port
        ))
        .start();
    eventually("it is scraped", || is_active(&exporter.metrics(), "sick"));
    let before = exporter.metrics();
    let at_work = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{ROLE}' \
         AND state = 'active' AND wait_event = 'PgSleep'"
    );
    for reset in [true, false] {
        breaker.break_by(reset);
        breaker.break_at_next_write();
        let (first, _) = scrape_within(&exporter, 25.0);
        assert!(!breaker.state.on_write.load(Ordering::Acquire), "it broke");
        let during = thread::scope(|scope| {
            let scrape = scope.spawn(|| scrape_within(&exporter, 25.0).0);
            assert!(within(DEADLINE, || server.value(&at_work) == "t"));
            breaker.break_now();
            scrape.join().expect("a scrape")
        });
        for samples in [first, during] {
            assert!(is_active(&samples, "sick"), "{reset}: {}", exporter.log());
            nothing_lost(&before, &samples, "sick");
            assert_eq!(all_failures(&samples, "sick"), 0.0, "{}", exporter.log());
        }
    }
    let log = exporter.log();
    assert!(!log.contains("down:"), "{log}");
    assert_eq!(log.matches("it is replaced").count(), 1, "{log}");
}
