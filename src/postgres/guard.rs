//! Watches the bytes that a server sends at login before anything is made of them: a message larger
//! than the limit, or a request for a password in the clear on a connection that is not private,
//! ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use crate::targets::ByteLimits;

/// Why the guard ended a connection. Found again inside the error of the connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum GuardError {
    #[error("the server sent a message of {length} bytes, the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("the server sent more than {0} bytes at login")]
    LoginTooLong(usize),
    #[error("the server sends too much that nothing had asked for")]
    Flood,
    #[error(
        "the server asks for the password in the clear and the connection is not encrypted; \
         switch TLS on for this server, or use scram-sha-256 in its pg_hba.conf"
    )]
    PasswordInTheClear,
    #[error("the server sent a message that is shorter than its own length")]
    Malformed,
}

/// A stream under guard.
pub(super) struct Guarded<S> {
    inner: S,
    watch: Watch,
    said_goodbye: bool,
}

impl<S> Guarded<S> {
    /// `private` is true when others cannot read along: TLS, or a Unix socket. No message may be
    /// longer than `message`, in bytes; [`ByteLimits::LOGIN_MESSAGES`] of those is what all of them
    /// may be together: the driver keeps each until it is logged in.
    pub(super) fn new(inner: S, private: bool, message: usize) -> Self {
        Self {
            inner,
            watch: Watch::new(private, message),
            said_goodbye: false,
        }
    }

    /// The stream, when what has come ends with the end of a message.
    pub(super) fn between_messages(self) -> Option<S> {
        (self.watch.have == 0 && self.watch.left == 0).then_some(self.inner)
    }
}

/// Follows the framing (PostgreSQL, "Message Formats"): a type byte, a length that counts itself,
/// the body.
#[derive(Debug)]
struct Watch {
    /// Type, length, and the first four bytes of an authentication request.
    header: [u8; 9],
    have: usize,
    /// Bytes of the present message's body that are still to come.
    left: usize,
    private: bool,
    /// The longest message, in bytes, header included.
    message: usize,
    /// How many bytes may still come.
    room: usize,
}

impl Watch {
    fn new(private: bool, message: usize) -> Self {
        Self {
            header: [0; 9],
            have: 0,
            left: 0,
            private,
            message,
            room: message * ByteLimits::LOGIN_MESSAGES,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), GuardError> {
        self.room = self
            .room
            .checked_sub(bytes.len())
            .ok_or(GuardError::LoginTooLong(
                self.message * ByteLimits::LOGIN_MESSAGES,
            ))?;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = bytes.len().min(self.left);
                bytes = &bytes[skip..];
                self.left -= skip;
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            self.look()?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), GuardError> {
        let be = |at: usize| {
            u32::from_be_bytes([
                self.header[at],
                self.header[at + 1],
                self.header[at + 2],
                self.header[at + 3],
            ])
        };
        if self.have < 5 {
            return Ok(());
        }
        let length = be(1) as usize;
        if self.have == 5 {
            if length < 4 {
                return Err(GuardError::Malformed);
            }
            if length >= self.message {
                let limit = self.message;
                return Err(GuardError::TooLarge { length, limit });
            }
        }
        let body = length - 4;
        let authentication = self.header[0] == b'R' && body >= 4;
        if authentication && self.have < 9 {
            return Ok(());
        }
        // AuthenticationCleartextPassword.
        if authentication && be(5) == 3 && !self.private {
            return Err(GuardError::PasswordInTheClear);
        }
        self.left = if authentication { body - 4 } else { body };
        self.have = 0;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        Poll::Ready(
            this.watch
                .feed(&buf.filled()[before..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    /// Says goodbye, then waits until the server has closed its side: only then is its backend
    /// gone, and another connection is not one too many. A server that goes on sending is not
    /// listened to for longer than a login may be.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.said_goodbye {
            // A peer that is gone already has nothing to be told.
            let _ = ready!(Pin::new(&mut this.inner).poll_shutdown(cx));
            this.said_goodbye = true;
        }
        let mut rest = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    let Some(room) = this.watch.room.checked_sub(buf.filled().len()) else {
                        return Poll::Ready(Ok(()));
                    };
                    this.watch.room = room;
                }
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    const LIMIT: usize = 4096;

    fn watch(private: bool) -> Watch {
        Watch::new(private, LIMIT)
    }

    #[test]
    fn messages_pass_however_they_are_torn() {
        let mut bytes = message(b'R', &[0, 0, 0, 10, 1, 2, 3]);
        bytes.extend(message(b'Z', b"I"));
        bytes.extend(message(b'1', b""));
        bytes.extend(message(b'D', &[7; 1000]));
        for size in 1..bytes.len() {
            let mut watch = watch(false);
            for piece in bytes.chunks(size) {
                watch.feed(piece).unwrap();
            }
            assert_eq!((watch.have, watch.left), (0, 0), "torn every {size} bytes");
        }
    }

    #[test]
    fn a_message_over_the_limit_ends_the_connection() {
        let mut bytes = vec![b'D'];
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        let (length, limit) = (u32::MAX as usize, LIMIT);
        assert_eq!(
            watch(true).feed(&bytes),
            Err(GuardError::TooLarge { length, limit })
        );
        assert_eq!(watch(true).feed(&message(b'N', &[7; LIMIT - 5])), Ok(()));
        assert!(watch(true).feed(&message(b'N', &[7; LIMIT - 4])).is_err());
        assert_eq!(
            watch(true).feed(&[b'D', 0, 0, 0, 3]),
            Err(GuardError::Malformed)
        );
    }

    #[test]
    fn many_short_messages_end_the_login_as_well() {
        let notice = message(b'N', &[7; 95]);
        let mut watch = watch(true);
        let mut taken = 0;
        while watch.feed(&notice) == Ok(()) {
            taken += notice.len();
            assert!(taken <= LIMIT * ByteLimits::LOGIN_MESSAGES);
        }
        assert!(taken > LIMIT * (ByteLimits::LOGIN_MESSAGES - 1));
    }

    #[test]
    fn a_password_in_the_clear_is_sent_only_where_nobody_reads_along() {
        let bytes = message(b'R', &[0, 0, 0, 3]);
        assert_eq!(
            watch(false).feed(&bytes),
            Err(GuardError::PasswordInTheClear)
        );
        assert_eq!(watch(true).feed(&bytes), Ok(()));
    }
}
