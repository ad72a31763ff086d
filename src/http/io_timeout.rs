//! A socket that does not wait for ever: for the head of a request, for the next request, or for a
//! peer that does not read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::connection_limit::Activity;

/// How long, and over how many bytes, a peer is listened to after the last answer, so that what it
/// still sends does not make the system throw that answer away (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 * 1024;

/// Where a connection stands: shared by its socket, its service and the body that is being sent.
#[derive(Clone, Debug)]
pub(super) struct ConnectionState(Arc<SharedState>);

#[derive(Debug)]
struct SharedState {
    /// What the limit of connections knows of this one.
    activity: Activity,
    /// Requests that were begun.
    begun: AtomicU64,
    /// Requests whose answer was handed over or given up.
    ended: AtomicU64,
    /// The peer takes nothing at present.
    blocked: AtomicBool,
    /// Reading, which hyper leaves alone while a request is answered: its timer begins anew then.
    reader: AtomicWaker,
}

/// A request that is being answered; dropped with the end of its body.
#[derive(Debug)]
pub(super) struct RequestInProgress(Arc<SharedState>);

impl ConnectionState {
    /// Of a connection on which nothing has come yet.
    pub(super) fn new(activity: Activity) -> Self {
        Self(Arc::new(SharedState {
            activity,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }))
    }

    /// A request has arrived.
    pub(super) fn begin(&self) -> RequestInProgress {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.0.activity.set_answering(true);
        RequestInProgress(Arc::clone(&self.0))
    }

    /// No request has arrived yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.begun() == 0
    }

    /// Something is written that the peer has not taken yet.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.blocked.load(Ordering::Acquire)
    }

    fn set_blocked(&self, blocked: bool) {
        self.0.blocked.store(blocked, Ordering::Release);
        self.0.activity.set_stalled(blocked);
    }

    /// A request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.begun() != self.0.ended.load(Ordering::Acquire)
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Acquire)
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let ended = self.0.ended.fetch_add(1, Ordering::AcqRel) + 1;
        if ended == self.0.begun.load(Ordering::Acquire) {
            self.0.activity.set_answering(false);
        }
        self.0.reader.wake();
    }
}

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct IoTimeouts {
    /// For the handshake and the head of a request.
    pub(super) head: Duration,
    /// Until the next request.
    pub(super) idle: Duration,
    /// To take any of what is written.
    pub(super) stall: Duration,
}

/// The socket with its timers.
#[derive(Debug)]
pub(super) struct TimeoutStream {
    stream: TcpStream,
    state: ConnectionState,
    timeouts: IoTimeouts,
    /// What reading waits for: which request (by number), and whether its head has begun.
    reading: Option<(u64, bool)>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    last_write: Option<Instant>,
    lingering: Option<usize>,
}

impl TimeoutStream {
    pub(super) fn new(stream: TcpStream, state: ConnectionState, timeouts: IoTimeouts) -> Self {
        Self {
            stream,
            state,
            timeouts,
            reading: None,
            read_timer: Box::pin(tokio::time::sleep(timeouts.head)),
            write_timer: Box::pin(tokio::time::sleep(timeouts.stall)),
            last_write: None,
            lingering: None,
        }
    }

    /// Keeps the timer of the next head; `bytes` says whether something of it has come.
    fn await_head(&mut self, bytes: bool) {
        let next = self.state.begun();
        let begun = bytes || next == 0;
        if self.reading == Some((next, true)) || self.reading == Some((next, begun)) {
            return;
        }
        let limit = if begun {
            self.timeouts.head
        } else {
            self.timeouts.idle
        };
        self.reading = Some((next, begun));
        self.read_timer.as_mut().reset(Instant::now() + limit);
    }

    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let was_blocked = self.state.is_blocked();
        if result.is_ready() {
            self.last_write = Some(Instant::now());
            if was_blocked {
                self.state.set_blocked(false);
            }
            return result;
        }
        if !was_blocked {
            self.state.set_blocked(true);
            self.write_timer
                .as_mut()
                .reset(Instant::now() + self.timeouts.stall);
        }
        if self.write_timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // What the system still holds for this peer is of no use: closing throws it away.
        // A socket that is already gone needs it no more.
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .ok();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        // While a request is answered, reading only waits for the peer to hang up.
        if this.state.is_busy() {
            this.state.0.reader.register(cx.waker());
            return result;
        }
        match result {
            Poll::Ready(Ok(())) if buf.filled().len() > before => this.await_head(true),
            Poll::Ready(_) => {}
            Poll::Pending => {
                this.await_head(false);
                if this.read_timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client sends no request",
                    )));
                }
            }
        }
        result
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.lingering = this.last_write.map(|last| {
                this.read_timer.as_mut().reset(last + LINGER);
                LINGER_BYTES
            });
            this.lingering.get_or_insert(0);
        }
        let mut scratch = [0; 4096];
        while let Some(left @ 1..) = this.lingering {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    this.lingering = Some(left.saturating_sub(buf.filled().len()));
                }
                Poll::Ready(_) => this.lingering = Some(0),
                Poll::Pending => {
                    std::task::ready!(this.read_timer.as_mut().poll(cx));
                    this.lingering = Some(0);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
