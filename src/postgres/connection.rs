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

use super::login_guard::GuardError;
use super::transport::Transport;
use super::unrequested::{UnrequestedBytes, is_unrequested};
use crate::targets::{ByteLimits, TargetError};

/// What the server sends comes in pieces of up to this size, in bytes.
const ROOM: usize = 32 * 1024;
/// After Terminate so many bytes are read, for a server that sends on and on never closes.
const FAREWELL: usize = 4 * 1024 * 1024;
/// Type and length of a message.
const HEADER: usize = 5;
/// So much of a long error is held: its state and its text stand in front.
const ERROR: usize = 16 * 1024;
/// While it answers, a server may send so many bytes of no use, such as rows that are no longer
/// wanted.
const MOST_WASTE: usize = 64 * 1024 * 1024;

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    /// Bytes `from..to` have come and were not looked at.
    inbox: Vec<u8>,
    from: usize,
    to: usize,
    /// Bytes of a message that are still to come and are thrown away then.
    skip: usize,
    /// The longest message that is held, in bytes.
    limit: usize,
    /// How many bytes of no use the server may still send.
    waste: usize,
    outbox: BytesMut,
    sent: usize,
    /// Nothing can be sent any more; the server may have said why.
    deaf: Option<io::Error>,
    owed: usize,
    /// The last ReadyForQuery came from within a transaction.
    in_transaction: bool,
    unrequested: UnrequestedBytes,
    /// Why it ended, once it did.
    ended: Option<TargetError>,
}

/// A message of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerMessage<'a> {
    /// Its type byte.
    pub kind: u8,
    /// Type byte and length with the body.
    pub whole: &'a [u8],
    /// How long it was, where it was too long to be held: then the body is not here. An error has
    /// the beginning of its body.
    pub cut: Option<usize>,
}

impl<'a> ServerMessage<'a> {
    /// What stands after the length.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }
}

impl Connection {
    /// Over which `early` has come already. Holds no message that is longer than `limit`, in bytes.
    pub(super) fn new(transport: Transport, early: Vec<u8>, limit: usize) -> Self {
        Self {
            transport,
            from: 0,
            to: early.len(),
            inbox: early,
            skip: 0,
            limit: limit.clamp(ERROR, ByteLimits::LARGEST_MESSAGE),
            waste: MOST_WASTE,
            outbox: BytesMut::new(),
            sent: 0,
            deaf: None,
            owed: 0,
            in_transaction: false,
            unrequested: UnrequestedBytes::default(),
            ended: None,
        }
    }

    /// Why it ended; `None` while it lives, as far as is known.
    pub(super) fn trouble(&self) -> Option<&TargetError> {
        self.ended.as_ref()
    }

    /// It is of no more use. The first reason counts.
    pub(super) fn end_with(&mut self, trouble: TargetError) {
        self.ended.get_or_insert(trouble);
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

    /// The server is asked for something from here on.
    pub(super) fn expect(&mut self) {
        self.waste = MOST_WASTE;
    }

    /// Counts bytes that came and were of no use. A server that sends them without end would keep a
    /// processor busy for ever.
    ///
    /// # Errors
    /// There were too many: the connection is of no more use.
    pub(super) fn waste(&mut self, bytes: usize) -> io::Result<()> {
        self.waste = self
            .waste
            .checked_sub(bytes)
            .ok_or_else(|| refused(GuardError::Flood))?;
        Ok(())
    }

    /// Sends what is there to be sent, and returns the next message. One that is too long to be
    /// held is thrown away as it comes.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) async fn next(&mut self) -> io::Result<ServerMessage<'_>> {
        let coming = match self.complete()? {
            // Nothing is held back while answers are read.
            Some(coming) if self.outbox.is_empty() => coming,
            _ => poll_fn(|cx| self.poll_message(cx)).await?,
        };
        let (from, held) = (self.from, coming.held);
        self.from += held;
        self.skip = coming.length - held;
        let kind = self.inbox[from];
        let unrequested = is_unrequested(kind) || self.owed == 0;
        if unrequested && !self.unrequested.allow(coming.length) {
            return Err(refused(GuardError::Unrequested));
        }
        if kind == b'Z' {
            self.owed = self.owed.saturating_sub(1);
            self.in_transaction = self.inbox[from + held - 1] != b'I';
        }
        let cut = (self.skip > 0).then_some(coming.length);
        if cut.is_some() && kind == b'E' {
            self.close_error(from, held);
        }
        let whole = &self.inbox[from..from + held];
        Ok(ServerMessage { kind, whole, cut })
    }

    /// Makes the beginning of an error a whole one: its length is what is held, and its last text
    /// and the list of its fields end with a zero byte each.
    fn close_error(&mut self, from: usize, held: usize) {
        let length = u32::try_from(held - 1).unwrap_or(u32::MAX).to_be_bytes();
        let whole = &mut self.inbox[from..from + held];
        whole[1..HEADER].copy_from_slice(&length);
        whole[held - 2..].fill(0);
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<MessageFrame>> {
        loop {
            self.send(cx);
            if let Some(coming) = self.complete()? {
                return Poll::Ready(Ok(coming));
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
            match ready!(Pin::new(&mut self.transport).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
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
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut room))?;
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

    /// Room for what comes next: twice what has come of the message that has begun, and no more than
    /// is held of it. What a header announces alone makes nothing grow.
    fn make_room(&mut self) {
        self.inbox.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        let begun = self.coming().map_or(0, |coming| coming.held);
        let wanted = begun.min(self.to * 2).max(ROOM);
        if self.inbox.len() < wanted {
            self.inbox.resize(wanted, 0);
        } else if self.inbox.len() > wanted && self.to <= wanted {
            // A single long message does not cost memory for ever.
            self.inbox.truncate(wanted);
            self.inbox.shrink_to(wanted);
        }
    }

    /// The message at the front, as its header says.
    fn coming(&self) -> Option<MessageFrame> {
        let header = self.inbox.get(self.from..self.to)?.get(..HEADER)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let length = length as usize + 1;
        let held = match header[0] {
            // What it says counts, not that it says it at length.
            b'E' => ERROR,
            // A row of one query is that query's trouble; nobody asks for the others.
            b'D' | b'N' | b'S' | b'A' | b'd' if length > self.limit => HEADER,
            _ => self.limit,
        };
        let held = length.min(held);
        Some(MessageFrame { length, held })
    }

    /// The message at the front, when all that is held of it is here. Throws away what belongs to
    /// the one before.
    fn complete(&mut self) -> io::Result<Option<MessageFrame>> {
        let thrown = self.skip.min(self.to - self.from);
        (self.from, self.skip) = (self.from + thrown, self.skip - thrown);
        if self.skip > 0 {
            return Ok(None);
        }
        let Some(coming) = self.coming() else {
            return Ok(None);
        };
        let MessageFrame { length, held } = coming;
        let may_be_cut = held == HEADER || self.inbox[self.from] == b'E';
        let wrong = if length < HEADER {
            Some(GuardError::Malformed)
        } else if length > ByteLimits::LARGEST_MESSAGE + 1 {
            let limit = ByteLimits::LARGEST_MESSAGE;
            let length = length - 1;
            Some(GuardError::TooLarge { length, limit })
        } else if held < length && !may_be_cut {
            let (length, limit) = (length - 1, self.limit);
            Some(GuardError::TooLarge { length, limit })
        } else {
            None
        };
        match wrong {
            Some(why) => Err(refused(why)),
            None => Ok((self.to - self.from >= held).then_some(coming)),
        }
    }

    /// Says Terminate and waits until the server has closed the connection: only then is its
    /// backend gone, and another connection is not one too many. One that goes on sending is not
    /// waited for.
    pub(super) async fn terminate(mut self) {
        frontend::terminate(&mut self.outbox);
        let sent = poll_fn(|cx| self.poll_send(cx)).await;
        // A peer that is gone already has nothing to be told. One that is there closes when it has
        // read the message, and needs no second word; but TLS has an end of its own.
        if sent.is_ok() && self.deaf.is_none() && matches!(self.transport, Transport::Tls(..)) {
            self.transport.shutdown().await.ok();
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

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
struct MessageFrame {
    /// Its length, in bytes.
    length: usize,
    /// How much of it is held.
    held: usize,
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
