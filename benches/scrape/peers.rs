//! Other exporters on the same server: Debian's prometheus-postgres-exporter, and `pg_exporter`
//! of crates.io with all its collectors. They are fetched when they are asked for.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::client::Client;
use crate::measure::{Bench, full, usual};
use crate::servers::ROLE;
use crate::support::debian::{apt_download, system};
use crate::support::downloads::{entry, run};
use crate::support::exporter::Exporter;
use crate::support::ports::Port;
use crate::support::{Keeper, within};
use crate::table::{ms, percentile};
use crate::usage;

/// The heading of their part of the page.
pub const HEADING: &str = "## Beside other exporters";

/// Scrapes in a turn, and turns.
const BLOCK: usize = 10;
const TURNS: usize = 5;

/// Measures this exporter and the others in turns. Returns their part of the page.
pub fn measure(bench: &Bench) -> String {
    let port = bench.server().port();
    let database = format!("postgresql://{ROLE}@127.0.0.1:{port}/postgres?sslmode=disable");
    let mut missing = Vec::new();
    let peers: [(&str, Get); 2] = [
        ("prometheus-postgres-exporter of Debian", debian),
        ("pg_exporter 0.22, all collectors", pg_exporter),
    ];
    // To get one takes minutes, and a connection of ours would be idle for too long meanwhile.
    let peers = peers.map(|(name, get)| (name, get()));
    let mut racers = vec![
        Racer::new(
            "pgexporter as it comes, costly collectors once a minute",
            Running::Ours(usual(bench).start()),
        ),
        Racer::new(
            "pgexporter, every collector each time",
            Running::Ours(full(bench).start()),
        ),
    ];
    for (name, command) in peers {
        match command.and_then(|command| start(command, &database)) {
            Ok(running) => racers.push(Racer::new(name, running)),
            Err(error) => missing.push(format!("{name} could not be had: {error:#}\n")),
        }
    }
    let session = bench.server().session("postgres");
    let sessions = || {
        // The server publishes them with a delay.
        sleep(Duration::from_secs(2));
        let sum = "SELECT sum(sessions) FROM pg_stat_database";
        let text = session.text(sum)[0][0].clone().unwrap_or_default();
        text.parse::<u64>().unwrap_or_default()
    };
    for _ in 0..TURNS {
        for racer in &mut racers {
            let connections = sessions();
            let own = usage::cpu_of(racer.running.pid());
            racer.server += bench.server_cpu(|| {
                for _ in 0..BLOCK {
                    racer
                        .times
                        .push(racer.client.scrape().expect("a scrape").took);
                }
            });
            racer.own += usage::cpu_of(racer.running.pid()) - own;
            racer.connections += sessions() - connections;
        }
    }
    let mut text = format!(
        "{HEADING}\n\nOn the same server in the same run, in turns, {} scrapes each.\n\n\
         | Exporter | Samples | Latency | Own CPU | CPU of PostgreSQL | New connections a scrape | \
         Latency, own CPU, CPU of PostgreSQL a 1,000 samples |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        BLOCK * TURNS
    );
    for racer in &mut racers {
        let count = u32::try_from(racer.times.len()).expect("few");
        let samples = racer.client.samples();
        let latency = percentile(&mut racer.times, 50);
        let (own, server) = (racer.own / count, racer.server / count);
        let per = |time: Duration| ms(time.mul_f64(1000.0 / samples.max(1) as f64));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {samples} | {} | {} | {} | {:.1} | {}, {}, {} |",
            racer.name,
            ms(latency),
            ms(own),
            ms(server),
            racer.connections as f64 / f64::from(count),
            per(latency),
            per(own),
            per(server),
        );
    }
    for line in missing {
        let _ = writeln!(text, "\n{line}");
    }
    text.push('\n');
    text
}

/// Gets a peer; the command that starts it, with `{port}` and `{database}` to be filled.
type Get = fn() -> anyhow::Result<Command>;

struct Racer {
    name: &'static str,
    running: Running,
    client: Client,
    times: Vec<Duration>,
    own: Duration,
    server: Duration,
    connections: u64,
}

impl Racer {
    fn new(name: &'static str, running: Running) -> Self {
        let mut client = Client::new(running.port(), "/metrics", None).expect("it listens");
        for _ in 0..3 {
            client.scrape().expect("a scrape");
        }
        eprintln!("  {name}: {} samples", client.samples());
        Self {
            name,
            running,
            client,
            times: Vec::new(),
            own: Duration::ZERO,
            server: Duration::ZERO,
            connections: 0,
        }
    }
}

enum Running {
    Ours(Exporter),
    Peer {
        child: Child,
        port: Port,
        /// It removes the folder that the peer works in.
        _keeper: Keeper,
    },
}

impl Running {
    fn pid(&self) -> i32 {
        match self {
            Running::Ours(exporter) => exporter.pid(),
            Running::Peer { child, .. } => child.id().cast_signed(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Running::Ours(exporter) => exporter.port("metrics"),
            Running::Peer { port, .. } => port.number(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Peer { child, .. } = self {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(mut command: Command, database: &str) -> anyhow::Result<Running> {
    let (port, keeper) = (Port::free(), Keeper::new()?);
    let arguments: Vec<String> = command
        .get_args()
        .map(|one| {
            one.to_string_lossy()
                .replace("{port}", &port.number().to_string())
        })
        .map(|one| one.replace("{database}", database))
        .collect();
    command = Command::new(command.get_program());
    let child = command
        .args(arguments)
        .env("DATA_SOURCE_NAME", database)
        .current_dir(keeper.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut running = Running::Peer {
        child,
        port,
        _keeper: keeper,
    };
    let ready = within(Duration::from_secs(20), || {
        TcpStream::connect(("127.0.0.1", running.port())).is_ok()
    });
    if let (false, Running::Peer { child, .. }) = (ready, &mut running) {
        anyhow::bail!("it does not listen ({:?})", child.try_wait());
    }
    Ok(running)
}

/// It asks every database where it is told to look for them.
fn debian() -> anyhow::Result<Command> {
    let place = entry(&format!("postgres-exporter-{}", system()?), |folder| {
        apt_download(&["prometheus-postgres-exporter"], folder)
    })?;
    let mut command = Command::new(place.join("usr/bin/prometheus-postgres-exporter"));
    command.args([
        "--web.listen-address=127.0.0.1:{port}",
        "--auto-discover-databases",
    ]);
    Ok(command)
}

fn pg_exporter() -> anyhow::Result<Command> {
    let place: PathBuf = entry("pg_exporter-0.22", |folder| {
        eprintln!("pg_exporter: building, which takes minutes");
        // Not with the versions of its lock file: some of them are withdrawn.
        run(Command::new("cargo")
            .args(["install", "pg_exporter", "--version", "^0.22", "--root"])
            .arg(folder)
            .env_remove("CARGO_TARGET_DIR")
            .current_dir(folder))
    })?;
    let program = place.join("bin/pg_exporter");
    let help = Command::new(&program).arg("--help").output()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let collectors = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with("--collector."))
        .map(str::to_owned);
    let mut command = Command::new(program);
    command.args([
        "--dsn",
        "{database}",
        "--port",
        "{port}",
        "--listen",
        "127.0.0.1",
    ]);
    command.args(collectors);
    Ok(command)
}
