//! Accepts connections from several sockets, and goes on when the system runs out of something.

use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// A log line about the same trouble not more often than this.
const QUIET: Duration = Duration::from_secs(60);
/// Pause after the process or the system has run out of something.
const BACKOFF: Duration = Duration::from_millis(200);

/// Limits a log line to one in each [`QUIET`].
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Option<Instant>);

impl LogThrottle {
    /// Whether it is time for another line.
    pub(super) fn allow_line(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= QUIET);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// The listening sockets of a port, asked in turn.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<TcpListener>,
    next: usize,
    throttle: LogThrottle,
}

impl Acceptor {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        Self {
            listeners,
            next: 0,
            throttle: LogThrottle::default(),
        }
    }

    /// The next connection and the address that it comes from. Never ends with an error: when file descriptors or memory have run
    /// out, it waits a moment and tries again. May be dropped at any time and called again.
    pub(super) async fn accept(&mut self, port: &'static str) -> (TcpStream, IpAddr) {
        loop {
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.throttle.allow_line() {
                        tracing::warn!(
                            port,
                            %error,
                            "cannot accept a connection; trying again (raise 'ulimit -n' if files ran out)"
                        );
                    }
                    sleep(BACKOFF).await;
                }
            }
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, IpAddr)>> {
        for _ in 0..self.listeners.len() {
            // Begins behind the last that answered, so that a busy one starves no other.
            self.next = (self.next + 1) % self.listeners.len();
            if let Poll::Ready(result) = self.listeners[self.next].poll_accept(cx) {
                return Poll::Ready(result.map(|(stream, peer)| (stream, peer.ip())));
            }
        }
        Poll::Pending
    }
}

/// The peer went away before it was accepted: accept(2), "Error handling".
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
