//! The floor: the least that any client could do. It sends the statements that the exporter sends,
//! encoded beforehand, over as many connections and under as many Syncs, and throws the answers
//! away.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgexporter::catalog::{self, Choice, Scope};
use pgexporter::model::{Role, ServerVersion};
use pgexporter::postgres::statements;

/// What the exporter gives with its startup packet.
const OPTIONS: &str = "-c default_transaction_read_only=on -c statement_timeout=10000 \
    -c lock_timeout=1000 -c search_path=pg_catalog -c jit=off \
    -c max_parallel_workers_per_gather=0";

/// A statement of one scrape.
#[derive(Clone)]
pub struct Statement {
    /// Its collector, or what of the session's own it is.
    pub name: String,
    sql: String,
    when: When,
    /// In every database.
    everywhere: bool,
    /// It asks what the server is.
    own: bool,
}

/// How often the exporter runs a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// At each scrape.
    Always,
    /// It has an interval.
    Costly,
    /// When a session begins, and after a reload of the server.
    Seldom,
}

/// Which statements a scrape runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All.
    Full,
    /// Those without an interval of their own.
    Usual,
}

/// The statements that the exporter runs on a primary with these extensions, its session's own
/// first.
pub fn statements_of(version: u32, extensions: &[(String, String)]) -> Vec<Statement> {
    let catalog = catalog::load(&[]).expect("the built-in catalogue is sound");
    let chosen = catalog.choose(Choice {
        version: ServerVersion(version),
        role: Role::Primary,
        extensions,
        include: &[],
        exclude: &[],
        wanted_extensions: None,
    });
    let own = |name: &str, sql: &str, when| Statement {
        name: name.to_owned(),
        sql: sql.to_owned(),
        when,
        everywhere: false,
        own: true,
    };
    let mut all = vec![
        own(
            "the server's version and role",
            statements::PROBE,
            When::Always,
        ),
        own("its extensions", statements::EXTENSIONS, When::Always),
        own("its databases", statements::DATABASES, When::Costly),
        own("its settings", statements::SETTINGS, When::Seldom),
    ];
    all.extend(chosen.iter().map(|one| Statement {
        name: one.metric.tag.clone(),
        sql: one.query().sql.to_string(),
        when: match one.metric.interval {
            None => When::Always,
            Some(_) => When::Costly,
        },
        everywhere: one.metric.scope == Scope::All,
        own: false,
    }));
    all
}

/// A bare client of one server.
pub struct Floor {
    port: u16,
    user: String,
    own: Wire,
    own_batch: Batch,
    others: Vec<Other>,
}

struct Other {
    database: String,
    /// Kept, with everything prepared.
    wire: Option<Wire>,
    batch: Batch,
}

impl Floor {
    /// Logs in, and prepares in the database `postgres`; in the `others` too when these
    /// connections are to be `kept`.
    pub fn new(
        port: u16,
        user: &str,
        statements: &[Statement],
        others: &[String],
        turn: Turn,
        kept: bool,
    ) -> io::Result<Self> {
        let runs = |one: &&Statement| match one.when {
            When::Always => true,
            When::Costly => turn == Turn::Full,
            When::Seldom => false,
        };
        let mut own = Wire::open(port, user, "postgres")?;
        // All of them, for what a session holds is among what is asked.
        let held = own.prepare(statements)?;
        let own_batch = Batch::of_prepared(&held, runs);
        let statements: Vec<Statement> = held.into_iter().filter(|one| runs(&one)).collect();
        let walked: Vec<Statement> = statements
            .iter()
            .filter(|one| one.everywhere)
            .cloned()
            .collect();
        let others = if walked.is_empty() { &[] } else { others };
        let others = others.iter().map(|database| {
            let (wire, batch) = if kept {
                let mut wire = Wire::open(port, user, database)?;
                wire.prepare(&walked)?;
                (Some(wire), Batch::of_prepared(&walked, |_| true))
            } else {
                (None, Batch::of_texts(&walked))
            };
            Ok(Other {
                database: database.clone(),
                wire,
                batch,
            })
        });
        let others = others.collect::<io::Result<_>>()?;
        Ok(Self {
            port,
            user: user.to_owned(),
            own,
            own_batch,
            others,
        })
    }

    /// One scrape; returns how long it took and how many bytes of rows came.
    pub fn scrape(&mut self) -> io::Result<(Duration, usize)> {
        let begin = Instant::now();
        self.own.send(&self.own_batch)?;
        let mut bytes = self.own.discard(self.own_batch.syncs)?;
        for other in &mut self.others {
            if let Some(wire) = &mut other.wire {
                wire.send(&other.batch)?;
                bytes += wire.discard(other.batch.syncs)?;
                continue;
            }
            let mut wire = Wire::open(self.port, &self.user, &other.database)?;
            wire.send(&other.batch)?;
            bytes += wire.discard(other.batch.syncs)?;
            wire.close()?;
        }
        Ok((begin.elapsed(), bytes))
    }
}

/// Times each statement alone, prepared, in a database: the median of `rounds`.
pub fn alone(
    port: u16,
    user: &str,
    statements: &[Statement],
    rounds: usize,
) -> io::Result<Vec<(String, Duration, usize)>> {
    let mut wire = Wire::open(port, user, "postgres")?;
    let statements = wire.prepare(statements)?;
    let mut times = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let mut batch = Batch::default();
        batch.execute(&at.to_string());
        let mut rows = 0;
        let mut found = Vec::new();
        for _ in 0..rounds {
            let begin = Instant::now();
            wire.send(&batch)?;
            rows = wire.discard(1)?;
            found.push(begin.elapsed());
        }
        found.sort();
        times.push((statement.name.clone(), found[rounds / 2], rows));
    }
    Ok(times)
}

/// Messages encoded beforehand.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    syncs: usize,
}

impl Batch {
    /// What the server is in a transaction of its own, as the exporter asks it; the rest in one.
    fn of_prepared(held: &[Statement], runs: impl Fn(&&Statement) -> bool) -> Self {
        let mut batch = Self::default();
        let mut before = None;
        for (at, statement) in held.iter().enumerate().filter(|(_, one)| runs(one)) {
            if before == Some(true) && !statement.own {
                batch.sync();
            }
            before = Some(statement.own);
            batch.bind(&at.to_string());
        }
        batch.sync();
        batch
    }

    fn of_texts(statements: &[Statement]) -> Self {
        let mut batch = Self::default();
        for statement in statements {
            batch.parse("", &statement.sql);
            batch.bind("");
        }
        batch.sync();
        batch
    }

    fn message(&mut self, kind: u8, parts: &[&[u8]]) {
        let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.bytes.push(kind);
        let length = u32::try_from(length).expect("a short message");
        self.bytes.extend(length.to_be_bytes());
        parts.iter().for_each(|part| self.bytes.extend(*part));
    }

    fn parse(&mut self, name: &str, sql: &str) {
        self.message(
            b'P',
            &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0", &[0, 0]],
        );
    }

    /// Runs it under its own Sync.
    fn execute(&mut self, name: &str) {
        self.bind(name);
        self.sync();
    }

    /// Bind with binary results, Execute without a limit.
    fn bind(&mut self, name: &str) {
        let formats = [0, 0, 0, 0, 0, 1, 0, 1];
        self.message(b'B', &[b"\0", name.as_bytes(), b"\0", &formats]);
        self.message(b'E', &[b"\0", &[0; 4]]);
    }

    fn sync(&mut self) {
        self.message(b'S', &[]);
        self.syncs += 1;
    }
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// SQLSTATEs since the last look.
    errors: Vec<String>,
}

impl Wire {
    fn open(port: u16, user: &str, database: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut packet = vec![0, 0, 0, 0, 0, 3, 0, 0];
        for word in [
            "user",
            user,
            "database",
            database,
            "application_name",
            "floor",
            "client_encoding",
            "UTF8",
            "options",
            OPTIONS,
        ] {
            packet.extend(word.as_bytes());
            packet.push(0);
        }
        packet.push(0);
        let length = u32::try_from(packet.len()).expect("a short packet");
        packet[..4].copy_from_slice(&length.to_be_bytes());
        let mut wire = Self {
            stream,
            buffer: vec![0; 64 * 1024],
            errors: Vec::new(),
        };
        wire.stream.write_all(&packet)?;
        wire.discard(1)?;
        if let Some(state) = wire.errors.first() {
            return Err(io::Error::other(format!("no login to {database}: {state}")));
        }
        Ok(wire)
    }

    /// Prepares and tries each; returns those that the role may run, in the order of their names,
    /// which are their numbers.
    fn prepare(&mut self, statements: &[Statement]) -> io::Result<Vec<Statement>> {
        let mut good = Vec::new();
        for statement in statements {
            let name = good.len().to_string();
            let mut batch = Batch::default();
            batch.parse(&name, &statement.sql);
            batch.execute(&name);
            self.errors.clear();
            self.send(&batch)?;
            self.discard(batch.syncs)?;
            match self.errors.first() {
                None => good.push(statement.clone()),
                Some(state) => {
                    eprintln!("floor: {} is left out: {state}", statement.name);
                    let mut close = Batch::default();
                    close.message(b'C', &[b"S", name.as_bytes(), b"\0"]);
                    close.sync();
                    self.send(&close)?;
                    self.discard(1)?;
                }
            }
        }
        Ok(good)
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        self.stream.write_all(&batch.bytes)
    }

    /// Reads until so many ReadyForQuery have come; returns the bytes of rows.
    fn discard(&mut self, mut syncs: usize) -> io::Result<usize> {
        let (mut from, mut to, mut rows) = (0, 0, 0);
        // Bytes of a row that are not here yet.
        let mut left = 0;
        loop {
            let skip = left.min(to - from);
            from += skip;
            left -= skip;
            while left == 0 && to - from >= 5 {
                let header = &self.buffer[from..from + 5];
                let kind = header[0];
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                let body = length as usize - 4;
                let here = body.min(to - from - 5);
                // All but rows is short, and is looked at as a whole.
                if kind != b'D' && here < body {
                    break;
                }
                match kind {
                    b'E' => {
                        let text = state(&self.buffer[from + 5..from + 5 + body]);
                        self.errors.push(text);
                    }
                    b'Z' => syncs -= 1,
                    b'D' => rows += body,
                    _ => {}
                }
                from += 5 + here;
                left = body - here;
            }
            if syncs == 0 {
                return Ok(rows);
            }
            self.buffer.copy_within(from..to, 0);
            (from, to) = (0, to - from);
            let read = self.stream.read(&mut self.buffer[to..])?;
            if read == 0 {
                let what = format!("the server closed the connection: {:?}", self.errors);
                return Err(io::Error::other(what));
            }
            to += read;
        }
    }

    /// Says Terminate and waits for the end, so that the next connection is not one too many.
    fn close(mut self) -> io::Result<()> {
        self.stream.write_all(&[b'X', 0, 0, 0, 4])?;
        while self.stream.read(&mut self.buffer)? > 0 {}
        Ok(())
    }
}

/// SQLSTATE of an ErrorResponse's body, and its message.
fn state(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let wanted = fields.filter(|field| matches!(field.first(), Some(b'C' | b'M')));
    let texts: Vec<_> = wanted
        .take(2)
        .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
        .collect();
    texts.join(" ")
}
