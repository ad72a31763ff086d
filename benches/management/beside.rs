//! Status requests while a real server is scraped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use pgexporter::management::AdminVerb;

use crate::ask::{ask, socket};
use crate::client::Client;
use crate::servers::{self, DATABASES, ROLE};
use crate::table::{Table, middle, ms, percentile, ratio};
use crate::{Rounds, builder, usage};

/// Requests a second.
const RATE: u32 = 200;
/// Before each scrape: nobody scrapes without a pause.
const PAUSE: Duration = Duration::from_millis(5);

/// Usual scrapes and full ones.
pub fn measure(table: &mut Table, rounds: Rounds) {
    let server = servers::start(DATABASES, false);
    usage::apart(&server);
    let (host, port) = (server.host(), server.port());
    let section = format!("[one]\nhost = {host}\nport = {port}\nuser = {ROLE}\ntls = off\n");
    for (name, block, setting) in [
        ("usual", 20, "collector_interval = 60s"),
        ("full", 5, "collector_interval = 0"),
    ] {
        let builder = match name {
            "full" => builder().set(setting),
            _ => builder(),
        };
        let exporter = builder.section(&section).start();
        let mut client =
            Client::new(exporter.port("metrics"), "/metrics", None).expect("it listens");
        let mut scrapes = |count: usize| -> Vec<Duration> {
            let scrape = |_| {
                sleep(PAUSE);
                client.scrape().expect("a scrape").took
            };
            (0..count).map(scrape).collect()
        };
        scrapes(10);
        let (mut alone, mut beside, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut asked, mut during) = (0, Duration::ZERO);
        for round in 0..rounds.blocks {
            let mut bothered = |scrapes: &mut dyn FnMut(usize) -> Vec<Duration>| {
                let begin = Instant::now();
                let crowd = Crowd::start(socket(&exporter));
                let times = scrapes(block);
                asked += crowd.end();
                during += begin.elapsed();
                times
            };
            // Now this one first and now that one: a machine does not keep its speed.
            let (mut without, mut with) = match round % 2 {
                0 => (scrapes(block), bothered(&mut scrapes)),
                _ => {
                    let with = bothered(&mut scrapes);
                    (scrapes(block), with)
                }
            };
            times.push(ratio(
                percentile(&mut with, 50),
                percentile(&mut without, 50),
            ));
            alone.append(&mut without);
            beside.append(&mut with);
        }
        let times = middle(times);
        let rate = asked as f64 / during.as_secs_f64();
        table.add(
            &format!("Latency, {name} scrape beside {RATE} status requests a second"),
            "≤ 1.05 × without",
            format!(
                "{} (p95 {}), {} (p95 {}) without: {times:.2} ×; {rate:.0} requests a second",
                ms(percentile(&mut beside, 50)),
                ms(percentile(&mut beside, 95)),
                ms(percentile(&mut alone, 50)),
                ms(percentile(&mut alone, 95)),
            ),
            times <= 1.05 && rate >= f64::from(RATE) * 0.95,
        );
    }
    usage::everywhere();
}

/// Somebody who asks again and again, each time at its time.
struct Crowd {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Crowd {
    fn start(socket: PathBuf) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (over, count) = (Arc::clone(&stop), Arc::<AtomicUsize>::clone(&asked));
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                ask(&socket, AdminVerb::Status).expect("it answers");
                count.fetch_add(1, Ordering::Relaxed);
                next += Duration::from_secs(1) / RATE;
                sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self {
            stop,
            asked,
            thread,
        }
    }

    /// Stops; gives how many were answered.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("all were answered");
        self.asked.load(Ordering::Relaxed)
    }
}
