//! A session: one connection to one database, and what it is asked at a collection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all, join3, join4};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connect::{Connector, PATIENCE, cancel, connect};
use super::error::{QueryError, of_session};
use super::query::{Outcome, Shared, Slot};
pub use super::rows::Mode;
use super::rows::{Fields, Prepared, Way};
use super::settings::{self, SettingsSamples};
use super::value::{self, Encoding, Number};
use crate::model::{OLDEST_MAJOR, Reason, Role, ServerVersion};
use crate::targets::{Target, Trouble};

/// What a server says of itself at each collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its version.
    pub version: ServerVersion,
    /// Its role.
    pub role: Role,
    /// Seconds since it was started.
    pub uptime: f64,
    /// The process that serves this session.
    pub pid: i32,
    /// Installed in the session's database: name, version, comment.
    pub extensions: Vec<(String, String, String)>,
    /// The others that the role may connect to; `None` when not asked for, or not told.
    pub databases: Option<Vec<String>>,
}

/// What is asked beside the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// [`Facts`]; true with the list of databases.
    pub facts: Option<bool>,
    /// The settings.
    pub settings: bool,
}

/// What came back beside the slots.
#[derive(Debug, Default)]
pub struct Answer {
    /// Everything answered. If not, the session must be [`Session::settled`].
    pub complete: bool,
    /// `None`: not asked, or no answer in time.
    pub facts: Option<Result<Facts, QueryError>>,
    /// `None`: not asked, or no answer in time.
    pub settings: Option<Result<SettingsSamples, QueryError>>,
}

/// A backend that may still run what a session left behind when its connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan(i32);

/// What a connection holds of the limits of the whole process, given back at its end.
pub type Permits = Vec<OwnedSemaphorePermit>;

/// One connection to one database.
#[derive(Debug)]
pub struct Session {
    id: u64,
    client: Client,
    connection: JoinHandle<()>,
    /// Why the connection ended, once it did.
    ended: Arc<Mutex<Option<Trouble>>>,
    mode: Mode,
    /// What a pooled query begins with: for ours, and for the user's own.
    pooled: [String; 2],
    facts: Option<Facts>,
    probe: Prepared,
    extensions: Prepared,
    databases: Prepared,
    settings: Prepared,
    connector: Arc<Connector>,
    _permits: Permits,
}

// The postmaster's start, not the session's: a pooler's session may be older than the server's.
const PROBE: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())\
::pg_catalog.float8, \
pg_catalog.pg_backend_pid()";

const EXTENSIONS: &str = "\
SELECT e.extname, e.extversion, pg_catalog.obj_description(e.oid, 'pg_extension') \
FROM pg_catalog.pg_extension AS e ORDER BY e.extname";

const DATABASES: &str = "\
SELECT d.datname FROM pg_catalog.pg_database AS d \
WHERE d.datallowconn AND NOT d.datistemplate AND d.datname <> pg_catalog.current_database() \
AND pg_catalog.has_database_privilege(d.oid, 'CONNECT') ORDER BY d.datname";

impl Session {
    /// Connects. Takes as long as the server does, up to [`PATIENCE`]: whoever gives up a
    /// connection that a sleeping server has yet to notice, and makes another, soon has many. `id`
    /// tells this session's prepared statements from those of others. `mode` is what
    /// is wished for; before a pooler the session takes [`Mode::Pooled`] by itself.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn open(
        connector: &Arc<Connector>,
        database: &str,
        id: u64,
        mode: Mode,
        permits: Permits,
    ) -> Result<Self, Trouble> {
        let mut mode = mode;
        let target = &connector.target;
        let options = (mode != Mode::Pooled).then(|| options(target));
        let (client, connection) = match connect(connector, database, options.as_deref()).await {
            Ok(connected) => connected,
            // PgBouncer passes no options on, and says so in these words.
            Err(trouble) if trouble.message.contains("unsupported startup parameter") => {
                mode = Mode::Pooled;
                connect(connector, database, None).await?
            }
            Err(trouble) => return Err(trouble),
        };
        let ascii = connection.parameter("server_encoding") == Some("SQL_ASCII");
        let ended = Arc::new(Mutex::new(None));
        let report = Arc::clone(&ended);
        let connection = tokio::spawn(async move {
            let trouble = match connection.await {
                Ok(()) => Trouble {
                    reason: Reason::ConnectionLost,
                    message: "the server closed the connection".to_owned(),
                },
                Err(error) => of_session(&error),
            };
            *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        });
        let mut session = Self {
            id,
            pooled: pooled_settings(target, ascii),
            client,
            connection,
            ended,
            mode,
            facts: None,
            probe: Prepared::new(PROBE),
            extensions: Prepared::new(EXTENSIONS),
            databases: Prepared::new(DATABASES),
            settings: Prepared::new(settings::SQL),
            connector: Arc::clone(connector),
            _permits: permits,
        };
        match tokio::time::timeout(PATIENCE, session.introduce(ascii)).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(of_session(&error)),
            Err(_) => Err(Trouble {
                reason: Reason::Timeout,
                message: format!("{}: no answer after login", target.address),
            }),
        }
    }

    async fn introduce(&mut self, ascii: bool) -> Result<(), tokio_postgres::Error> {
        if self.mode == Mode::Kept {
            // A pooler may have been told to swallow the options that it does not pass on.
            let rows = self
                .client
                .simple_query("SHOW default_transaction_read_only")
                .await?;
            let held = rows.iter().any(|message| {
                matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"))
            });
            if !held {
                self.mode = Mode::Pooled;
            }
        }
        if ascii && self.mode != Mode::Pooled {
            // Such a database holds any bytes. Asked for UTF-8 the server would refuse a row with
            // a bad one; the encoder mends them instead.
            self.client
                .batch_execute("SET client_encoding TO 'SQL_ASCII'")
                .await?;
        }
        Ok(())
    }

    /// Ends what a session before this one may have left running.
    ///
    /// Returns whether it still ran, so that nobody opens one connection too many meanwhile.
    pub async fn end_orphan(&self, orphan: Orphan, deadline: Instant) -> bool {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE a.pid = {} AND a.usename = CURRENT_USER AND a.application_name = 'pgexporter'",
            orphan.0
        );
        let query = Prepared::new(sql);
        let mut found = false;
        let mut each = |_: Fields<'_>| {
            found = true;
            Ok(())
        };
        let fetch = query.fetch(&self.client, self.id, self.way(true), &mut each);
        let answered = timeout_at(deadline, fetch)
            .await
            .is_ok_and(|result| result.is_ok());
        found || !answered
    }

    /// What the server last said of itself.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// How queries are sent.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Why the connection ended; `None` while it lives.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Completes when the connection has ended.
    pub async fn ended(&mut self) {
        if !self.connection.is_finished() {
            // A task that panicked has ended as well.
            let _ = (&mut self.connection).await;
        }
    }

    /// Asks the server for its version, role, extensions, and for the other databases if wanted.
    ///
    /// # Errors
    /// The session's trouble, or the server's word.
    pub async fn ask_facts(
        &mut self,
        databases: bool,
        deadline: Instant,
    ) -> Result<&Facts, Trouble> {
        if self.mode == Mode::Kept && !self.probe.is_held_by(self.id) {
            let (client, id) = (&self.client, self.id);
            let prepare = join_all(
                [
                    &mut self.probe,
                    &mut self.extensions,
                    &mut self.databases,
                    &mut self.settings,
                ]
                .map(|prepared| prepared.prepare(client, id)),
            );
            let results = timeout_at(deadline, prepare)
                .await
                .map_err(|_| no_answer())?;
            for result in results {
                result.map_err(|error| self.trouble_of(error))?;
            }
        }
        let found = timeout_at(deadline, self.fetch_facts(databases))
            .await
            .map_err(|_| no_answer())?
            .map_err(|error| self.trouble_of(error))?;
        if found.version.major() < OLDEST_MAJOR {
            return Err(Trouble {
                reason: Reason::UnsupportedVersion,
                message: format!(
                    "{}: PostgreSQL {} is older than {OLDEST_MAJOR}, the oldest that is scraped; \
                     upgrade the server",
                    self.connector.target.address, found.version
                ),
            });
        }
        Ok(self.facts.insert(found))
    }

    async fn fetch_facts(&self, databases: bool) -> Result<Facts, QueryError> {
        let mut facts = Facts {
            version: ServerVersion(0),
            role: Role::Primary,
            uptime: 0.0,
            pid: 0,
            extensions: Vec::new(),
            databases: None,
        };
        let Facts {
            version,
            role,
            uptime,
            pid,
            ..
        } = &mut facts;
        let mut probe = |fields: Fields<'_>| {
            let integer = |at| match field(fields, at) {
                Number::Integer(value) => value,
                Number::Digits(text) => std::str::from_utf8(text)
                    .ok()
                    .and_then(|t| t.parse().ok())
                    .unwrap_or(0),
                Number::Float(_) => 0,
            };
            *role = if integer(0) == 0 {
                Role::Primary
            } else {
                Role::Replica
            };
            *version = ServerVersion(u32::try_from(integer(1)).unwrap_or(0));
            *uptime = match field(fields, 2) {
                Number::Float(value) => value,
                _ => fields.text(2).parse().unwrap_or(0.0),
            };
            *pid = i32::try_from(integer(3)).unwrap_or(0);
            Ok(())
        };
        let mut extensions = Vec::new();
        let mut extension = |fields: Fields<'_>| {
            extensions.push((fields.text(0), fields.text(1), fields.text(2)));
            Ok(())
        };
        let mut names = Vec::new();
        let mut name = |fields: Fields<'_>| {
            names.push(fields.text(0));
            Ok(())
        };
        let way = self.way(true);
        let others = async {
            if databases {
                self.databases
                    .fetch(&self.client, self.id, way, &mut name)
                    .await
            } else {
                Ok(())
            }
        };
        let own = join(
            self.probe.fetch(&self.client, self.id, way, &mut probe),
            self.extensions
                .fetch(&self.client, self.id, way, &mut extension),
        );
        let ((probed, listed), named) = join(own, others).await;
        probed?;
        // Somebody may hold a lock on one of the catalogues; the rest is none the worse for it.
        facts.extensions = match listed {
            Ok(()) => extensions,
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(_) => self
                .facts
                .as_ref()
                .map_or_else(Vec::new, |before| before.extensions.clone()),
        };
        facts.databases = match named {
            Ok(()) => databases.then_some(names),
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(_) => None,
        };
        Ok(facts)
    }

    /// Prepares what is not prepared yet. A query that cannot be is marked and left out.
    pub async fn prepare(&mut self, slots: &mut [Slot], deadline: Instant) -> Result<(), Trouble> {
        if self.mode != Mode::Kept {
            return Ok(());
        }
        for own in [true, false] {
            let missing = |slot: &&mut Slot| {
                slot.chosen.metric.builtin == own
                    && !slot.is_denied()
                    && !slot.prepared.is_held_by(self.id)
            };
            let mut slots: Vec<&mut Slot> = slots.iter_mut().filter(missing).collect();
            if slots.is_empty() {
                continue;
            }
            let (client, id) = (&self.client, self.id);
            let prepare = async {
                // The path at the time of preparing is the statement's for good.
                if !own {
                    client
                        .batch_execute(USERS_PATH)
                        .await
                        .map_err(|e| QueryError::of(&e))?;
                }
                let results = join_all(
                    slots
                        .iter_mut()
                        .map(|slot| slot.prepared.prepare(client, id)),
                )
                .await;
                if !own {
                    client
                        .batch_execute("RESET search_path")
                        .await
                        .map_err(|e| QueryError::of(&e))?;
                }
                Ok(results)
            };
            let results = timeout_at(deadline, prepare)
                .await
                .map_err(|_| no_answer())?
                .map_err(|error| self.trouble_of(error))?;
            for (slot, result) in slots.into_iter().zip(results) {
                match result {
                    Err(QueryError::Lost(message, reason)) => {
                        return Err(Trouble { reason, message });
                    }
                    Err(error) => slot.fail(error),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }

    /// Sends all of `slots` at once, with the questions for [`Facts`] and for the settings before
    /// them, and waits no longer than until `late` completes. What did not answer is left in
    /// [`Outcome::Running`].
    pub async fn run(
        &mut self,
        slots: &mut [&mut Slot],
        ask: Ask,
        shared: Shared<'_>,
        late: impl Future<Output = ()>,
    ) -> Answer {
        for slot in slots.iter_mut() {
            slot.outcome = Outcome::Running;
        }
        let mut answer = Answer::default();
        let Answer {
            facts, settings, ..
        } = &mut answer;
        let this = &*self;
        let (plain, mut special): (Vec<&mut Slot>, Vec<&mut Slot>) = slots
            .iter_mut()
            .map(|slot| &mut **slot)
            .partition(|slot| this.is_plain(slot) && !slot.slow);
        // What held up the others once waits for them from then on.
        special.sort_by_key(|slot| slot.slow);
        let everything = async {
            let ask_facts = async {
                if let Some(databases) = ask.facts {
                    *facts = Some(this.fetch_facts(databases).await);
                }
            };
            let ask_settings = async {
                if ask.settings {
                    let way = this.way(true);
                    let fetch = SettingsSamples::fetch(
                        &this.settings,
                        &this.client,
                        this.id,
                        way,
                        shared.labels,
                    );
                    *settings = Some(fetch.await);
                }
            };
            let (ours, users): (Vec<&mut Slot>, Vec<&mut Slot>) = plain
                .into_iter()
                .partition(|slot| slot.chosen.metric.builtin);
            let ours = join_all(
                ours.into_iter()
                    .map(|slot| slot.run(&this.client, this.id, this.way(true), shared)),
            );
            // A statement is parsed again under the path at the time it runs (PostgreSQL,
            // "PREPARE"). These are sent in the order in which they are polled first.
            let direct = this.mode != Mode::Pooled && !users.is_empty();
            let path = async |sql| {
                if direct {
                    // If this fails the session is lost, and the next query finds out.
                    drop(this.client.batch_execute(sql).await);
                }
            };
            let users = async {
                let all = join_all(
                    users
                        .into_iter()
                        .map(|slot| slot.run(&this.client, this.id, this.way(false), shared)),
                );
                join3(path(USERS_PATH), all, path("RESET search_path")).await;
            };
            join4(ask_facts, ask_settings, ours, users).await;
            for slot in &mut special {
                this.run_special(slot, shared).await;
            }
        };
        answer.complete = tokio::select! {
            biased;
            () = everything => true,
            () = late => false,
        };
        if !answer.complete {
            let was_sent = |slot: &&mut &mut Slot| matches!(slot.outcome, Outcome::Running);
            let order = |slot: &&mut &mut Slot| {
                let plain = self.is_plain(slot) && !slot.slow;
                (!plain, slot.slow, !slot.chosen.metric.builtin)
            };
            // The server works on them in the order in which they were sent.
            if let Some(slot) = slots.iter_mut().filter(was_sent).min_by_key(order) {
                slot.slow = true;
            }
        }
        if let Some(Ok(facts)) = &answer.facts {
            self.facts = Some(facts.clone());
        }
        answer
    }

    /// Whether a slot needs no settings of its own, so that it can go with all others.
    fn is_plain(&self, slot: &Slot) -> bool {
        let metric = &slot.chosen.metric;
        metric.timeout.is_none() && (metric.builtin || self.mode != Mode::Once)
    }

    async fn run_special(&self, slot: &mut Slot, shared: Shared<'_>) {
        let metric = &slot.chosen.metric;
        let limit = metric
            .timeout
            .unwrap_or(self.connector.target.timeouts.query);
        let way = self.way(metric.builtin);
        let before = format!(
            "SET statement_timeout = {}; SET search_path = pg_catalog{}",
            limit.as_millis(),
            if metric.builtin { "" } else { ", public" }
        );
        let direct = matches!(way, Way::Direct);
        if direct && let Err(error) = self.client.batch_execute(&before).await {
            slot.fail(QueryError::of(&error));
            return;
        }
        slot.run(&self.client, self.id, way, shared).await;
        if direct {
            // If this fails the session is lost, and the next query finds out.
            let after = "RESET statement_timeout; RESET search_path";
            let _ = self.client.batch_execute(after).await;
        }
    }

    /// After a run that did not end: cancels what still runs, and waits until the server has
    /// answered all that it was sent.
    ///
    /// # Errors
    /// The backend that was left behind, when that takes longer than `limit`: the session's state
    /// is then unsure, and it is closed.
    pub async fn settled(self, limit: Duration) -> Result<Self, (Option<Orphan>, Trouble)> {
        match tokio::time::timeout(limit, self.settle()).await {
            Ok(Ok(())) => Ok(self),
            Ok(Err(error)) => Err((None, of_session(&error))),
            Err(_) => {
                let trouble = Trouble {
                    reason: Reason::Timeout,
                    message: format!(
                        "{}: no answer for {limit:?} after a scrape; the session was given up",
                        self.connector.target.address
                    ),
                };
                Err((self.facts.as_ref().map(|facts| Orphan(facts.pid)), trouble))
            }
        }
    }

    async fn settle(&self) -> Result<(), tokio_postgres::Error> {
        // A run may have been cut off between these settings and their end.
        let reset = match self.mode {
            Mode::Pooled => "",
            Mode::Kept | Mode::Once => "RESET statement_timeout; RESET search_path",
        };
        let mut pause = Duration::from_millis(20);
        loop {
            // A cancel ends one statement, and many may stand in line behind it. The server has
            // taken it to heart when this returns, so none comes late and hits a later scrape.
            cancel(&self.connector, &self.client).await;
            match tokio::time::timeout(pause, self.client.simple_query(reset)).await {
                Ok(Ok(_)) => return Ok(()),
                // The cancel hit this one.
                Ok(Err(error)) if error.as_db_error().is_some() && !self.client.is_closed() => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => pause = (pause * 5 / 4).min(Duration::from_secs(2)),
            }
        }
    }

    /// Says Terminate and waits until the server has closed the connection, no longer than
    /// `limit`.
    ///
    /// # Errors
    /// What still waits, when it takes longer: the server may still count the connection.
    pub async fn close(self, limit: Duration) -> Result<(), JoinHandle<()>> {
        let Self {
            client,
            mut connection,
            ..
        } = self;
        drop(client);
        match tokio::time::timeout(limit, &mut connection).await {
            Ok(_) => Ok(()),
            Err(_) => Err(connection),
        }
    }

    fn way(&self, builtin: bool) -> Way<'_> {
        match self.mode {
            Mode::Pooled => Way::Pooled(&self.pooled[usize::from(!builtin)]),
            Mode::Kept | Mode::Once => Way::Direct,
        }
    }

    fn trouble_of(&self, error: QueryError) -> Trouble {
        match error {
            QueryError::Lost(message, reason) => Trouble { reason, message },
            QueryError::Timeout(message) => Trouble {
                reason: Reason::Timeout,
                message,
            },
            other => Trouble {
                reason: Reason::ServerError,
                message: other.to_string(),
            },
        }
    }
}

fn no_answer() -> Trouble {
    Trouble {
        reason: Reason::Timeout,
        message: "no answer before the scrape's deadline".to_owned(),
    }
}

fn field(fields: Fields<'_>, at: usize) -> Number<'_> {
    fields
        .get(at)
        .map_or(Number::Integer(0), |raw| match fields.encoding(at) {
            Encoding::Text => value::number(Encoding::Text, raw),
            other => value::number(other, raw),
        })
}

/// Users write `SELECT … FROM my_table`; ours name every schema and need no path but the one that
/// nobody else can write to.
const USERS_PATH: &str = "SET search_path = pg_catalog, public";

/// Settings of a session, given with the startup packet so that they cost no round trip.
fn options(target: &Target) -> String {
    format!(
        "-c default_transaction_read_only=on -c statement_timeout={} -c lock_timeout={} \
         -c search_path=pg_catalog -c jit=off -c max_parallel_workers_per_gather=0",
        target.timeouts.query.as_millis(),
        target.timeouts.lock.as_millis()
    )
}

fn pooled_settings(target: &Target, ascii: bool) -> [String; 2] {
    ["pg_catalog", "pg_catalog, public"].map(|path| {
        format!(
            "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {}; \
             SET LOCAL lock_timeout = {}; SET LOCAL search_path = {path}; SET LOCAL jit = off; {}",
            target.timeouts.query.as_millis(),
            target.timeouts.lock.as_millis(),
            if ascii {
                "SET LOCAL client_encoding = 'SQL_ASCII'; "
            } else {
                ""
            },
        )
    })
}
