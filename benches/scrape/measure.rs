//! The measurements themselves.

use std::thread::sleep;
use std::time::Duration;

use crate::client::Client;
use crate::floor::{Floor, Statement, Turn, alone, statements_of};
use crate::servers::{self, DATABASES, ROLE};
use crate::serving;
use crate::support::Postgres;
use crate::support::exporter::{Exporter, ExporterBuilder};
use crate::table::{Table, mb, middle, ms, percentile, ratio};
use crate::{SETTLE, usage};

/// Before each scrape. Nobody scrapes without a pause, and a server that is asked again before it
/// sleeps saves itself the waking.
pub const PAUSE: Duration = Duration::from_millis(5);

/// How often things are done.
#[derive(Clone, Copy)]
pub struct Rounds {
    /// Blocks of scrapes; the exporter's and the floor's take turns.
    blocks: usize,
    /// Full scrapes a block; of usual ones there are four times as many.
    block: usize,
    /// Scrapes after which memory is looked at first.
    early: usize,
    /// And last.
    pub late: usize,
}

impl Rounds {
    /// For the page.
    pub fn whole() -> Self {
        Self {
            blocks: 40,
            block: 5,
            early: 100,
            late: 1000,
        }
    }

    /// For a look.
    pub fn quick() -> Self {
        Self {
            blocks: 10,
            block: 4,
            early: 50,
            late: 150,
        }
    }
}

/// The server that is measured on, and what is known of it.
pub struct Bench {
    server: Postgres,
    statements: Vec<Statement>,
    rounds: Rounds,
}

/// What a comparison found, for the page.
pub struct Compared {
    pub turn: Turn,
    pub samples: usize,
    pub bytes: usize,
    pub latency: Duration,
    pub floor: Duration,
    pub own_cpu: Duration,
    pub server_cpu: Duration,
}

impl Bench {
    /// Starts the server.
    pub fn start(rounds: Rounds) -> Self {
        eprintln!("PostgreSQL 17 with {DATABASES} databases of 20 tables");
        let server = servers::start(DATABASES, false);
        usage::apart(&server);
        let version = server.value("SHOW server_version_num");
        let extensions = server
            .text("SELECT extname, extversion FROM pg_extension")
            .into_iter()
            .map(|mut row| {
                let mut take = |at: usize| row[at].take().unwrap_or_default();
                (take(0), take(1))
            });
        let version = version.parse().expect("a version");
        let statements = statements_of(version, &extensions.collect::<Vec<_>>());
        Self {
            server,
            statements,
            rounds,
        }
    }

    /// The server.
    pub fn server(&self) -> &Postgres {
        &self.server
    }

    /// The exporter and the floor, in turns.
    pub fn compare(&self, table: &mut Table, turn: Turn, kept: usize) -> Compared {
        let mut builder = builder().set(&format!("session_databases = {kept}"));
        if turn == Turn::Full {
            builder = builder.set("collector_interval = 0");
        }
        let exporter = section(builder, "one", &self.server).start();
        let mut client = connect(&exporter, None);
        let others = servers::others(DATABASES);
        let port = self.server.port();
        let mut floor = Floor::new(port, ROLE, &self.statements, &others, turn, kept > 1)
            .expect("the floor logs in");
        let block = match turn {
            Turn::Full => self.rounds.block,
            Turn::Usual => self.rounds.block * 4,
        };
        for _ in 0..5 {
            client.scrape().expect("a scrape");
            floor.scrape().expect("the floor");
        }
        // The body is no small part of a usual scrape: who only asks is not what it compares with.
        let mut serving = (turn == Turn::Usual)
            .then(|| serving::of_body(client.text().as_bytes()).expect("a bare server"));
        let cpu = usage::cpu_of(exporter.pid());
        let (mut own, mut bare) = (Vec::new(), Vec::new());
        let (mut own_cpu, mut bare_cpu) = (Duration::ZERO, Duration::ZERO);
        // Of each block and the floor's after it: a machine does not keep its speed for a minute.
        let (mut times_floor, mut times_floor_cpu) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for _ in 0..self.rounds.blocks {
            let (before, before_bare) = (own.len(), bare.len());
            let block_cpu = self.server_cpu(|| {
                for _ in 0..block {
                    sleep(PAUSE);
                    let scrape = client.scrape().expect("a scrape");
                    own.push(scrape.took);
                    bytes = scrape.size;
                }
            });
            let block_bare_cpu = self.server_cpu(|| {
                for _ in 0..block {
                    sleep(PAUSE);
                    let mut took = floor.scrape().expect("the floor").0;
                    if let Some(serving) = &mut serving {
                        took += serving.scrape().expect("a bare answer").took;
                    }
                    bare.push(took);
                }
            });
            let median = |times: &[Duration]| percentile(&mut times.to_vec(), 50);
            times_floor.push(ratio(median(&own[before..]), median(&bare[before_bare..])));
            times_floor_cpu.push(ratio(block_cpu, block_bare_cpu));
            own_cpu += block_cpu;
            bare_cpu += block_bare_cpu;
        }
        let (times_floor, times_floor_cpu) = (middle(times_floor), middle(times_floor_cpu));
        let count = u32::try_from(own.len()).expect("few");
        let cpu = (usage::cpu_of(exporter.pid()) - cpu) / count;
        let samples = client.samples();
        let (own_cpu, bare_cpu) = (own_cpu / count, bare_cpu / count);
        let (own, own95) = (percentile(&mut own, 50), percentile(&mut own, 95));
        let (bare, bare95) = (percentile(&mut bare, 50), percentile(&mut bare, 95));

        let what = match (turn, kept) {
            (Turn::Full, 1) => "full scrape",
            (Turn::Usual, 1) => "usual scrape",
            _ => "full scrape, a connection kept in each database",
        };
        let (beside, bar) = match turn {
            Turn::Full => ("floor", "≤ 1.15 × floor"),
            Turn::Usual => ("asking and serving", "≤ 1.15 × asking and serving"),
        };
        let latency = format!(
            "{} (p95 {}); {beside} {} (p95 {}): {:.2} ×",
            ms(own),
            ms(own95),
            ms(bare),
            ms(bare95),
            times_floor
        );
        let per = cpu.mul_f64(10_000.0 / samples.max(1) as f64);
        let own_text = format!(
            "{}: {} for {samples} samples in {}",
            ms(per),
            ms(cpu),
            mb(bytes as u64)
        );
        let server_text = format!(
            "{}; floor {}: {:.2} ×",
            ms(own_cpu),
            ms(bare_cpu),
            times_floor_cpu
        );
        let (a, b, c) = (
            format!("Latency, {what}: median of {count}"),
            format!("CPU of the exporter for 10,000 samples, {what}"),
            format!("CPU of PostgreSQL, {what}"),
        );
        if kept > 1 {
            table.tell(&a, latency);
            table.tell(&b, own_text);
            table.tell(&c, server_text);
        } else {
            table.add(&a, bar, latency, times_floor <= 1.15);
            let good = per <= Duration::from_millis(10);
            table.add(&b, "≤ 10 ms", own_text, good);
            let good = times_floor_cpu <= 1.05;
            table.add(&c, "≤ 1.05 × floor", server_text, good);
        }
        if turn == Turn::Usual {
            self.cached(table);
        }
        if turn == Turn::Full && kept == 1 {
            compressed(table, &exporter, self.rounds);
        }
        Compared {
            turn,
            samples,
            bytes,
            latency: own,
            floor: bare,
            own_cpu: cpu,
            server_cpu: own_cpu,
        }
    }

    /// What is left of a scrape when no server is asked: the body is laid together and sent.
    fn cached(&self, table: &mut Table) {
        let builder = builder()
            .set("metrics_cache_max_age = 1h")
            .set("metrics_cache_max_size = 100M");
        let exporter = section(builder, "one", &self.server).start();
        let mut client = connect(&exporter, None);
        let mut times: Vec<Duration> = (0..self.rounds.blocks * self.rounds.block)
            .map(|_| client.scrape().expect("a scrape").took)
            .collect();
        let median = ms(percentile(&mut times, 50));
        table.tell("Latency, a scrape that asks no server", median);
    }

    /// CPU that the server takes for `work`, with the ends of its backends.
    pub fn server_cpu(&self, work: impl FnOnce()) -> Duration {
        let before = usage::cpu_of_server(&self.server);
        work();
        sleep(SETTLE);
        usage::cpu_of_server(&self.server).saturating_sub(before)
    }

    /// How long each statement takes alone, the longest first.
    pub fn statements(&self) -> Vec<(String, Duration, usize)> {
        let mut times =
            alone(self.server.port(), ROLE, &self.statements, 15).expect("the floor logs in");
        times.sort_by_key(|(_, time, _)| std::cmp::Reverse(*time));
        times
    }
}

/// A server of one database: memory, and connections.
pub fn lasting(table: &mut Table, rounds: Rounds) {
    let server = servers::start(1, true);
    let exporter = section(builder(), "one", &server).start();
    let mut client = connect(&exporter, None);
    let session = server.session("postgres");
    let connections = || {
        let sum = "SELECT sum(sessions) FROM pg_stat_database";
        let text = session.text(sum)[0][0].clone().unwrap_or_default();
        text.parse::<u64>().expect("a number")
    };
    client.scrape().expect("a scrape");
    // A session is counted once it has told the statistics of itself.
    sleep(Duration::from_secs(2));
    client.scrape().expect("a scrape");
    let before = connections();
    let (early, late) = memory(&exporter, &mut client, rounds);
    sleep(Duration::from_secs(2));
    let made = connections() - before;
    let pid = session.text(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter' \
         AND datname IS NOT NULL",
    );
    let pid = pid[0][0].as_ref().and_then(|pid| pid.parse().ok());
    let private = usage::private(pid.expect("one session"));
    let Rounds { late: scrapes, .. } = rounds;
    table.add(
        &format!("New connections, one database, {scrapes} scrapes"),
        "0",
        made.to_string(),
        made == 0,
    );
    table.add(
        &format!("Private memory of the exporter's backend at PostgreSQL after {scrapes} scrapes"),
        "≤ 25 MB",
        mb(private),
        private <= 25_000_000,
    );
    resident(table, "one server", early, late, 20);
}

/// Resident memory after the early and after the late scrape.
pub fn memory(exporter: &Exporter, client: &mut Client, rounds: Rounds) -> (u64, u64) {
    let mut at = |count: usize| {
        for _ in 0..count {
            client.scrape().expect("a scrape");
        }
        usage::resident(exporter.pid())
    };
    (at(rounds.early), at(rounds.late - rounds.early))
}

pub fn resident(table: &mut Table, what: &str, early: u64, late: u64, limit: u64) {
    // A page more or less is no growth.
    let good = late <= limit * 1_000_000 && late.saturating_sub(early) <= early / 50;
    table.add(
        &format!("Resident memory, {what}, after 100 and 1,000 scrapes"),
        &format!("≤ {limit} MB, no growth"),
        format!("{}, {}", mb(early), mb(late)),
        good,
    );
}

/// What Prometheus asks for: gzip.
fn compressed(table: &mut Table, exporter: &Exporter, rounds: Rounds) {
    let mut client = connect(exporter, Some("gzip"));
    let before = usage::cpu_of(exporter.pid());
    let count = rounds.blocks * 3;
    let mut size = 0;
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let scrape = client.scrape().expect("a scrape");
            size = scrape.size;
            scrape.took
        })
        .collect();
    let cpu = (usage::cpu_of(exporter.pid()) - before) / u32::try_from(count).expect("few");
    table.tell(
        "Full scrape with gzip: latency, CPU of the exporter, body",
        format!(
            "{}, {}, {}",
            ms(percentile(&mut times, 50)),
            ms(cpu),
            mb(size as u64)
        ),
    );
}

pub fn builder() -> ExporterBuilder {
    Exporter::builder().set("log_level = warn")
}

pub fn section(builder: ExporterBuilder, name: &str, server: &Postgres) -> ExporterBuilder {
    let (host, port) = (server.host(), server.port());
    builder.section(&format!(
        "[{name}]\nhost = {host}\nport = {port}\nuser = {ROLE}\ntls = off\n"
    ))
}

/// The exporter on the server, as it comes.
pub fn usual(bench: &Bench) -> ExporterBuilder {
    section(builder(), "one", &bench.server)
}

/// The exporter on the server, every collector at each scrape.
pub fn full(bench: &Bench) -> ExporterBuilder {
    usual(bench).set("collector_interval = 0")
}

/// A client of an exporter that has connected to its servers.
pub fn connect(exporter: &Exporter, encoding: Option<&str>) -> Client {
    let port = exporter.port("metrics");
    let mut client = Client::new(port, "/metrics", encoding).expect("it listens");
    client.scrape().expect("a scrape");
    client
}
