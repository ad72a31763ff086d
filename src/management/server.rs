//! The listeners: accept connections, and bound how many there are at once.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::admin_api::AdminApi;
use super::auth::login::{self, AdminLoginError, AuthenticatedClient};
use super::auth::login_throttle::LoginThrottle;
use super::connection::AdminConnection;
use super::dispatch::AdminPeer;
use super::local::LocalSocket;
use super::settings::ManagementSettings;
use crate::blocking::BlockingPool;
use crate::connection_limit::{
    ConnectionLimit, ConnectionPlace, DisplacedConnections, ListenerPort,
};
use crate::security::Vault;
use crate::shutdown::Shutdown;
use crate::supervision::{TaskName, TaskPanicked, supervise};

/// Threads of a listener that read the admins file for logins.
const LOGIN_THREADS: usize = 4;
/// Threads of a listener that pack and encrypt: deriving a key takes 600,000 rounds, some tenths of a
/// second of a core.
const CODEC_THREADS: usize = 2;
/// Most connections of a listener, whatever the settings allow: each may hold an incomplete frame in
/// memory.
const CONNECTIONS: usize = 128;
/// How long a new connection waits to be admitted while all others are being answered.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long requests that run may take once the shutdown has begun.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after accept(2) failed, as when descriptors have run out.
const BACKOFF: Duration = Duration::from_millis(200);

/// Why a listener cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the {listener}: {source}; raise 'ulimit -n' if files ran out")]
pub struct ManagementServeError {
    listener: &'static str,
    source: io::Error,
}

/// What all connections of a listener share.
struct ListenerContext<C> {
    control: C,
    vault: Arc<Vault>,
    settings: watch::Receiver<Arc<ManagementSettings>>,
    /// Reads the files of admins, for logins.
    logins: BlockingPool,
    /// Packs and encrypts documents.
    codec: BlockingPool,
    stop: Shutdown,
}

/// Answers on the Unix socket until the shutdown begins, in a task that it waits for.
///
/// # Errors
/// The socket cannot be watched.
pub fn serve_local<C: AdminApi>(
    socket: LocalSocket,
    control: C,
    vault: Arc<Vault>,
    settings: watch::Receiver<Arc<ManagementSettings>>,
    displaced: DisplacedConnections,
    shutdown: &Shutdown,
) -> Result<(), ManagementServeError> {
    let watched = socket
        .listener
        .try_clone()
        .and_then(UnixListener::from_std)
        .map_err(|source| ManagementServeError {
            listener: "management socket",
            source,
        })?;
    let shared = Arc::new(ListenerContext {
        control,
        vault,
        settings,
        logins: BlockingPool::new("logins", LOGIN_THREADS, CONNECTIONS),
        codec: BlockingPool::new("codec", CODEC_THREADS, CONNECTIONS),
        stop: shutdown.clone(),
    });
    let stop = shutdown.clone();
    shutdown.spawn_essential("management socket", TaskName::Management, async move {
        let mut accept =
            |cx: &mut Context<'_>| watched.poll_accept(cx).map_ok(|(stream, _)| stream);
        let mut tasks = ConnectionTasks::new(displaced);
        while let Some(stream) = tasks.accept_next(&mut accept, &stop).await {
            let shared = Arc::clone(&shared);
            let limit = shared.settings.borrow().max_connections;
            let Some(place) = tasks.admit_connection(None, limit, &stop).await else {
                continue;
            };
            tasks.set.spawn(supervise(TaskName::Connection, async move {
                let settings = shared.settings.borrow().clone();
                let credentials = stream.peer_cred().ok();
                let peer = AdminPeer::Local {
                    uid: credentials.map(|one| one.uid()),
                    pid: credentials.and_then(|one| one.pid()),
                };
                let exchange = AdminConnection {
                    control: &shared.control,
                    vault: &shared.vault,
                    codec_pool: &shared.codec,
                    settings: &settings,
                    stop: &shared.stop,
                    peer,
                };
                exchange.run(stream, place).await;
            }));
        }
        // The socket is removed before the running requests end, so that no client connects to an
        // exporter that will not answer.
        drop(watched);
        drop(socket);
        tasks.drain("management socket").await;
    });
    Ok(())
}

/// Answers on the remote port until the shutdown begins, in a task that it waits for.
///
/// # Errors
/// A socket cannot be watched.
pub fn serve_remote<C: AdminApi>(
    listeners: Vec<std::net::TcpListener>,
    control: C,
    vault: Arc<Vault>,
    settings: watch::Receiver<Arc<ManagementSettings>>,
    displaced: DisplacedConnections,
    shutdown: &Shutdown,
) -> Result<(), ManagementServeError> {
    const NAME: &str = "management port";
    let watched = listeners
        .into_iter()
        .map(TcpListener::from_std)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| ManagementServeError {
            listener: NAME,
            source,
        })?;
    let shared = Arc::new(ListenerContext {
        control,
        vault,
        settings,
        logins: BlockingPool::new("logins", LOGIN_THREADS, CONNECTIONS),
        codec: BlockingPool::new("codec", CODEC_THREADS, CONNECTIONS),
        stop: shutdown.clone(),
    });
    let throttle = Arc::new(LoginThrottle::default());
    let stop = shutdown.clone();
    shutdown.spawn_essential(NAME, TaskName::Management, async move {
        let mut first = 0;
        let mut accept = |cx: &mut Context<'_>| {
            // The listener that is polled first changes each time, so that connections over IPv4 do
            // not starve those over IPv6, or the reverse.
            first = (first + 1) % watched.len();
            let turn = (0..watched.len()).map(|at| &watched[(first + at) % watched.len()]);
            for listener in turn {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        };
        let mut tasks = ConnectionTasks::new(displaced);
        while let Some((stream, address)) = tasks.accept_next(&mut accept, &stop).await {
            let (shared, throttle) = (Arc::clone(&shared), Arc::clone(&throttle));
            let limit = shared.settings.borrow().max_connections;
            let Some(place) = tasks
                .admit_connection(Some(address.ip()), limit, &stop)
                .await
            else {
                continue;
            };
            tasks.set.spawn(supervise(TaskName::Connection, async move {
                let settings = shared.settings.borrow().clone();
                let _ = stream.set_nodelay(true);
                let login = login::login(stream, address, &settings, (&throttle, &shared.logins));
                let client = tokio::select! {
                    client = login => client,
                    () = shared.stop.begun() => return,
                    () = place.to_leave() => {
                        warn!(
                            peer = %address,
                            "disconnected: the client did not log in, and others are waiting"
                        );
                        return;
                    }
                };
                let AuthenticatedClient { stream, user } = match client {
                    Ok(client) => client,
                    Err(error @ AdminLoginError::Left) => {
                        debug!(peer = %address, "{error}");
                        return;
                    }
                    Err(error) => {
                        warn!(peer = %address, "login refused: {error}");
                        return;
                    }
                };
                let peer = AdminPeer::Remote { user, address };
                info!(%peer, "logged in");
                let exchange = AdminConnection {
                    control: &shared.control,
                    vault: &shared.vault,
                    codec_pool: &shared.codec,
                    settings: &settings,
                    stop: &shared.stop,
                    peer,
                };
                exchange.run(stream, place).await;
            }));
        }
        drop(watched);
        tasks.drain(NAME).await;
    });
    Ok(())
}

/// The connections of a listener.
struct ConnectionTasks {
    set: JoinSet<Result<(), TaskPanicked>>,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionTasks {
    fn new(displaced: DisplacedConnections) -> Self {
        Self {
            set: JoinSet::new(),
            limit: ConnectionLimit::new(ListenerPort::Management, displaced),
        }
    }

    /// The next connection; `None` when the shutdown begins.
    async fn accept_next<T>(
        &mut self,
        accept: &mut (impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>> + Send),
        stop: &Shutdown,
    ) -> Option<T> {
        loop {
            tokio::select! {
                biased;
                () = stop.begun() => return None,
                Some(_) = self.set.join_next() => {}
                accepted = poll_fn(&mut *accept) => match accepted {
                    Ok(stream) => return Some(stream),
                    // The peer closed the connection before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        warn!("management: cannot accept a connection: {error}");
                        tokio::time::sleep(BACKOFF).await;
                    }
                },
            }
        }
    }

    /// Admits a connection; at the limit, one without a request is closed for it. `None`: all others
    /// are being answered, or the shutdown begins.
    async fn admit_connection(
        &self,
        peer: Option<IpAddr>,
        limit: usize,
        stop: &Shutdown,
    ) -> Option<ConnectionPlace> {
        let limit = limit.min(CONNECTIONS);
        if let Ok(place) = self.limit.admit(peer, limit) {
            return Some(place);
        }
        tokio::select! {
            biased;
            () = stop.begun() => None,
            place = self.limit.wait(peer, limit, PATIENCE) => place,
        }
    }

    /// Waits until the running requests are answered, and closes the rest after [`GRACE`].
    async fn drain(mut self, listener: &'static str) {
        let all = async { while self.set.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            warn!(
                connections = self.set.len(),
                "{listener}: requests did not finish in time; closing them"
            );
            self.set.shutdown().await;
        }
    }
}
