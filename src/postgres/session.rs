//! A session: one connection to one database, from login to goodbye.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::charset::Charset;
use super::connect::Connector;
use super::error::{QueryError, ServerError};
use super::exchange::Ahead;
use super::facts::{Facts, Questions};
use super::login::{CancelKey, Login, PATIENCE, cancel, log_in};
use super::pipe::Pipe;
use super::question::{Question, Word};
use super::row::Places;
use super::session_settings::SessionSettings;
use super::statement::{Mode, Prepared};
use crate::model::Reason;
use crate::targets::Trouble;

/// A backend that may still run what a session left behind when its connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan(i32);

/// What a connection holds of the limits of the whole process, given back at its end.
pub type Permits = Vec<OwnedSemaphorePermit>;

/// One connection to one database.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) pipe: Pipe,
    pub(super) places: Places,
    pub(super) scratch: Vec<u8>,
    key: CancelKey,
    /// Why the connection ended, once it did.
    ended: Option<Trouble>,
    pub(super) mode: Mode,
    /// The database's encoding.
    pub(super) charset: Charset,
    /// What it is set to.
    pub(super) settings: SessionSettings,
    /// Not all queries are known to answer in time.
    pub(super) careful: bool,
    /// Settings that go out with the first queries, and whether they have to hold.
    pub(super) greeting: Vec<(String, bool)>,
    /// What the facts are made of holds text that the server cannot turn into UTF-8.
    pub(super) raw_facts: bool,
    /// Names of what is held prepared, and who still wants it.
    pub(super) statements: Vec<(String, Weak<()>)>,
    pub(super) next_statement: u64,
    pub(super) facts: Option<Facts>,
    /// Questions for the facts that were sent already.
    pub(super) ahead: Option<Ahead>,
    pub(super) questions: Arc<Questions>,
    pub(super) connector: Arc<Connector>,
    permits: Permits,
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
        permits: Permits,
    ) -> Result<Self, Trouble> {
        let mut mode = mode;
        let target = &connector.target;
        let mark = (mode != Mode::Pooled && !connector.quirks.refuses_options()).then_some(MARK);
        if mark.is_none() {
            mode = Mode::Pooled;
        }
        let login = match log_in(connector, database, mark).await {
            Ok(login) => login,
            // Poolers and proxies pass no options on. In which words they say so, or whether they
            // only hang up, differs: so it is tried without, once.
            Err(failed) if mark.is_some() && failed.may_be_for_options() => {
                mode = Mode::Pooled;
                let login = log_in(connector, database, None)
                    .await
                    .map_err(|failed| failed.trouble)?;
                connector.quirks.note_refused_options();
                login
            }
            Err(failed) => return Err(failed.trouble),
        };
        let Login {
            pipe,
            key,
            charset,
            major,
        } = login;
        // Such a database holds any bytes. Asked for UTF-8 the server would refuse a row with a bad
        // one; they are escaped here instead.
        let raw = charset == Charset::Any;
        let refused = connector.quirks.refused_settings();
        let settings = SessionSettings::new(target.timeouts, raw, major, &refused);
        let mut session = Self {
            id,
            pipe,
            places: Places::default(),
            scratch: Vec::new(),
            key,
            ended: None,
            mode,
            settings,
            charset,
            careful: true,
            greeting: Vec::new(),
            raw_facts: false,
            statements: Vec::new(),
            next_statement: 0,
            facts: None,
            ahead: None,
            questions: Arc::default(),
            connector: Arc::clone(connector),
            permits,
        };
        match tokio::time::timeout(PATIENCE, session.introduce()).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(error.into_trouble()),
            Err(_) => Err(Trouble {
                reason: Reason::Timeout,
                message: format!("{}: no answer after login", target.address),
            }),
        }
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
            Mode::Kept => match self.persist("SHOW pgexporter.session").await {
                Ok(()) => {
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
    pub async fn end_orphan(&mut self, orphan: Orphan, deadline: Instant) -> bool {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
             WHERE a.pid = {} AND a.usename = SESSION_USER AND a.application_name = 'pgexporter'",
            orphan.0
        );
        let query = Prepared::new(sql);
        let (mut found, mut answered) = (false, false);
        let mut hear = |word: Word<'_>| match word {
            Word::Row(_) => found = true,
            Word::Restart => {}
            Word::End(result) => answered = result.is_ok(),
        };
        let mut ask = Question::new(&query, &mut hear);
        // Whether it broke or was late, it has not answered.
        let _ = timeout_at(deadline, self.run_all(&mut [&mut ask])).await;
        found || !answered
    }

    /// Tells it from the sessions before and beside it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What the server last said of itself.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
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
    pub fn trouble(&self) -> Option<&Trouble> {
        self.ended.as_ref()
    }

    /// Looks whether the server has closed the connection meanwhile.
    pub fn is_alive(&mut self) -> bool {
        self.ended().now_or_never().is_none()
    }

    pub(super) fn end_with(&mut self, trouble: Trouble) {
        self.ended.get_or_insert(trouble);
    }

    /// Completes when the connection has ended. For a session that is asked nothing.
    pub async fn ended(&mut self) {
        while self.ended.is_none() {
            let trouble = match self.pipe.next().await {
                Ok(message) if message.kind == b'E' => {
                    match ServerError::read(message.whole).of_query() {
                        lost @ QueryError::Lost(..) => lost,
                        // Only a fatal error comes unasked.
                        _ => continue,
                    }
                }
                // A notice, or a setting that has changed.
                Ok(_) => continue,
                Err(error) => QueryError::lost(&error),
            };
            self.ended = Some(trouble.into_trouble());
        }
    }

    /// After a run that did not end: cancels what still runs, and waits until the server has
    /// answered all that it was sent.
    ///
    /// # Errors
    /// The backend that was left behind, when that takes longer than `limit`: the session's state
    /// is then unsure, and it is closed.
    pub async fn settled(mut self, limit: Duration) -> Result<Self, (Option<Orphan>, Trouble)> {
        match tokio::time::timeout(limit, self.settle()).await {
            Ok(Ok(())) => Ok(self),
            Ok(Err(error)) => Err((None, error.into_trouble())),
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

    async fn settle(&mut self) -> Result<(), QueryError> {
        // It may have been cut off between a setting of one query and its way back.
        let back = match self.mode {
            Mode::Pooled => String::new(),
            Mode::Kept | Mode::Once => self.settings.usual() + &self.settings.encoding(false),
        };
        let mut pause = Duration::from_millis(20);
        loop {
            // A cancel ends one batch, and others may stand in line behind it. The server has
            // taken it to heart when this returns, so none comes late and hits a later scrape.
            if self.pipe.owed() > 0 {
                cancel(&self.connector, &self.key).await;
            }
            // Where the cancel hit the end of a transaction, that is still open.
            let end = if self.pipe.owed() == 0 && self.pipe.in_transaction() {
                "ROLLBACK; "
            } else {
                ""
            };
            let back = format!("{end}{back}");
            match tokio::time::timeout(pause, self.execute(&back)).await {
                Ok(Ok(())) if !self.pipe.in_transaction() => return Ok(()),
                Ok(Ok(())) => {}
                Ok(Err(lost @ QueryError::Lost(..))) => return Err(lost),
                // The cancel hit this one.
                Ok(Err(_)) => {}
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
        let Self { pipe, permits, .. } = self;
        let mut goodbye = Box::pin(async move {
            pipe.goodbye().await;
            drop(permits);
        });
        match tokio::time::timeout(limit, &mut goodbye).await {
            Ok(()) => Ok(()),
            Err(_) => Err(tokio::spawn(goodbye)),
        }
    }
}

/// A setting of no effect. Who does not find it again is not alone on its session.
const MARK: &str = "-c pgexporter.session=own";
