//! The server's side of the protocol (PostgreSQL, "Message Flow"), as far as a session uses it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;

/// A message with its type and length.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// A DataRow of texts.
pub(super) fn row(fields: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        body.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        body.extend(field.as_bytes());
    }
    message(b'D', &body)
}

/// An ErrorResponse, whose text is its SQLSTATE.
pub(super) fn error(severity: &str, state: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{state}\0M{state}\0\0");
    message(b'E', fields.as_bytes())
}

/// A RowDescription of columns of the type `text`.
fn description(columns: usize) -> Vec<u8> {
    let mut body = u16::try_from(columns).unwrap().to_be_bytes().to_vec();
    for _ in 0..columns {
        body.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
    }
    message(b'T', &body)
}

/// What a server answers to a statement.
#[derive(Clone, Debug)]
pub(super) enum ScriptedAnswer {
    /// Rows of texts.
    Rows(Vec<Vec<&'static str>>),
    /// An error of that SQLSTATE.
    Error(&'static str),
    /// Rows, and then an error.
    Broken(Vec<Vec<&'static str>>, &'static str),
    /// An error that ends the session.
    Fatal(&'static str),
    /// These bytes in place of an answer.
    Bytes(Vec<u8>),
    /// Nothing, until the test says [`Script::go_on`]; then a cancel's error.
    Silence,
}

impl ScriptedAnswer {
    /// One row, which makes one sample.
    pub(super) fn one() -> Self {
        Self::Rows(vec![vec!["x", "1"]])
    }
}

/// The far end of a session.
pub(super) struct MemoryServer {
    stream: DuplexStream,
}

impl MemoryServer {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self { stream }
    }

    /// Reads the startup packet and lets the role in without a password; `early` comes in one packet
    /// with the end of the login.
    pub(super) async fn let_in(&mut self, early: &[u8]) {
        let length = self.stream.read_u32().await.unwrap() as usize;
        let mut startup = vec![0; length - 4];
        self.stream.read_exact(&mut startup).await.unwrap();
        let login = [
            message(b'R', &[0; 4]),
            message(b'S', b"server_version\x0017.2\0"),
            message(b'S', b"server_encoding\0UTF8\0"),
            message(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]),
            message(b'Z', b"I"),
            early.to_vec(),
        ];
        self.write(&login.concat()).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        // A session that has gone hears nothing.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next message; `None` when the session has gone.
    pub(super) async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let length = self.stream.read_u32().await.ok()? as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }

    /// Answers each statement with what `answer` says, until the session has gone.
    pub(super) fn play(
        self,
        answer: impl FnMut(&str) -> ScriptedAnswer + Send + 'static,
    ) -> Script {
        let script = Script::default();
        let backend = Backend {
            server: self,
            answer,
            script: script.clone(),
            prepared: BTreeMap::new(),
            in_transaction: false,
            failed: false,
        };
        tokio::spawn(backend.run());
        script
    }
}

/// A server that is being played.
#[derive(Clone, Default)]
pub(super) struct Script {
    log: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
    forget: Arc<AtomicBool>,
    /// A statement that is not prepared under a name, and the SQLSTATE of the error.
    refused: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

impl Script {
    /// What was run since the last call; `|` is a Sync.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// Ends the silence of one statement.
    pub(super) fn go_on(&self) {
        self.go_on.notify_one();
    }

    /// The session holds no prepared statement any more.
    pub(super) fn forget_statements(&self) {
        self.forget.store(true, Ordering::Relaxed);
    }

    /// This statement cannot be prepared.
    pub(super) fn refuse_to_prepare(&self, sql: &'static str, state: &'static str) {
        *self.refused.lock().unwrap() = Some((sql, state));
    }
}

struct Backend<F> {
    server: MemoryServer,
    answer: F,
    script: Script,
    prepared: BTreeMap<String, String>,
    in_transaction: bool,
    /// What follows is skipped until the next Sync.
    failed: bool,
}

impl<F: FnMut(&str) -> ScriptedAnswer + Send> Backend<F> {
    async fn run(mut self) {
        while let Some((kind, body)) = self.server.read().await {
            if self.script.forget.swap(false, Ordering::Relaxed) {
                self.prepared.clear();
            }
            let text = |at: usize| {
                let part = body.split(|byte| *byte == 0).nth(at).unwrap_or_default();
                String::from_utf8_lossy(part).into_owned()
            };
            match kind {
                b'X' => return,
                b'S' => {
                    self.failed = false;
                    self.note("|");
                    self.ready().await;
                }
                b'Q' => {
                    let sql = text(0);
                    self.note(&sql);
                    self.simple(&sql).await;
                }
                _ if self.failed => {}
                b'P' => {
                    let (name, sql) = (text(0), text(1));
                    let refused = *self.script.refused.lock().unwrap();
                    match refused.filter(|(refused, _)| sql == *refused) {
                        Some((_, state)) => {
                            self.failed = true;
                            self.server.write(&error("ERROR", state)).await;
                        }
                        None => {
                            self.prepared.insert(name, sql);
                            self.server.write(&message(b'1', b"")).await;
                        }
                    }
                }
                b'D' => {
                    let parameters = message(b't', &[0, 0]);
                    let described = [parameters, description(2)].concat();
                    self.server.write(&described).await;
                }
                b'B' => match self.prepared.get(&text(1)).cloned() {
                    Some(sql) => {
                        self.prepared.insert("portal".to_owned(), sql);
                        self.server.write(&message(b'2', b"")).await;
                    }
                    None => {
                        self.failed = true;
                        self.server.write(&error("ERROR", "26000")).await;
                    }
                },
                b'E' => {
                    let sql = self.prepared["portal"].clone();
                    self.note(&sql);
                    self.failed = !self.reply(&sql).await;
                }
                b'C' => {
                    self.prepared.remove(&text(0)[1..]);
                    self.server.write(&message(b'3', b"")).await;
                }
                other => panic!("{}: nobody sends this", char::from(other)),
            }
        }
    }

    fn note(&self, what: &str) {
        self.script.log.lock().unwrap().push(what.to_owned());
    }

    async fn ready(&mut self) {
        let state = if self.in_transaction { b"T" } else { b"I" };
        self.server.write(&message(b'Z', state)).await;
    }

    async fn simple(&mut self, sql: &str) {
        // Settings need no script; one of our own queries stands behind them where a pooler is.
        let is_setting = ["SET ", "BEGIN ", "ROLLBACK"]
            .iter()
            .any(|verb| sql.starts_with(verb));
        let last = sql.rsplit("; ").next().unwrap_or_default();
        let is_setting = is_setting
            && (last.is_empty() || last.contains("set_config") || last.contains("unlock_all"));
        if sql.starts_with("BEGIN ") {
            self.in_transaction = true;
        }
        if sql.starts_with("ROLLBACK") {
            self.in_transaction = false;
        }
        match is_setting {
            true => self.server.write(&message(b'C', b"SET\0")).await,
            false => {
                self.reply(sql).await;
            }
        }
        self.ready().await;
    }

    /// Whether it was no error.
    async fn reply(&mut self, sql: &str) -> bool {
        let rows = |all: Vec<Vec<&str>>| all.iter().flat_map(|one| row(one)).collect::<Vec<u8>>();
        let done = message(b'C', b"SELECT\0");
        let (bytes, good) = match (self.answer)(sql) {
            ScriptedAnswer::Rows(all) => ([rows(all), done].concat(), true),
            ScriptedAnswer::Error(state) => (error("ERROR", state), false),
            ScriptedAnswer::Broken(all, state) => {
                ([rows(all), error("ERROR", state)].concat(), false)
            }
            ScriptedAnswer::Fatal(state) => (error("FATAL", state), false),
            ScriptedAnswer::Bytes(bytes) => (bytes, true),
            ScriptedAnswer::Silence => {
                self.script.go_on.notified().await;
                (error("ERROR", "57014"), false)
            }
        };
        self.server.write(&bytes).await;
        good
    }
}
