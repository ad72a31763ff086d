//! `make soak`: sixty servers, of which a third are ill in turn, twenty tenants that change their
//! targets, clients that hang up, reloads and rotated Secrets, all at once. Prints a table, and
//! writes the figures into `docs/reliability.md`. `MINUTES=60` makes it an hour, `QUICK=1` two
//! minutes, which writes no page.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    dead_code
)]

use test_support as support;

mod clients;
mod healthy;
mod hostile;
mod ill;
mod page;
#[path = "../scrape/table.rs"]
mod table;
#[path = "../scrape/usage.rs"]
mod usage;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use healthy::Healthy;
use ill::Ill;
use rustix::process::Signal;
use support::exporter::{can_name_hosts, get};
use support::{ApiServer, Exporter, Samples};
use table::{Table, mb, ms, percentile};
use watch::Watched;

/// The namespace of the exporter's service account.
const HOME: &str = "monitoring";
/// How often the servers are scraped.
const INTERVAL: Duration = Duration::from_secs(5);
/// `scrape_timeout` of that.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long everything is ill before the figures of the start are taken: caches, statements and
/// buffers have reached the size that they keep.
const WARM_UP: Duration = Duration::from_secs(90);

/// Ends the threads of a run.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits; false when the run is over.
    pub fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over() {
            thread::sleep(Duration::from_millis(50));
        }
        !self.is_over()
    }

    fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one run measured.
struct Run {
    times: Vec<Duration>,
    /// Samples of healthy servers that a scrape lacked: when, of which server, which.
    lost: Vec<String>,
    samples: usize,
    memory: [u64; 2],
    descriptors: [usize; 2],
    before: Samples,
    after: Samples,
    took: Duration,
}

fn main() {
    // `cargo test --benches` runs this as well, and means only that it should be built.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    assert!(
        can_name_hosts(),
        "soak needs names that move: run it as root, or where user namespaces are allowed"
    );
    let quick = std::env::var("QUICK").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    let minutes = std::env::var("MINUTES")
        .ok()
        .and_then(|text| text.parse().ok());
    let length = Duration::from_secs(60 * minutes.unwrap_or(if quick { 2 } else { 10 }));
    eprintln!("Starting an API server and the servers");
    let api = ApiServer::with_operator(HOME);
    let healthy = Healthy::start(&api);
    let ill = Ill::start(&healthy);
    let mut exporter = ill.name_in(healthy.name_in(builder(&api))).start();
    ill.reach(&exporter);
    let baseline = baseline(&exporter, &healthy);
    eprintln!(
        "All is well; {} minutes of faults begin",
        length.as_secs() / 60
    );

    let stop = Stop::default();
    let watched = Watched::default();
    let run = thread::scope(|scope| {
        ill.spawn(scope, &stop);
        healthy.spawn_changes(scope, &api, &stop);
        watch::spawn(scope, &healthy, &watched, &stop);
        clients::spawn(scope, &exporter, &stop);
        let run = scrape_on(&exporter, &baseline, length);
        stop.end();
        run
    });

    let mut table = Table::default();
    report(&mut table, &run, &watched, &mut exporter);
    println!("{}", table.markdown());
    let costs = ill.costs(&run.before, &run.after, run.took);
    println!("{costs}");
    for line in run.lost.iter().take(20) {
        println!("lost: {line}");
    }
    if quick {
        println!("docs/reliability.md is not written: this was a look.");
    } else {
        page::write(&table, &costs, run.took);
    }
    if table.missed() > 0 {
        println!("{} bars were missed.", table.missed());
    }
}

fn builder(api: &ApiServer) -> support::exporter::ExporterBuilder {
    Exporter::builder()
        .set("kubernetes = on")
        .set("kubernetes_allow_local_hosts = on")
        .set("max_connections = 200")
        .set("log_level = info")
        .variable("KUBECONFIG", api.kubeconfig_for(HOME, "pgexporter"))
        .variable("POD_NAME", "pgexporter-0")
}

fn scrape(exporter: &Exporter) -> (Samples, Duration) {
    let timeout = TIMEOUT.as_secs().to_string();
    let headers = [("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_str())];
    let begin = Instant::now();
    let answer = get(&exporter.url("/metrics"), &headers).expect("a scrape is answered");
    let took = begin.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.body);
    (Samples::parse(&answer.body), took)
}

/// What each healthy server shows in every one of five scrapes.
fn baseline(exporter: &Exporter, healthy: &Healthy) -> healthy::Shown {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let first = healthy.shown(&scrape(exporter).0);
        if first.is_complete() {
            // Those that run in other databases have run once by now, or do in this time.
            thread::sleep(INTERVAL);
            let mut shown = healthy.shown(&scrape(exporter).0);
            for _ in 0..4 {
                thread::sleep(Duration::from_secs(1));
                shown.keep(&healthy.shown(&scrape(exporter).0));
            }
            return shown;
        }
        assert!(Instant::now() < end, "not all are up: {}", exporter.log());
        thread::sleep(Duration::from_secs(1));
    }
}

fn scrape_on(exporter: &Exporter, baseline: &healthy::Shown, length: Duration) -> Run {
    let begin = Instant::now();
    let (mut times, mut lost, mut samples) = (Vec::new(), Vec::new(), 0);
    let mut start = None;
    let mut last = scrape(exporter).0;
    while begin.elapsed() < WARM_UP.min(length / 4) + length {
        let next = Instant::now() + INTERVAL;
        let (body, took) = scrape(exporter);
        if begin.elapsed() >= WARM_UP.min(length / 4) {
            start.get_or_insert_with(|| (state_of(exporter), body.clone(), Instant::now()));
            times.push(took);
            let (here, missing) = baseline.compare(&body);
            samples += here;
            let at = begin.elapsed().as_secs();
            lost.extend(missing.into_iter().map(|what| format!("{at} s: {what}")));
        }
        last = body;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let (start, before, since) = start.expect("a scrape after the warm-up");
    let end = state_of(exporter);
    Run {
        times,
        lost,
        samples,
        memory: [start.0, end.0],
        descriptors: [start.1, end.1],
        before,
        after: last,
        took: since.elapsed(),
    }
}

/// Resident memory and open descriptors.
fn state_of(exporter: &Exporter) -> (u64, usize) {
    let pid = exporter.pid();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (usage::resident(pid), descriptors)
}

fn report(table: &mut Table, run: &Run, watched: &Watched, exporter: &mut Exporter) {
    let mut times = run.times.clone();
    table.add(
        "Samples of the 40 healthy servers that a scrape lacked",
        "0",
        format!(
            "{} of {} in {} scrapes",
            run.lost.len(),
            run.samples + run.lost.len(),
            times.len()
        ),
        run.lost.is_empty(),
    );
    let slowest = percentile(&mut times, 100);
    table.add(
        "Slowest scrape",
        &format!("≤ {} s, its timeout", TIMEOUT.as_secs()),
        format!("{}; median {}", ms(slowest), ms(percentile(&mut times, 50))),
        slowest <= TIMEOUT,
    );
    let more = |[start, end]: [f64; 2]| 100.0 * (end / start - 1.0);
    let memory = more(run.memory.map(|bytes| bytes as f64));
    table.add(
        "Resident memory, start and end",
        "≤ 10 % more",
        format!(
            "{}, {} ({memory:+.1} %)",
            mb(run.memory[0]),
            mb(run.memory[1])
        ),
        memory <= 10.0,
    );
    let descriptors = more(run.descriptors.map(|count| count as f64));
    table.add(
        "Open descriptors, start and end",
        "≤ 10 % more",
        format!(
            "{}, {} ({descriptors:+.1} %)",
            run.descriptors[0], run.descriptors[1]
        ),
        descriptors <= 10.0,
    );
    let (most, looks) = watched.most();
    table.add(
        "Connections of one target at its server",
        "≤ 2",
        format!("{most} at most, in {looks} looks"),
        most <= 2 && looks > 0,
    );
    let log = exporter.log();
    exporter.signal(Signal::TERM);
    let begin = Instant::now();
    let status = exporter.wait_exit();
    let panics = log.matches("panicked").count();
    table.add(
        "Restarts and panics",
        "0",
        format!(
            "{panics}; ended by SIGTERM within {}: {status}",
            ms(begin.elapsed())
        ),
        panics == 0 && status.success(),
    );
    table.tell("Lines in the log", log.lines().count().to_string());
}
