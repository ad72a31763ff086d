//! A session: one connection to one database, from login to goodbye.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cancel::CancelPace;
use super::charset::Charset;
use super::connect::Connector;
use super::connection::{Connection, refused};
use super::error::{QueryError, ServerError};
use super::identity::ControlData;
use super::login::{CancelKey, LoggedIn, PATIENCE, cancel, log_in};
use super::login_guard::GuardError;
use super::pipeline::SentAhead;
use super::row::FieldRanges;
use super::server_info::{ServerInfo, SessionQueries};
use super::session_query::{RowEvent, SessionQuery};
use super::session_settings::SessionSettings;
use super::statement::{Mode, Prepared};
use super::unrequested::is_unrequested;
use crate::model::TargetErrorKind;
use crate::targets::{Target, TargetError};

/// A backend that may still run what a session left behind when its connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakedBackend(i32);

/// What a connection holds of the limits of the whole process, given back at its end.
pub type ConnectionPermits = Vec<OwnedSemaphorePermit>;

/// One connection to one database.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) connection: Connection,
    pub(super) field_ranges: FieldRanges,
    pub(super) scratch: Vec<u8>,
    pub(super) key: CancelKey,
    /// Why the connection ended, once it did.
    ended: Option<TargetError>,
    pub(super) mode: Mode,
    /// The database's encoding.
    pub(super) charset: Charset,
    /// The major version of the server, 0 when it does not tell.
    major: u32,
    /// What it is set to.
    pub(super) settings: SessionSettings,
    /// Not all queries are known to answer in time.
    pub(super) careful: bool,
    /// Settings that go out with the first queries, and whether they have to hold.
    pub(super) greeting: Vec<(String, bool)>,
    /// What the facts are made of holds text that the server cannot turn into UTF-8.
    pub(super) raw_server_info: bool,
    /// Names of what is held prepared, and who still wants it.
    pub(super) statements: Vec<(String, Weak<()>)>,
    pub(super) next_statement: u64,
    /// Begins the names of statements. Where a pooler lends one server session to several clients,
    /// another client's statement of the same name would be run instead.
    pub(super) statement_prefix: String,
    pub(super) facts: Option<ServerInfo>,
    /// System identifier and timeline; the outer `None` until they were asked for.
    pub(super) control: Option<Option<ControlData>>,
    /// Questions for the facts that were sent already.
    pub(super) ahead: Option<SentAhead>,
    pub(super) questions: Arc<SessionQueries>,
    pub(super) connector: Arc<Connector>,
    permits: ConnectionPermits,
}

impl Session {
    /// Connects. Takes as long as the server does, up to ten minutes: whoever gives up a connection
    /// that a sleeping server has yet to notice, and makes another, soon has many. `id` tells this
    /// session's prepared statements from those of others. `mode` is what is wished for; before a
    /// pooler the session takes [`Mode::Pooled`] by itself.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn open(
        connector: &Arc<Connector>,
        database: &str,
        id: u64,
        mode: Mode,
        permits: ConnectionPermits,
    ) -> Result<Self, TargetError> {
        // Nobody is shown the settings of a session to another database than the target's.
        let beside = database != connector.target.database;
        let mut limits = beside.then(|| limits_at_login(&connector.target, 0));
        let mut attempts = 0;
        loop {
            let mut session =
                Self::log_in(connector, database, id, mode, limits.as_deref()).await?;
            attempts += 1;
            match tokio::time::timeout(PATIENCE, session.introduce()).await {
                Ok(Ok(())) => {
                    session.permits = permits;
                    return Ok(session);
                }
                // The role has a time limit that is too short for a busy server, and `exit_on_error`
                // makes it the end of the session. The first session is replaced by one of the same
                // kind; the next comes with limits of ours, at the price that `pg_settings` shows
                // those instead of the role's.
                Ok(Err(QueryError::Lost(_, TargetErrorKind::NotReady)))
                    if attempts < OPEN_ATTEMPTS && session.mode == Mode::Kept =>
                {
                    if attempts + 1 == OPEN_ATTEMPTS {
                        limits = Some(limits_at_login(&connector.target, session.major));
                    }
                }
                Ok(Err(error)) => return Err(error.into_target_error()),
                Err(_) => {
                    return Err(TargetError {
                        kind: TargetErrorKind::Timeout,
                        message: format!("{}: no answer after login", connector.target.address),
                    });
                }
            }
        }
    }

    /// A session that is logged in and has no settings yet.
    async fn log_in(
        connector: &Arc<Connector>,
        database: &str,
        id: u64,
        mut mode: Mode,
        limits: Option<&str>,
    ) -> Result<Self, TargetError> {
        let target = &connector.target;
        if connector.quirks.refuses_options() {
            mode = Mode::Pooled;
        }
        let options = match (mode, limits) {
            (Mode::Pooled, _) => None,
            (Mode::Kept | Mode::Once, Some(limits)) => Some(format!("{MARK} {limits}")),
            (Mode::Kept | Mode::Once, None) => Some(MARK.to_owned()),
        };
        let login = match log_in(connector, database, options.as_deref()).await {
            Ok(login) => login,
            // Poolers and proxies pass no options on. In which words they say so, or whether they
            // only hang up, differs: so it is tried without, once.
            Err(failed) if options.is_some() && failed.may_be_for_options() => {
                mode = Mode::Pooled;
                let login = log_in(connector, database, None)
                    .await
                    .map_err(|failed| failed.trouble)?;
                connector.quirks.note_refused_options();
                login
            }
            Err(failed) => return Err(failed.trouble),
        };
        let LoggedIn {
            connection,
            key,
            charset,
            major,
        } = login;
        // Such a database holds any bytes. Asked for UTF-8 the server would refuse a row with a bad
        // one; they are escaped here instead.
        let raw = charset == Charset::Any;
        let refused = connector.quirks.refused_settings();
        let settings = SessionSettings::new(target.timeouts, raw, major, &refused);
        Ok(Self {
            id,
            connection,
            field_ranges: FieldRanges::default(),
            scratch: Vec::new(),
            key,
            ended: None,
            mode,
            settings,
            charset,
            major,
            careful: true,
            greeting: Vec::new(),
            raw_server_info: false,
            statements: Vec::new(),
            next_statement: 0,
            statement_prefix: format!("p{:08x}_", RandomState::new().hash_one(id) & 0xffff_ffff),
            facts: None,
            control: None,
            ahead: None,
            questions: Arc::default(),
            connector: Arc::clone(connector),
            permits: ConnectionPermits::new(),
        })
    }

    /// Gives the session its settings. By `SET`, not with the startup packet: `pg_settings` then
    /// still tells what the server's own are.
    async fn introduce(&mut self) -> Result<(), QueryError> {
        match self.mode {
            // The session of the target's own database has found out whether this is a pooler, and
            // what is refused.
            Mode::Once => {
                self.greeting.push((self.settings.required(), true));
                self.greeting.push((self.settings.optional(), false));
                return Ok(());
            }
            Mode::Kept => match self.persist(&self.settings.find_mark()).await {
                // Its value is looked up before the type that it has, for which a catalogue is read
                // that somebody may have locked.
                Ok(()) | Err(QueryError::LockTimeout(_)) => {
                    let required = self.settings.required();
                    self.persist(&required).await?;
                }
                // A pooler swallowed the mark, as it may be told to: what is set here would be set
                // on whatever session it lends.
                Err(lost @ (QueryError::Lost(..) | QueryError::Timeout(_))) => return Err(lost),
                Err(_) => self.mode = Mode::Pooled,
            },
            Mode::Pooled => {}
        }
        self.settle_optional().await
    }

    /// Runs what has no limit but the role's own yet, which may be too short on a busy server.
    async fn persist(&mut self, sql: &str) -> Result<(), QueryError> {
        let mut tries = 0;
        loop {
            match self.execute(sql).await {
                Err(QueryError::Timeout(_)) if tries < 10 => tries += 1,
                other => return other,
            }
        }
    }

    /// Sets what should hold, and finds out what of it the server refuses.
    async fn settle_optional(&mut self) -> Result<(), QueryError> {
        let pooled = self.mode == Mode::Pooled;
        let all = match pooled {
            true => self.settings.pooled_trial(),
            false => self.settings.optional(),
        };
        match self.persist(&all).await {
            Ok(()) => return Ok(()),
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(_) => {}
        }
        for (name, text) in self.settings.each_optional(pooled) {
            match self.persist(&text).await {
                Ok(()) => {}
                Err(lost @ QueryError::Lost(..)) => return Err(lost),
                Err(error) => {
                    tracing::info!(
                        server = %self.connector.target.name,
                        "the server refuses the setting {name}, the session goes without it: {error}"
                    );
                    self.connector.quirks.note_refused_setting(name);
                    self.settings.without(&[name]);
                }
            }
        }
        Ok(())
    }

    /// Ends what a session before this one may have left running.
    ///
    /// Returns whether it still ran, so that nobody opens one connection too many meanwhile.
    pub async fn end_leaked_backend(&mut self, orphan: LeakedBackend, deadline: Instant) -> bool {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE a.pid = {} AND a.usename = SESSION_USER AND a.application_name = 'pgexporter'",
            orphan.0
        );
        let query = Prepared::new(sql);
        let (mut found, mut answered) = (false, false);
        let mut on_event = |event: RowEvent<'_>| match event {
            RowEvent::Row(_) => found = true,
            RowEvent::Restart => {}
            RowEvent::End(result) => answered = result.is_ok(),
        };
        let mut ask = SessionQuery::new(&query, &mut on_event);
        // Whether it broke or was late, it has not answered.
        let _ = timeout_at(deadline, self.run_all(&mut [&mut ask])).await;
        found || !answered
    }

    /// Ends a login of ours that hangs in another database, as a trigger there may make it do. It is
    /// known by our own port, so that nobody else's is ended. Over a Unix socket, where `port` is 0,
    /// the server knows of none: there it is a login of our role, to another database, that has
    /// come to no first query for a while. Returns whether this session answered;
    /// if not it must be [`Self::settled`].
    pub async fn end_login(&mut self, port: u16, deadline: Instant) -> bool {
        let which = match port {
            0 => "a.client_port = -1 AND a.state IS NULL \
                  AND a.datname <> pg_catalog.current_database() \
                  AND a.backend_start < pg_catalog.clock_timestamp() - interval '1 second'"
                .to_owned(),
            port => format!("a.client_port = {port}"),
        };
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE {which} AND a.usename = CURRENT_USER \
             AND a.application_name = 'pgexporter' AND a.pid <> pg_catalog.pg_backend_pid()"
        );
        let query = Prepared::new(sql);
        let mut on_event = |_: RowEvent<'_>| {};
        let mut ask = SessionQuery::new(&query, &mut on_event);
        let asked = timeout_at(deadline, self.run_all(&mut [&mut ask])).await;
        asked.is_ok()
    }

    /// Tells it from the sessions before and beside it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address at the other end; `None` for a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.key.address()
    }

    /// The backend that serves it, to be ended when it is left behind.
    #[must_use]
    pub fn backend(&self) -> Option<LeakedBackend> {
        self.facts.as_ref().map(|facts| LeakedBackend(facts.pid))
    }

    /// What the server last said of itself.
    #[must_use]
    pub fn facts(&self) -> Option<&ServerInfo> {
        self.facts.as_ref()
    }

    /// The same queries all answered in time before: they may go together at once.
    pub fn trust(&mut self) {
        self.careful = false;
    }

    /// How queries are sent.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Why the connection ended; `None` while it lives, as far as is known.
    #[must_use]
    pub fn trouble(&self) -> Option<&TargetError> {
        self.ended.as_ref()
    }

    /// Looks whether the server has closed the connection meanwhile.
    pub fn is_alive(&mut self) -> bool {
        self.ended().now_or_never().is_none()
    }

    pub(super) fn end_with(&mut self, trouble: TargetError) {
        self.ended.get_or_insert(trouble);
    }

    /// Completes when the connection has ended. For a session that is asked nothing.
    pub async fn ended(&mut self) {
        while self.ended.is_none() {
            let next = self.connection.next().await.map(|message| {
                let fatal = (message.kind == b'E').then(|| ServerError::read(message.whole));
                (message.kind, fatal)
            });
            let error = match next {
                Ok((_, Some(error))) => match error.of_query() {
                    lost @ QueryError::Lost(..) => lost,
                    // Only a fatal error comes unasked.
                    _ => continue,
                },
                // A notice, or a setting that has changed.
                Ok((kind, None)) if is_unrequested(kind) || self.connection.owed() > 0 => continue,
                Ok(_) => QueryError::lost(&refused(GuardError::AnswerToNothing)),
                Err(error) => QueryError::lost(&error),
            };
            self.ended = Some(error.into_target_error());
        }
    }

    /// After a run that did not end: cancels what still runs, and waits until the server has
    /// answered all that it was sent.
    ///
    /// # Errors
    /// The backend that was left behind, when that takes longer than `limit`: the session's state
    /// is then unsure, and it is closed.
    pub async fn settled(
        mut self,
        limit: Duration,
    ) -> Result<Self, (Option<LeakedBackend>, TargetError)> {
        match tokio::time::timeout(limit, self.cancel_and_drain()).await {
            Ok(Ok(())) => Ok(self),
            Ok(Err(error)) => Err((None, error.into_target_error())),
            Err(_) => {
                let trouble = TargetError {
                    kind: TargetErrorKind::Timeout,
                    message: format!(
                        "{}: no answer for {limit:?} after a scrape; the session was given up",
                        self.connector.target.address
                    ),
                };
                Err((
                    self.facts.as_ref().map(|facts| LeakedBackend(facts.pid)),
                    trouble,
                ))
            }
        }
    }

    async fn cancel_and_drain(&mut self) -> Result<(), QueryError> {
        // It may have been cut off between a setting of one query and its way back.
        let back = match self.mode {
            Mode::Pooled => String::new(),
            Mode::Kept | Mode::Once => self.settings.usual() + &self.settings.encoding(false),
        };
        let mut pace = CancelPace::new(Instant::now());
        while self.connection.owed() > 0 {
            let owed = self.connection.owed();
            let due = async {
                match pace.next() {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = self.connection.next() => {
                    let message = answer.map_err(|error| QueryError::lost(&error))?;
                    if message.kind == b'E'
                        && let lost @ QueryError::Lost(..) =
                            ServerError::read(message.whole).of_query()
                    {
                        self.end_with(lost.clone().into_target_error());
                        return Err(lost);
                    }
                    if self.connection.owed() < owed {
                        pace.record_answer(Instant::now());
                    }
                }
                () = due => {
                    // A cancel ends one batch, and others may stand in line behind it. The server
                    // has taken it to heart when this returns, so none comes late and hits a later
                    // scrape.
                    cancel(&self.connector, &self.key).await;
                    pace.record_sent(Instant::now());
                }
            }
        }
        // The last cancel may hit this one. Where it hit the end of a transaction, that is still open.
        let mut done = Ok(());
        for _ in 0..3 {
            let end = if self.connection.in_transaction() {
                "ROLLBACK; "
            } else {
                ""
            };
            done = self.execute(&format!("{end}{back}")).await;
            match done {
                Ok(()) if self.connection.in_transaction() => {}
                Ok(()) | Err(QueryError::Lost(..)) => break,
                Err(_) => {}
            }
        }
        done
    }

    /// Says Terminate and waits until the server has closed the connection, no longer than
    /// `limit`.
    ///
    /// # Errors
    /// What still waits, when it takes longer: the server may still count the connection.
    pub async fn close(self, limit: Duration) -> Result<(), JoinHandle<()>> {
        let Self {
            connection,
            permits,
            ..
        } = self;
        let mut terminate = Box::pin(async move {
            connection.terminate().await;
            drop(permits);
        });
        match tokio::time::timeout(limit, &mut terminate).await {
            Ok(()) => Ok(()),
            Err(_) => Err(tokio::spawn(terminate)),
        }
    }
}

/// How often a session is opened before its end is taken for the server's refusal.
const OPEN_ATTEMPTS: u32 = 3;

/// A setting of no effect. Who does not find it again is not alone on its session.
const MARK: &str = "-c pgexporter.session=own";

/// A locked catalogue keeps a login waiting, and nothing but a lock timeout ends that: a server does
/// not look whether its client has gone meanwhile. It is set anew after the login. The role's own
/// `statement_timeout` may be too short even for that, and its `exit_on_error` make that the end of
/// the session: what comes with the login goes before what the role is given. `major` is the
/// server's version, 0 where it is not known: a server refuses a login with a setting that it has not.
fn limits_at_login(target: &Target, major: u32) -> String {
    const LONGEST: Duration = Duration::from_millis(500);
    let lock = target.timeouts.lock.min(LONGEST).as_millis().max(1);
    let query = target.timeouts.query.as_millis();
    let mut limits =
        format!("-c lock_timeout={lock} -c statement_timeout={query} -c exit_on_error=off");
    for (since, name) in [(14, "idle_session_timeout"), (17, "transaction_timeout")] {
        if major >= since {
            limits.push_str(&format!(" -c {name}=0"));
        }
    }
    limits
}
