//! The connection after login: messages out of one buffer, messages into another, and how many
//! answers the server still owes.
//!
//! Whoever gives up in the middle loses nothing: what was not sent goes out, and what was not read
//! comes in, with the next call (PostgreSQL, "Message Flow").

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::guard::{GuardError, LARGEST_MESSAGE};
use super::unrequested::{UnrequestedBytes, is_unrequested};
use super::wire::Wire;

/// What the server sends comes in pieces of up to this size, in bytes.
const ROOM: usize = 32 * 1024;
/// After Terminate so many bytes are read, for a server that sends on and on never closes.
const FAREWELL: usize = 4 * 1024 * 1024;
/// Type and length of a message.
const HEADER: usize = 5;

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Pipe {
    wire: Wire,
    /// Bytes `from..to` have come and were not looked at.
    inbox: Vec<u8>,
    from: usize,
    to: usize,
    outbox: BytesMut,
    sent: usize,
    /// Nothing can be sent any more; the server may have said why.
    deaf: Option<io::Error>,
    owed: usize,
    /// The last ReadyForQuery came from within a transaction.
    in_transaction: bool,
    unrequested: UnrequestedBytes,
}

/// A message of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Its type byte.
    pub kind: u8,
    /// Type byte and length with the body.
    pub whole: &'a [u8],
}

impl<'a> Message<'a> {
    /// What stands after the length.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }
}

impl Pipe {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            inbox: Vec::new(),
            from: 0,
            to: 0,
            outbox: BytesMut::new(),
            sent: 0,
            deaf: None,
            owed: 0,
            in_transaction: false,
            unrequested: UnrequestedBytes::default(),
        }
    }

    /// Where messages are put that go out with the next read.
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Puts a Sync; the server owes one answer more.
    pub(super) fn sync(&mut self) {
        frontend::sync(&mut self.outbox);
        self.owed += 1;
    }

    /// Puts a simple query; the server owes one answer more.
    ///
    /// # Errors
    /// The text holds a zero byte.
    pub(super) fn query(&mut self, sql: &str) -> io::Result<()> {
        without_zero(sql)?;
        frontend::query(sql, &mut self.outbox)?;
        self.owed += 1;
        Ok(())
    }

    /// How many ReadyForQuery are still to come. At 0 the state of the session is sure.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    /// Whether the server was in a transaction when it was last ready for a query.
    pub(super) fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Sends what is there to be sent, and returns the next message.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) async fn next(&mut self) -> io::Result<Message<'_>> {
        let length = match self.complete()? {
            // Nothing is held back while answers are read.
            Some(length) if self.outbox.is_empty() => length,
            _ => poll_fn(|cx| self.poll_message(cx)).await?,
        };
        let from = self.from;
        self.from += length;
        let whole = &self.inbox[from..from + length];
        let kind = whole[0];
        let unrequested = is_unrequested(kind) || self.owed == 0;
        if unrequested && !self.unrequested.allow(length) {
            return Err(refused(GuardError::Unrequested));
        }
        if kind == b'Z' {
            self.owed = self.owed.saturating_sub(1);
            self.in_transaction = whole.last() != Some(&b'I');
        }
        Ok(Message { kind, whole })
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            self.send(cx);
            if let Some(length) = self.complete()? {
                return Poll::Ready(Ok(length));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Sends what is there to be sent, as far as the connection takes it without waiting. The rest
    /// goes out with the next read, which also tells of an error.
    pub(super) fn send_now(&mut self) {
        self.send(&mut Context::from_waker(Waker::noop()));
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            // The server may have said why before it closed.
            self.deaf = Some(error);
            self.outbox.clear();
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.is_empty() || self.deaf.is_some() {
            self.outbox.clear();
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.outbox.len() {
            let rest = &self.outbox[self.sent..];
            match ready!(Pin::new(&mut self.wire).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(Pin::new(&mut self.wire).poll_flush(cx))?;
        self.sent = 0;
        self.outbox.clear();
        // The texts of all queries go out once; what a scrape sends is short.
        if self.outbox.capacity() > ROOM {
            self.outbox = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.inbox[self.to..]);
        ready!(Pin::new(&mut self.wire).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        if read == 0 {
            let cause = self.deaf.take();
            return Poll::Ready(Err(
                cause.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
            ));
        }
        self.to += read;
        Poll::Ready(Ok(()))
    }

    /// Room for the rest of the message that has begun, or for the next ones.
    fn make_room(&mut self) {
        self.inbox.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        let wanted = self.announced().unwrap_or(0).max(ROOM);
        if self.inbox.len() < wanted {
            self.inbox.resize(wanted, 0);
        } else if self.inbox.len() > wanted && self.to <= wanted {
            // A single long message does not cost memory for ever.
            self.inbox.truncate(wanted);
            self.inbox.shrink_to(wanted);
        }
    }

    /// Length of the message at the front, as its header says.
    fn announced(&self) -> Option<usize> {
        let header = self.inbox.get(self.from..self.to)?.get(..HEADER)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        Some(length as usize + 1)
    }

    /// Length of the message at the front, when all of it is here.
    fn complete(&self) -> io::Result<Option<usize>> {
        let Some(length) = self.announced() else {
            return Ok(None);
        };
        let wrong = if length < HEADER {
            Some(GuardError::Malformed)
        } else if length > LARGEST_MESSAGE as usize + 1 {
            let length = u32::try_from(length - 1).unwrap_or(u32::MAX);
            Some(GuardError::TooLarge(length))
        } else {
            None
        };
        match wrong {
            Some(why) => Err(refused(why)),
            None => Ok((self.to - self.from >= length).then_some(length)),
        }
    }

    /// Says Terminate and waits until the server has closed the connection: only then is its
    /// backend gone, and another connection is not one too many.
    pub(super) async fn goodbye(mut self) {
        frontend::terminate(&mut self.outbox);
        let sent = poll_fn(|cx| self.poll_send(cx)).await;
        // A peer that is gone already has nothing to be told. One that is there closes when it has
        // read the message, and needs no second word; but TLS has an end of its own.
        if sent.is_ok() && self.deaf.is_none() && matches!(self.wire, Wire::Tls(..)) {
            self.wire.shutdown().await.ok();
        }
        (self.from, self.to) = (0, 0);
        let mut read = 0;
        while read < FAREWELL && poll_fn(|cx| self.poll_fill(cx)).await.is_ok() {
            read += self.to;
            (self.from, self.to) = (0, 0);
        }
    }
}

/// What came is not taken.
pub(super) fn refused(why: GuardError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The protocol ends a text with a zero byte.
///
/// # Errors
/// It holds one.
pub(super) fn without_zero(sql: &str) -> io::Result<()> {
    if sql.contains('\0') {
        return Err(io::Error::other("the query holds a zero byte; take it out"));
    }
    Ok(())
}
