//! A session: one connection to one database, from login to goodbye.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Connector, PATIENCE, cancel, connect};
use super::error::of_session;
use super::facts::{Facts, Questions};
use super::rows::{Fields, Mode, Prepared, Way};
use crate::model::Reason;
use crate::targets::{Target, Trouble};

/// A backend that may still run what a session left behind when its connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan(i32);

/// What a connection holds of the limits of the whole process, given back at its end.
pub type Permits = Vec<OwnedSemaphorePermit>;

/// One connection to one database.
#[derive(Debug)]
pub struct Session {
    pub(super) id: u64,
    pub(super) client: Client,
    connection: JoinHandle<()>,
    /// Why the connection ended, once it did.
    ended: Arc<Mutex<Option<Trouble>>>,
    pub(super) mode: Mode,
    /// What a pooled query begins with: for ours, and for the user's own.
    pooled: [String; 2],
    pub(super) facts: Option<Facts>,
    pub(super) questions: Questions,
    pub(super) connector: Arc<Connector>,
    _permits: Permits,
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
        let mark = (mode != Mode::Pooled).then_some(MARK);
        let (client, connection) = match connect(connector, database, mark).await {
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
            questions: Questions::default(),
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

    /// Gives the session its settings. By `SET`, not with the startup packet: `pg_settings` then
    /// still tells what the server's own are.
    async fn introduce(&mut self, ascii: bool) -> Result<(), tokio_postgres::Error> {
        if self.mode == Mode::Pooled {
            return Ok(());
        }
        let timeouts = self.connector.target.timeouts;
        let settings = format!(
            "SHOW pgexporter.session; SET default_transaction_read_only = on; \
             SET lock_timeout = {}; SET jit = off; SET max_parallel_workers_per_gather = 0; \
             {}{}",
            timeouts.lock.as_millis(),
            self.usual(),
            // Such a database holds any bytes. Asked for UTF-8 the server would refuse a row with
            // a bad one; the encoder mends them instead.
            if ascii {
                "; SET client_encoding = 'SQL_ASCII'"
            } else {
                ""
            },
        );
        match self.client.batch_execute(&settings).await {
            // A pooler swallowed the mark, as it may be told to: what is set here would be set on
            // whatever session it lends.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => {
                self.mode = Mode::Pooled;
                Ok(())
            }
            result => result,
        }
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
        // It may have been cut off between a setting of one query and its way back.
        let back = match self.mode {
            Mode::Pooled => String::new(),
            Mode::Kept | Mode::Once => self.usual(),
        };
        let mut pause = Duration::from_millis(20);
        loop {
            // A cancel ends one statement, and many may stand in line behind it. The server has
            // taken it to heart when this returns, so none comes late and hits a later scrape.
            cancel(&self.connector, &self.client).await;
            match tokio::time::timeout(pause, self.client.simple_query(&back)).await {
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

    /// What one query may have changed, as all others want it.
    pub(super) fn usual(&self) -> String {
        let limit = self.connector.target.timeouts.query;
        format!(
            "SET statement_timeout = {}; SET search_path = pg_catalog",
            limit.as_millis()
        )
    }

    pub(super) fn way(&self, builtin: bool) -> Way<'_> {
        match self.mode {
            Mode::Pooled => Way::Pooled(&self.pooled[usize::from(!builtin)]),
            Mode::Kept | Mode::Once => Way::Direct,
        }
    }
}

/// A setting of no effect. Who does not find it again is not alone on its session.
const MARK: &str = "-c pgexporter.session=own";

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
