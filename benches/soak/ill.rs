//! The servers that are ill: down, frozen, hostile, flapping, moving and slow, twenty in all.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::{self, Scope};
use std::time::Duration;

use crate::Stop;
use crate::healthy::Healthy;
use crate::hostile::{self, ATTACKS};
use crate::support::exporter::ExporterBuilder;
use crate::support::ports::Port;
use crate::support::{Exporter, Hostile, Postgres, Samples};

/// How long each state of a server that changes lasts.
const TURN: Duration = Duration::from_secs(20);
/// How much later what a slow server says arrives, each time.
const DELAY: Duration = Duration::from_millis(300);

/// All of them.
pub struct Ill {
    down: Vec<Port>,
    frozen: Vec<Postgres>,
    hostile: Vec<Hostile>,
    flapping: Postgres,
    /// Two servers of one port, on 127.0.0.1 and 127.0.0.2.
    moving: [Postgres; 2],
    slow: u16,
    hosts: OnceLock<PathBuf>,
    stop: Stop,
}

impl Ill {
    /// Starts those that can be started.
    pub fn start(healthy: &Healthy) -> Self {
        let stop = Stop::default();
        let trusting = || Postgres::builder(17).hba("host all all 127.0.0.0/8 trust");
        let first = trusting().start();
        let port = first.port();
        let second = trusting()
            .set("listen_addresses", "127.0.0.2")
            .port(port)
            .start();
        Self {
            down: (0..4).map(|_| Port::free()).collect(),
            frozen: (0..2).map(|_| trusting().start()).collect(),
            hostile: ATTACKS.map(hostile::start).into(),
            flapping: trusting().start(),
            moving: [first, second],
            slow: slow(healthy.servers[0].port(), &stop),
            hosts: OnceLock::new(),
            stop,
        }
    }

    /// Their sections of the file.
    pub fn name_in(&self, builder: ExporterBuilder) -> ExporterBuilder {
        let mut all = Vec::new();
        let mut name = |kind: &str, host: &str, port: u16| {
            all.push(format!(
                "[{kind}]\nhost = {host}\nport = {port}\nuser = postgres\n"
            ));
        };
        for at in 0..4 {
            name(&format!("down_{at}"), "127.0.0.1", self.down[at].number());
            let frozen = self.frozen[at % 2].port();
            name(&format!("frozen_{at}"), "127.0.0.1", frozen);
            let hostile = &self.hostile[at];
            name(&format!("hostile_{at}"), "127.0.0.1", hostile.port());
            name(&format!("slow_{at}"), "127.0.0.1", self.slow);
        }
        for at in 0..2 {
            name(&format!("flapping_{at}"), "127.0.0.1", self.flapping.port());
            name(
                &format!("moving_{at}"),
                "moving.test",
                self.moving[0].port(),
            );
        }
        let builder = builder.hosts("127.0.0.1 localhost moving.test\n");
        all.iter()
            .fold(builder, |builder, text| builder.section(text))
    }

    /// Names that move are those of this exporter.
    pub fn reach(&self, exporter: &Exporter) {
        let _ = self.hosts.set(exporter.folder().join("hosts"));
    }

    /// Each kind has its turns, of different lengths.
    pub fn spawn<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, stop: &Stop) {
        for server in &self.frozen {
            let stop = stop.clone();
            scope.spawn(move || {
                while stop.wait(TURN) {
                    server.freeze();
                    stop.wait(TURN * 2);
                    server.thaw();
                }
            });
        }
        let flaps = stop.clone();
        scope.spawn(move || {
            while flaps.wait(TURN) {
                self.flapping.stop_immediate();
                flaps.wait(TURN / 2);
                self.flapping.start_again();
            }
        });
        let moves = stop.clone();
        scope.spawn(move || {
            let addresses = ["127.0.0.2", "127.0.0.1"];
            let mut round = 0;
            while moves.wait(TURN * 3 / 2) {
                let Some(hosts) = self.hosts.get() else {
                    return;
                };
                let text = format!(
                    "127.0.0.1 localhost\n{} moving.test\n",
                    addresses[round % 2]
                );
                // In place: the exporter has this very file mounted.
                fs::write(hosts, text).expect("the names are written");
                round += 1;
            }
        });
    }

    /// What each kind cost in the time: connections, and failures by reason, as the exporter
    /// counts them.
    pub fn costs(&self, before: &Samples, after: &Samples, took: Duration) -> String {
        let minutes = took.as_secs_f64() / 60.0;
        let mut text = "| Fault | Servers | Connections a minute, each | Failed scrapes a minute, \
            each |\n| --- | --- | --- | --- |\n"
            .to_owned();
        for (kind, what) in [
            ("down", "Nothing listens"),
            ("frozen", "Frozen (SIGSTOP) for 40 s of each minute"),
            (
                "hostile",
                "Hostile: announces 64 MiB, floods at login, rows without an end, a refusal of 60 MB",
            ),
            ("flapping", "Killed and started again, each 30 s"),
            ("moving", "The name moves to another server, each 30 s"),
            ("slow", "Each answer is 0.3 s late"),
        ] {
            let count = if ["flapping", "moving"].contains(&kind) {
                2
            } else {
                4
            };
            let sum = |samples: &Samples, family: &str, reason: Option<&str>| -> f64 {
                let all = samples.all(family).into_iter();
                let of_kind = all.filter(|sample| {
                    let server = sample.labels.get("server");
                    server.is_some_and(|server| server.starts_with(&format!("{kind}_")))
                        && reason
                            .is_none_or(|one| sample.labels.get("reason").is_some_and(|r| r == one))
                });
                of_kind.map(|sample| sample.value).sum()
            };
            let each = |family: &str, reason: Option<&str>| {
                (sum(after, family, reason) - sum(before, family, reason))
                    / minutes
                    / f64::from(count)
            };
            let mut reasons: Vec<String> = Vec::new();
            for sample in after.all("pgexporter_postgresql_failures_total") {
                let reason = &sample.labels["reason"];
                if !reasons.contains(reason) {
                    reasons.push(reason.clone());
                }
            }
            let failed: Vec<String> = reasons
                .iter()
                .map(|reason| {
                    (
                        reason,
                        each("pgexporter_postgresql_failures_total", Some(reason)),
                    )
                })
                .filter(|(_, rate)| *rate > 0.0)
                .map(|(reason, rate)| format!("{reason} {rate:.1}"))
                .collect();
            let failed = if failed.is_empty() {
                "none".to_owned()
            } else {
                failed.join(", ")
            };
            let _ = writeln!(
                text,
                "| {what} | {count} | {:.1} | {failed} |",
                each("pgexporter_postgresql_connections_total", None),
            );
        }
        text
    }
}

impl Drop for Ill {
    fn drop(&mut self) {
        self.stop.end();
    }
}

/// A port that passes on to another, and what comes back late.
fn slow(target: u16, stop: &Stop) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    listener.set_nonblocking(true).expect("it can be polled");
    let stop = stop.clone();
    thread::spawn(move || {
        while !stop.is_over() {
            match listener.accept() {
                Ok((near, _)) => drop(pass(near, target)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    });
    port
}

fn pass(near: TcpStream, target: u16) -> std::io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", target))?;
    near.set_nonblocking(false)?;
    let (near_too, far_too) = (near.try_clone()?, far.try_clone()?);
    for (mut from, mut to, delay) in [(near, far, Duration::ZERO), (far_too, near_too, DELAY)] {
        thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                thread::sleep(delay);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
