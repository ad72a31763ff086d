//! Twenty servers against one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::measure::{PAUSE, Rounds, builder, connect, memory, resident, section};
use crate::servers::{self, DATABASES};
use crate::support::exporter::{Exporter, ExporterBuilder};
use crate::support::{Postgres, within};
use crate::table::{Table, ms, percentile, ratio};
use crate::usage;

/// Twenty servers against one, in turns: each finds the caches of the processor as others left them.
pub fn measure(table: &mut Table, rounds: Rounds) {
    const COUNT: usize = 20;
    let begin = Instant::now();
    let servers = start_all(COUNT);
    eprintln!("  started in {:.0} s", begin.elapsed().as_secs_f64());
    let mut one = Group::start(&servers[..1]);
    let mut all = Group::start(&servers);
    for _ in 0..(rounds.late / 10).max(30) {
        one.scrape();
        all.scrape();
    }
    let (one, all) = (one.costs(), all.costs());
    table.add(
        "CPU of the exporter, 20 servers against one",
        "≤ 20 ×",
        format!(
            "{} against {}: {:.1} ×",
            ms(all.own),
            ms(one.own),
            ratio(all.own, one.own)
        ),
        ratio(all.own, one.own) <= 20.0,
    );
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let over = |cpu: Duration| cpu / u32::try_from(cores).expect("few");
    let bar = over(20 * one.cpu());
    table.add(
        "Latency, usual scrape of 20 servers",
        "≤ 20 × the CPU that one takes, over the cores",
        format!(
            "{}; one takes CPU of exporter {}, PostgreSQL {}, client {}: 20 × that over {cores} cores \
             is {}. The 20 took {}, {}, {}: over the cores {}",
            ms(all.latency),
            ms(one.own),
            ms(one.postgres),
            ms(one.client),
            ms(bar),
            ms(all.own),
            ms(all.postgres),
            ms(all.client),
            ms(over(all.cpu())),
        ),
        all.latency <= bar,
    );
    remember(table, rounds, &servers);
}

/// Memory over 1,000 scrapes. Whoever scrapes every 15 s has seen the collectors with an interval,
/// a minute for the most part, run 25 times by scrape 100. Here scrapes follow each other at once,
/// so the interval is shorter: they run three times or more by then, and some thirty times in all.
fn remember(table: &mut Table, rounds: Rounds, servers: &[Postgres]) {
    let mut all = Group::of(servers, builder().set("collector_interval = 4s"));
    let (early, late) = memory(&all.exporter, &mut all.client, rounds);
    resident(table, "20 servers", early, late, 40);
}

/// An exporter of some servers, and what its scrapes took.
struct Group<'a> {
    servers: &'a [Postgres],
    exporter: Exporter,
    client: Client,
    times: Vec<Duration>,
    spent: Costs,
}

/// What a scrape took: its latency, and CPU.
#[derive(Default)]
struct Costs {
    latency: Duration,
    own: Duration,
    postgres: Duration,
    client: Duration,
}

impl Costs {
    fn cpu(&self) -> Duration {
        self.own + self.postgres + self.client
    }
}

impl<'a> Group<'a> {
    /// Started, and with a session at each of its servers.
    fn start(servers: &'a [Postgres]) -> Self {
        Self::of(servers, builder())
    }

    fn of(servers: &'a [Postgres], builder: ExporterBuilder) -> Self {
        let exporter = (servers.iter().enumerate())
            .fold(builder, |builder, (at, server)| {
                section(builder, &format!("server_{at}"), server)
            })
            .start();
        let mut client = connect(&exporter, None);
        within(Duration::from_secs(30), || {
            client.scrape().expect("a scrape");
            let active = "\npgexporter_postgresql_active{server=";
            let text = client.text();
            let last = |rest: &str| {
                rest.lines()
                    .next()
                    .is_some_and(|line| line.ends_with("} 1"))
            };
            text.split(active).skip(1).filter(|rest| last(rest)).count() == servers.len()
        });
        Self {
            servers,
            exporter,
            client,
            times: Vec::new(),
            spent: Costs::default(),
        }
    }

    fn spent(&self) -> [Duration; 3] {
        [
            usage::cpu_of(self.exporter.pid()),
            self.servers.iter().map(usage::cpu_of_server).sum(),
            usage::cpu_of(std::process::id().cast_signed()),
        ]
    }

    fn scrape(&mut self) {
        sleep(PAUSE);
        let before = self.spent();
        self.times
            .push(self.client.scrape().expect("a scrape").took);
        let client = usage::cpu_of(std::process::id().cast_signed());
        // What follows an answer, as the end of a transaction, belongs to it.
        sleep(PAUSE);
        let after = self.spent();
        self.spent.own += after[0].saturating_sub(before[0]);
        self.spent.postgres += after[1].saturating_sub(before[1]);
        self.spent.client += client.saturating_sub(before[2]);
    }

    /// The mean of the CPU, the median of the latency.
    fn costs(&mut self) -> Costs {
        let count = u32::try_from(self.times.len()).expect("few");
        Costs {
            latency: percentile(&mut self.times, 50),
            own: self.spent.own / count,
            postgres: self.spent.postgres / count,
            client: self.spent.client / count,
        }
    }
}

fn start_all(count: usize) -> Vec<Postgres> {
    let half = count / 2;
    std::thread::scope(|scope| {
        let make = |count: usize| {
            move || {
                (0..count)
                    .map(|_| servers::start(DATABASES, true))
                    .collect()
            }
        };
        let threads = [scope.spawn(make(half)), scope.spawn(make(count - half))];
        threads
            .into_iter()
            .flat_map(|thread| -> Vec<Postgres> { thread.join().expect("they start") })
            .collect()
    })
}
