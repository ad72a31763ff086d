//! One port from its first connection to its last.

use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::{Doors, Seldom};
use super::connection::Connection;
use super::limits::{Slot, Slots};
use super::reply::BUSY;
use super::settings::Settings;
use crate::connection_limit::{ConnectionLimit, ConnectionPlace};
use crate::shutdown::Shutdown;

/// How long answers that are under way may take once the program is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long a connection past the limit waits for another to end.
const QUEUE: Duration = Duration::from_secs(1);
/// How many may wait so, at most; those past it are closed at once.
const LONGEST_QUEUE: usize = 64;

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

/// How a new connection comes in.
#[derive(Debug)]
enum Entry {
    /// It has its place.
    Admitted(ConnectionPlace),
    /// It waits for one, in the queue.
    Waiting(Slot),
}

/// A port while it is served.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: &'static str,
    router: Router,
    settings: watch::Receiver<Arc<Settings>>,
    /// Whether `Settings::tls` is for this port.
    may_speak_tls: bool,
    connections: Arc<ConnectionLimit>,
    queue: Slots,
    pub(super) stop: CancellationToken,
    full: Mutex<Seldom>,
}

impl Port {
    pub(super) fn new(
        name: &'static str,
        router: Router,
        settings: watch::Receiver<Arc<Settings>>,
        may_speak_tls: bool,
        connections: Arc<ConnectionLimit>,
    ) -> Self {
        Self {
            name,
            router,
            settings,
            may_speak_tls,
            connections,
            queue: Slots::default(),
            stop: CancellationToken::new(),
            full: Mutex::default(),
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
                (stream, peer) = doors.accept(self.name) => {
                    let limit = self.settings.borrow().max_connections;
                    let entry = tokio::select! {
                        biased;
                        () = shutdown.begun() => break,
                        entry = self.enter(peer, limit) => entry,
                    };
                    if let Some(entry) = entry {
                        tasks.spawn(Arc::clone(&self).handle(stream, peer, entry));
                    }
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

    /// A place for a new connection, or one among those who wait for a place. `None`: too many
    /// wait.
    async fn enter(&self, peer: IpAddr, limit: usize) -> Option<Entry> {
        match self.connections.admit(Some(peer), limit) {
            Ok(place) => Some(Entry::Admitted(place)),
            // Each of those who wait then has somebody who leaves: the queue is short in time.
            Err(full) if full.one_leaves => {
                self.say_full(
                    "the ones that asked nothing longest give way to others",
                    limit,
                );
                Some(Entry::Waiting(self.queue.wait(queue(limit)).await))
            }
            Err(_) => {
                let waiting = self.queue.take(queue(limit)).map(Entry::Waiting);
                if waiting.is_none() {
                    self.say_full(
                        "all are being answered; refusing more until some end",
                        limit,
                    );
                }
                waiting
            }
        }
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, peer: IpAddr, entry: Entry) {
        let settings = self.settings.borrow().clone();
        let tls = settings
            .tls
            .as_ref()
            .filter(|_| self.may_speak_tls)
            .map(|tls| tls.config());
        let limit = settings.max_connections;
        let place = match entry {
            Entry::Admitted(place) => Some(place),
            Entry::Waiting(_waiting) => self.connections.wait(Some(peer), limit, QUEUE).await,
        };
        let Some(place) = place else {
            self.say_full(
                "all are being answered; refusing more until some end",
                limit,
            );
            if tls.is_none() {
                refuse(stream).await;
            }
            return;
        };
        Connection {
            port: &self,
            router: self.router.clone(),
            settings: &settings,
            place,
        }
        .run(stream, tls)
        .await;
    }

    /// Says, once a while, that there are too many connections, and what follows.
    fn say_full(&self, what: &'static str, limit: usize) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.now() {
            tracing::warn!(
                port = self.name,
                limit,
                "too many connections at once: {what}"
            );
        }
    }

    /// Connections that have a place.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.connections.connections()
    }
}

/// How many connections may wait for a place: each holds a file descriptor too.
fn queue(limit: usize) -> usize {
    (limit / 4).clamp(1, LONGEST_QUEUE)
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
