//! Plain clients of a test server: to prepare it, to load it, and to ask it for the truth.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, SimpleQueryMessage};

/// Runs blocking work on a thread of its own, so that tests with a runtime may call it too.
pub fn blocking<T: Send>(work: impl FnOnce(&Runtime) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            work(&runtime)
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Connects; the connection is driven by a task of the current runtime until the client drops.
pub async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // Its end is seen by the client, as an error of the next statement.
        let _ = connection.await;
    });
    Ok(client)
}

/// A session that stays open, for transactions, locks, and connections that fill a server.
pub struct Session {
    client: std::sync::Arc<Client>,
    runtime: Option<Runtime>,
}

impl Session {
    /// Opens a session.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let client = std::thread::scope(|scope| {
            scope
                .spawn(|| runtime.block_on(connect(config)))
                .join()
                .expect("no panic")
        });
        match client {
            Ok(client) => Ok(Self {
                client: client.into(),
                runtime: Some(runtime),
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Runs statements, separated by semicolons; fails the test on an error.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        if let Err(error) = self.try_execute(sql) {
            panic!("{sql}: {}", describe(&error));
        }
    }

    /// Runs statements, separated by semicolons.
    pub fn try_execute(&self, sql: &str) -> Result<(), Error> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Asks, and gives each row as text, NULL as `None`.
    #[track_caller]
    pub fn text(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self.wait(self.client.simple_query(sql)) {
            Ok(messages) => rows_of(&messages),
            Err(error) => panic!("{sql}: {}", describe(&error)),
        }
    }

    /// Begins statements that block, and does not wait for them. The thread ends with their
    /// outcome.
    pub fn begin_blocking(&self, sql: &str) -> JoinHandle<Result<(), Error>> {
        let (client, sql) = (self.client.clone(), sql.to_owned());
        let runtime = self.handle();
        std::thread::spawn(move || runtime.block_on(client.batch_execute(&sql)))
    }

    /// The session's process at the server.
    pub fn pid(&self) -> i32 {
        self.text("SELECT pg_catalog.pg_backend_pid()")[0][0]
            .as_ref()
            .and_then(|pid| pid.parse().ok())
            .expect("a process id")
    }

    /// Whether the server has ended it.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.as_ref().expect("open").handle().clone()
    }

    fn wait<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let handle = self.handle();
        std::thread::scope(|scope| {
            scope
                .spawn(move || handle.block_on(work))
                .join()
                .expect("no panic")
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Statements in a session of their own.
pub fn execute(config: &Config, sql: &str) -> Result<(), Error> {
    blocking(|runtime| runtime.block_on(async { connect(config).await?.batch_execute(sql).await }))
}

/// A query in a session of its own, with parameters and typed columns.
pub fn query(
    config: &Config,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    blocking(|runtime| {
        runtime.block_on(async { connect(config).await?.query(sql, parameters).await })
    })
}

/// A query in a session of its own, each row as text.
pub fn text(config: &Config, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    blocking(|runtime| {
        runtime.block_on(async { Ok(rows_of(&connect(config).await?.simple_query(sql).await?)) })
    })
}

/// An error with what the server said.
pub fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

fn rows_of(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}
