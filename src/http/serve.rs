//! One port from its first connection to its last.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::{Doors, Seldom};
use super::connection::Connection;
use super::limits::Slots;
use super::reply::BUSY;
use super::settings::Settings;
use crate::shutdown::Shutdown;

/// How long answers that are under way may take once the program is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long a connection past the limit waits for another to end.
const QUEUE: Duration = Duration::from_secs(1);
/// How many may wait so; those past it are closed at once.
const QUEUE_LENGTH: usize = 64;

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket could not be watched.
    #[error("cannot watch the {port}: {source}; raise 'ulimit -n' if files ran out")]
    Watch {
        /// Which port.
        port: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A port while it is served.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: &'static str,
    router: Router,
    settings: watch::Receiver<Arc<Settings>>,
    /// Whether `Settings::tls` is for this port.
    may_speak_tls: bool,
    connections: Slots,
    queue: Slots,
    /// Rung when a client waits for a connection to end: idle ones then do.
    pub(super) crowded: Notify,
    pub(super) stop: CancellationToken,
    refused: Mutex<Seldom>,
}

impl Port {
    pub(super) fn new(
        name: &'static str,
        router: Router,
        settings: watch::Receiver<Arc<Settings>>,
        may_speak_tls: bool,
    ) -> Self {
        Self {
            name,
            router,
            settings,
            may_speak_tls,
            connections: Slots::default(),
            queue: Slots::default(),
            crowded: Notify::new(),
            stop: CancellationToken::new(),
            refused: Mutex::default(),
        }
    }

    /// Serves the port until the shutdown begins, in a task that the shutdown waits for.
    pub(super) fn spawn(
        self,
        listeners: Vec<TcpListener>,
        shutdown: &Shutdown,
    ) -> Result<Arc<Self>, ServeError> {
        let port = self.name;
        let listeners = listeners
            .into_iter()
            .map(|listener| {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            })
            .collect::<Result<_, _>>()
            .map_err(|source| ServeError::Watch { port, source })?;
        let this = Arc::new(self);
        shutdown.spawn(
            port,
            Arc::clone(&this).run(Doors::new(listeners), shutdown.clone()),
        );
        Ok(this)
    }

    async fn run(self: Arc<Self>, mut doors: Doors, shutdown: Shutdown) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                Some(_) = tasks.join_next() => {}
                stream = doors.accept(self.name) => {
                    tasks.spawn(Arc::clone(&self).handle(stream));
                }
            }
        }
        drop(doors);
        self.stop.cancel();
        let finished = timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            tracing::warn!(
                port = self.name,
                connections = tasks.len(),
                "requests did not finish in time; closing them"
            );
            tasks.shutdown().await;
        }
    }

    async fn handle(self: Arc<Self>, stream: TcpStream) {
        let settings = self.settings.borrow().clone();
        let tls = settings
            .tls
            .as_ref()
            .filter(|_| self.may_speak_tls)
            .map(|tls| tls.config());
        let Some(_slot) = self.slot(settings.max_connections).await else {
            if tls.is_none() {
                refuse(stream).await;
            }
            return;
        };
        Connection {
            port: &self,
            router: self.router.clone(),
            settings: &settings,
        }
        .run(stream, tls)
        .await;
    }

    /// A place among the connections, at once or within a moment.
    async fn slot(&self, limit: usize) -> Option<super::limits::Slot> {
        if let Some(slot) = self.connections.take(limit) {
            return Some(slot);
        }
        let place = self.queue.take(QUEUE_LENGTH);
        if place.is_some() {
            self.crowded.notify_waiters();
            if let Ok(slot) = timeout(QUEUE, self.connections.wait(limit)).await {
                return Some(slot);
            }
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.now() {
            tracing::warn!(
                port = self.name,
                limit,
                "too many connections at once; refusing more until some end"
            );
        }
        None
    }

    /// Connections that have a place.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.connections.used()
    }
}

/// Says that there is no room, and closes.
async fn refuse(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(BUSY.as_bytes()).await?;
        stream.shutdown().await?;
        // What the client has sent is read, else closing would throw the answer away.
        let mut scratch = [0; 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // A client that went away meanwhile is what was wanted.
    timeout(QUEUE, answer).await.ok();
}
