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

use super::accept::{Acceptor, LogThrottle};
use super::connection::HttpConnection;
use super::reply::BUSY;
use super::semaphore::{ResizablePermit, ResizableSemaphore};
use super::settings::HttpSettings;
use crate::connection_limit::{ConnectionLimit, ConnectionPlace};
use crate::shutdown::Shutdown;
use crate::supervision::{TaskName, supervise};

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
enum Admission {
    /// It has its place.
    Admitted(ConnectionPlace),
    /// It waits for one, in the queue.
    Waiting(ResizablePermit),
}

/// A port while it is served.
#[derive(Debug)]
pub(super) struct HttpPort {
    name: &'static str,
    router: Router,
    settings: watch::Receiver<Arc<HttpSettings>>,
    /// Whether `HttpSettings::tls` is for this port.
    may_speak_tls: bool,
    connections: Arc<ConnectionLimit>,
    queue: ResizableSemaphore,
    stop: CancellationToken,
    full: Mutex<LogThrottle>,
}

impl HttpPort {
    pub(super) fn new(
        name: &'static str,
        router: Router,
        settings: watch::Receiver<Arc<HttpSettings>>,
        may_speak_tls: bool,
        connections: Arc<ConnectionLimit>,
    ) -> Self {
        Self {
            name,
            router,
            settings,
            may_speak_tls,
            connections,
            queue: ResizableSemaphore::default(),
            stop: CancellationToken::new(),
            full: Mutex::default(),
        }
    }

    /// Serves the port until the shutdown begins, in a task that the shutdown waits for.
    pub(super) fn spawn(
        self,
        task: TaskName,
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
        shutdown.spawn_essential(
            port,
            task,
            Arc::clone(&this).run(Acceptor::new(listeners), shutdown.clone()),
        );
        Ok(this)
    }

    async fn run(self: Arc<Self>, mut acceptor: Acceptor, shutdown: Shutdown) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                Some(_) = tasks.join_next() => {}
                (stream, peer) = acceptor.accept(self.name) => {
                    let limit = self.settings.borrow().max_connections;
                    let admission = tokio::select! {
                        biased;
                        () = shutdown.begun() => break,
                        admission = self.admit_or_queue(peer, limit) => admission,
                    };
                    if let Some(admission) = admission {
                        let connection = Arc::clone(&self).handle(stream, peer, admission);
                        tasks.spawn(supervise(TaskName::Connection, connection));
                    }
                }
            }
        }
        drop(acceptor);
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
    async fn admit_or_queue(&self, peer: IpAddr, limit: usize) -> Option<Admission> {
        match self.connections.admit(Some(peer), limit) {
            Ok(place) => Some(Admission::Admitted(place)),
            // Each of those who wait then has somebody who leaves: the queue is short in time.
            Err(full) if full.one_leaves => {
                self.warn_full("closing those that have been idle longest", limit);
                Some(Admission::Waiting(
                    self.queue.acquire(most_waiting(limit)).await,
                ))
            }
            Err(_) => {
                let waiting = self
                    .queue
                    .try_acquire(most_waiting(limit))
                    .map(Admission::Waiting);
                if waiting.is_none() {
                    self.warn_full(
                        "all of them are in use; refusing more until some close",
                        limit,
                    );
                }
                waiting
            }
        }
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, peer: IpAddr, admission: Admission) {
        let settings = self.settings.borrow().clone();
        let tls = settings
            .tls
            .as_ref()
            .filter(|_| self.may_speak_tls)
            .map(|tls| tls.config());
        let limit = settings.max_connections;
        let place = match admission {
            Admission::Admitted(place) => Some(place),
            Admission::Waiting(_waiting) => self.connections.wait(Some(peer), limit, QUEUE).await,
        };
        let Some(place) = place else {
            self.warn_full(
                "all of them are in use; refusing more until some close",
                limit,
            );
            if tls.is_none() {
                refuse_connection(stream).await;
            }
            return;
        };
        HttpConnection {
            port: self.name,
            stop: &self.stop,
            router: self.router.clone(),
            settings: &settings,
            place,
        }
        .run(stream, tls)
        .await;
    }

    /// Says, once a while, that there are too many connections, and what follows.
    fn warn_full(&self, what: &'static str, limit: usize) {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.allow_line() {
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
fn most_waiting(limit: usize) -> usize {
    (limit / 4).clamp(1, LONGEST_QUEUE)
}

/// Says that there is no room, and closes.
async fn refuse_connection(mut stream: TcpStream) {
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
