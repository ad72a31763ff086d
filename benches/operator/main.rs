//! `make bench-operator`: a thousand targets against a real API server and ten real PostgreSQL.
//! Prints a table, and writes `docs/performance-operator.md`. `QUICK=1` takes a hundred targets and
//! a short rest, and writes no page.
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

mod crowd;
mod page;
mod requests;
#[path = "../scrape/table.rs"]
mod table;
#[path = "../scrape/usage.rs"]
mod usage;

use std::thread::sleep;
use std::time::{Duration, Instant};

use crowd::{Crowd, NAMESPACE};
use requests::Requests;
use support::exporter::get;
use support::{ApiServer, Exporter, Samples};
use table::{Table, mb, ms, percentile};

/// Where the exporter's service account is.
const HOME: &str = "monitoring";
/// Scrapes of all targets.
const SCRAPES: usize = 20;
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

fn main() {
    // `cargo test --benches` runs this as well, and means only that it should be built.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let quick = std::env::var("QUICK").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    let (targets, rest) = match quick {
        true => (100, Duration::from_secs(20)),
        false => (1_000, Duration::from_secs(300)),
    };
    let begin = Instant::now();
    let mut table = Table::default();
    eprintln!("Starting an API server and ten PostgreSQL");
    let api = ApiServer::with_operator(HOME);
    api.kubectl(&["create", "namespace", NAMESPACE]);
    let crowd = Crowd::start(&api, targets);

    eprintln!("{targets} targets with the usual collectors");
    let exporter = start(&api);
    arrival(&mut table, &api, &crowd, &exporter);
    eprintln!("One change");
    one_change(&mut table, &api, &crowd, &exporter);
    eprintln!("Nothing at all, for {rest:?}");
    idle(&mut table, &api, rest);

    eprintln!("Scrapes with cheap collectors");
    crowd.make_cheap();
    // A process that begins with them, as after a rollout.
    drop(exporter);
    let exporter = start(&api);
    scrapes(&mut table, &crowd, &exporter);
    drop(exporter);

    println!("{}", table.markdown());
    let took = begin.elapsed();
    println!("Took {:.0} s.", took.as_secs_f64());
    if quick {
        println!("docs/performance-operator.md is not written: this was a look.");
    } else {
        page::write(&table, took);
    }
    if table.missed() > 0 {
        println!("{} bars were missed.", table.missed());
    }
}

fn start(api: &ApiServer) -> Exporter {
    Exporter::builder()
        .set("kubernetes = on")
        .set("kubernetes_allow_local_hosts = on")
        .set("kubernetes_shards = lease")
        .set("kubernetes_max_targets_per_namespace = 0")
        .set("max_connections = 2000")
        .set("blocking_timeout = 60s")
        .variable("KUBECONFIG", api.kubeconfig_for(HOME, "pgexporter"))
        .variable("POD_NAME", "pgexporter-0")
        .start()
}

/// From nothing to all targets in the list, and to all of them ready.
fn arrival(table: &mut Table, api: &ApiServer, crowd: &Crowd, exporter: &Exporter) {
    let count = crowd.count();
    let before = Requests::of(api);
    let empty = usage::resident(exporter.pid());
    let begin = Instant::now();
    crowd.apply();
    let applied = Instant::now();
    let listed = patient("all are in the list", || listed(exporter).len() == count) - applied;
    table.add(
        &format!("{count} targets, a Secret each: the last is applied, and all are in the list"),
        "≤ 10 s",
        format!(
            "{}; applying them took {:.1} s",
            ms(listed),
            (applied - begin).as_secs_f64()
        ),
        listed <= Duration::from_secs(10),
    );
    let ready = patient("all are ready", || crowd.ready() == count) - applied;
    let requests = settled(api) - before;
    let each = requests.total() as f64 / count as f64;
    table.add(
        "API requests for a target: its Secret, its status, its events",
        "≤ 4",
        format!("{each:.2}: {requests}"),
        each <= 4.0,
    );
    table.tell(
        "All are ready after the last was applied",
        format!("{:.1} s", ready.as_secs_f64()),
    );
    let memory = usage::resident(exporter.pid());
    table.add(
        &format!(
            "Resident memory with {count} accepted targets on {} servers",
            crowd.servers()
        ),
        "≤ 128 MB",
        format!("{}, {} without targets", mb(memory), mb(empty)),
        memory <= 128_000_000,
    );
}

/// One of them moves to another server.
fn one_change(table: &mut Table, api: &ApiServer, crowd: &Crowd, exporter: &Exporter) {
    let (requests, sessions, versions) = (Requests::of(api), crowd.sessions(), crowd.versions());
    let address = crowd.move_one();
    let applied = Instant::now();
    let shown = patient("it is in the list", || {
        overview(exporter).contains(&address)
    }) - applied;
    let moved = settled(api) - requests;
    patient("it is ready", || crowd.ready() == crowd.count());
    let touched = crowd
        .versions()
        .iter()
        .filter(|(name, version)| versions.get(*name) != Some(version))
        .count();
    let kept = sessions.intersection(&crowd.sessions()).count();
    table.add(
        &format!("One change among {}: from apply to the list", crowd.count()),
        "≤ 1 s",
        ms(shown),
        shown <= Duration::from_secs(1),
    );
    table.add(
        "That change: status writes, resources that changed, sessions that ended",
        "1, 1, 1",
        format!("{}, {touched}, {}", moved.status, sessions.len() - kept),
        (moved.status, touched, sessions.len() - kept) == (1, 1, 1),
    );
}

/// Nothing happens, and nobody scrapes.
fn idle(table: &mut Table, api: &ApiServer, rest: Duration) {
    let before = Requests::of(api);
    sleep(rest);
    let during = Requests::of(api) - before;
    table.add(
        &format!(
            "Idle for {} s: writes other than renewals of the Lease",
            rest.as_secs()
        ),
        "0",
        format!(
            "{}; {} renewals, {} reads",
            during.writes(),
            during.leases,
            during.reads
        ),
        during.writes() == 0,
    );
}

/// All of them at once.
fn scrapes(table: &mut Table, crowd: &Crowd, exporter: &Exporter) {
    let count = crowd.count();
    patient("all are ready", || {
        crowd.ready() == count && listed(exporter).len() == count
    });
    patient("all are scraped", || active(exporter) == count);
    let cpu = usage::cpu_of(exporter.pid());
    let mut times = Vec::new();
    let (mut size, mut samples) = (0, 0);
    for _ in 0..SCRAPES {
        let begin = Instant::now();
        let body = scrape(exporter);
        times.push(begin.elapsed());
        size = body.len();
        samples = body.lines().filter(|line| !line.starts_with('#')).count();
        sleep(Duration::from_millis(200));
    }
    let cpu = (usage::cpu_of(exporter.pid()) - cpu) / u32::try_from(SCRAPES).unwrap();
    let memory = usage::resident(exporter.pid());
    let what = format!("{count} targets scraped in one go, cheap collectors");
    table.tell(
        &format!("{what}: latency, median of {SCRAPES}"),
        format!(
            "{} (p95 {}), {samples} samples in {}",
            ms(percentile(&mut times, 50)),
            ms(percentile(&mut times, 95)),
            mb(size as u64)
        ),
    );
    table.tell(&format!("{what}: CPU of the exporter"), ms(cpu));
    table.tell(
        &format!("{what}: connections at the {} servers", crowd.servers()),
        crowd.sessions().len().to_string(),
    );
    table.add(
        &format!("{what}: resident memory"),
        "≤ 256 MB",
        mb(memory),
        memory <= 256_000_000,
    );
}

fn scrape(exporter: &Exporter) -> String {
    let url = exporter.url("/metrics");
    let answer = get(&url, &[("X-Prometheus-Scrape-Timeout-Seconds", "50")]);
    answer.expect("it answers").body
}

fn active(exporter: &Exporter) -> usize {
    let samples = Samples::parse(&scrape(exporter));
    let all = samples.all("pgexporter_postgresql_active");
    all.iter().filter(|sample| sample.value == 1.0).count()
}

fn overview(exporter: &Exporter) -> String {
    get(&exporter.url("/"), &[]).expect("it answers").body
}

/// The names of the targets in the list, which the overview shows without asking any server.
fn listed(exporter: &Exporter) -> std::collections::BTreeSet<String> {
    let start = format!("{NAMESPACE}/");
    let page = overview(exporter);
    page.match_indices(&start)
        .map(|(at, _)| {
            let name = page[at + start.len()..].chars();
            name.take_while(|c| c.is_ascii_alphanumeric()).collect()
        })
        .collect()
}

/// The requests when none has come for ten seconds.
fn settled(api: &ApiServer) -> Requests {
    let mut last = Requests::of(api);
    loop {
        sleep(Duration::from_secs(10));
        let now = Requests::of(api);
        if now.work() == last.work() {
            return now;
        }
        last = now;
    }
}

/// Waits for it, and says when it came to hold.
fn patient(what: &str, mut condition: impl FnMut() -> bool) -> Instant {
    let end = Instant::now() + Duration::from_secs(300);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within five minutes");
        sleep(LOOK);
    }
    Instant::now()
}
