//! Watches the bytes that a server sends at login before anything is made of them: a message larger
//! than the limit, or a request for authentication that must not be answered, ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::unrequested::is_unrequested;
use crate::security::{
    AuthMethod, AuthRefused, AuthRules, MOST_SCRAM_ROUNDS, ScramBinding, has_too_many_rounds,
};
use crate::targets::ByteLimits;

/// The largest body of a message of SCRAM that is read, in bytes; PostgreSQL's have some hundred.
const LARGEST_SASL: usize = 16 * 1024;

/// Why the guard ended a connection. Found again inside the error of the connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum GuardError {
    #[error("the server sent a message of {length} bytes, the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("the server sent more than {0} bytes at login")]
    LoginTooLong(usize),
    #[error("the server sends too many unrequested messages")]
    Flood,
    #[error(
        "the server asks for more than {MOST_SCRAM_ROUNDS} SCRAM iterations, which would keep the \
         exporter busy; lower scram_iterations there, and set the role's password again"
    )]
    TooManyRounds,
    #[error(transparent)]
    Authentication(#[from] AuthRefused),
    #[error("the server sent a message that is shorter than its own length")]
    Malformed,
    #[error(
        "the server sent more than 1 MiB of unrequested messages within a minute (notices, \
         settings, notifications), and the exporter ended the session; find out what sends them"
    )]
    Unrequested,
    #[error(
        "the server sent an answer without a request, and the exporter ended the session; the \
         server may not be PostgreSQL"
    )]
    AnswerToNothing,
    #[error("the server was not ready for queries after the login")]
    NotReady,
    #[error("the login is over and still holds the connection; please report this as a bug")]
    StillHeld,
}

/// A stream under guard.
pub(super) struct GuardedLogin<S> {
    inner: S,
    watch: LoginWatch,
    said_goodbye: bool,
    /// What came in one read with the end of the login, and is no part of it.
    early: Vec<u8>,
}

impl<S> GuardedLogin<S> {
    /// `rules` say which requests for authentication are answered. No message may be longer than
    /// `message`, in bytes; [`ByteLimits::LOGIN_MESSAGES`] of those is what all of them may be
    /// together: the driver keeps each until it is logged in.
    pub(super) fn new(inner: S, rules: AuthRules, message: usize) -> Self {
        Self {
            inner,
            watch: LoginWatch::new(rules, message),
            said_goodbye: false,
            early: Vec::new(),
        }
    }

    /// What the server asked for last; nothing, when it let the role in without.
    pub(super) fn method(&self) -> AuthMethod {
        self.watch.asked.unwrap_or(AuthMethod::None)
    }

    /// Whether the login was bound to its TLS connection.
    pub(super) fn used_binding(&self) -> bool {
        self.watch.bound
    }

    /// The stream once the login is over, and what has come behind it. A server may say at any time
    /// that it ends the session, or that a setting has changed; answers to what was not asked would
    /// be taken for those of the first queries.
    ///
    /// # Errors
    /// The login is not over, or what came behind it must not.
    pub(super) fn into_session(self) -> Result<(S, Vec<u8>), GuardError> {
        if !self.watch.ready {
            return Err(GuardError::NotReady);
        }
        let mut rest = &*self.early;
        while let Some(kind) = rest.first() {
            if !is_unrequested(*kind) && *kind != b'E' {
                return Err(GuardError::AnswerToNothing);
            }
            let Some(length) = rest.get(1..5).and_then(|length| length.try_into().ok()) else {
                break;
            };
            let length = u32::from_be_bytes(length) as usize;
            rest = rest.get(1 + length..).unwrap_or_default();
        }
        Ok((self.inner, self.early))
    }
}

/// The mechanism with channel binding, as the protocol names it.
const SCRAM_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

/// A message of SCRAM that is not here whole yet.
#[derive(Debug)]
struct SaslMessage {
    /// It is the list of mechanisms that the server offers, and not one of its answers.
    lists_mechanisms: bool,
    body: Vec<u8>,
}

/// Follows the framing (PostgreSQL, "Message Formats"): a type byte, a length that counts itself,
/// the body.
#[derive(Debug)]
struct LoginWatch {
    /// Type, length, and the first four bytes of an authentication request.
    header: [u8; 9],
    have: usize,
    /// Bytes of the present message's body that are still to come.
    left: usize,
    rules: AuthRules,
    /// What the server has asked for.
    asked: Option<AuthMethod>,
    /// What has come of a message of SCRAM that is read whole.
    sasl: Option<SaslMessage>,
    /// The server offers SCRAM with channel binding.
    offers_binding: bool,
    /// The client has chosen it.
    bound: bool,
    /// The longest message, in bytes, header included.
    message: usize,
    /// How many bytes may still come.
    room: usize,
    /// The login is over: the server is ready for a query.
    ready: bool,
}

impl LoginWatch {
    fn new(rules: AuthRules, message: usize) -> Self {
        Self {
            header: [0; 9],
            have: 0,
            left: 0,
            rules,
            asked: None,
            sasl: None,
            offers_binding: false,
            bound: false,
            message,
            room: message * ByteLimits::LOGIN_MESSAGES,
            ready: false,
        }
    }

    /// Follows what has come. Returns how much of it is part of the login.
    fn feed(&mut self, all: &[u8]) -> Result<usize, GuardError> {
        let mut bytes = all;
        self.room = self
            .room
            .checked_sub(bytes.len())
            .ok_or(GuardError::LoginTooLong(
                self.message * ByteLimits::LOGIN_MESSAGES,
            ))?;
        while !bytes.is_empty() && !self.ready {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(bytes.len().min(self.left));
                bytes = rest;
                self.left -= part.len();
                if let Some(sasl) = &mut self.sasl {
                    sasl.body.extend_from_slice(part);
                    self.check_sasl()?;
                }
            } else {
                self.header[self.have] = bytes[0];
                self.have += 1;
                bytes = &bytes[1..];
                self.read_header()?;
            }
            self.ready = self.have == 0 && self.left == 0 && self.header[0] == b'Z';
        }
        Ok(all.len() - bytes.len())
    }

    fn read_header(&mut self) -> Result<(), GuardError> {
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
        if authentication {
            // The codes of AuthenticationOk, …CleartextPassword, …MD5Password, …GSS, …SSPI, …SASL;
            // what goes on with one that was asked for before has others.
            let asked = match be(5) {
                0 if self.asked.is_none() => Some(AuthMethod::None),
                3 => Some(AuthMethod::Password),
                5 => Some(AuthMethod::Md5),
                7 => Some(AuthMethod::Gss),
                9 => Some(AuthMethod::Sspi),
                10 => Some(AuthMethod::ScramSha256),
                _ => None,
            };
            // AuthenticationSASL and AuthenticationSASLContinue.
            self.sasl = None;
            if let code @ (10 | 11) = be(5) {
                if body > LARGEST_SASL {
                    let limit = LARGEST_SASL;
                    return Err(GuardError::TooLarge { length, limit });
                }
                self.sasl = Some(SaslMessage {
                    lists_mechanisms: code == 10,
                    body: Vec::new(),
                });
            }
            if let Some(asked) = asked {
                self.rules.check(asked)?;
                self.asked = Some(asked);
            }
        }
        self.left = if authentication { body - 4 } else { body };
        self.have = 0;
        self.check_sasl()
    }

    /// Judges a message of SCRAM once the whole of it has come.
    fn check_sasl(&mut self) -> Result<(), GuardError> {
        if self.left > 0 {
            return Ok(());
        }
        let Some(SaslMessage {
            lists_mechanisms,
            body,
        }) = self.sasl.take()
        else {
            return Ok(());
        };
        if !lists_mechanisms {
            // The server's first answer says how many rounds it wants.
            return match has_too_many_rounds(&body) {
                true => Err(GuardError::TooManyRounds),
                false => Ok(()),
            };
        }
        self.offers_binding = body
            .split(|byte| *byte == 0)
            .any(|mechanism| mechanism == SCRAM_PLUS);
        if !self.offers_binding {
            self.rules.check_binding(ScramBinding::NotOffered)?;
        }
        Ok(())
    }

    /// Looks at what the driver is about to send. Which mechanism it takes depends on the server's
    /// certificate too: SASLInitialResponse begins with its name.
    fn check_sent(&mut self, bytes: &[u8]) -> Result<(), GuardError> {
        if !self.offers_binding || self.bound || bytes.first() != Some(&b'p') {
            return Ok(());
        }
        let name = bytes.get(5..).unwrap_or_default();
        self.bound = name
            .strip_prefix(SCRAM_PLUS)
            .is_some_and(|rest| rest.first() == Some(&0));
        if !self.bound {
            self.rules.check_binding(ScramBinding::NoneForCertificate)?;
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedLogin<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.ready {
            return Poll::Ready(Err(io::Error::other(GuardError::StillHeld)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let part = this
            .watch
            .feed(read)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // Whoever logs in gets no byte that is not of the login: it would be lost with it.
        this.early.extend_from_slice(&read[part..]);
        buf.set_filled(before + part);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedLogin<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Err(error) = this.watch.check_sent(buf) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
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

impl<S: TlsStream + Unpin> TlsStream for GuardedLogin<S> {
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

    fn watch(private: bool) -> LoginWatch {
        let rules = AuthRules {
            private,
            ..AuthRules::default()
        };
        LoginWatch::new(rules, LIMIT)
    }

    #[test]
    fn messages_pass_however_they_are_torn() {
        let mut bytes = message(b'R', &[0, 0, 0, 10, 1, 2, 3]);
        bytes.extend(message(b'1', b""));
        bytes.extend(message(b'S', &[7; 1000]));
        bytes.extend(message(b'Z', b"I"));
        let login = bytes.len();
        bytes.extend(message(b'N', b"\0"));
        for size in 1..bytes.len() {
            let mut watch = watch(false);
            let pieces = bytes.chunks(size);
            let taken: usize = pieces.map(|piece| watch.feed(piece).unwrap()).sum();
            assert_eq!(
                (taken, watch.ready),
                (login, true),
                "torn every {size} bytes"
            );
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
        assert!(watch(true).feed(&message(b'N', &[7; LIMIT - 5])).is_ok());
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
        while watch.feed(&notice).is_ok() {
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
            Err(GuardError::Authentication(AuthRefused::InTheClear))
        );
        assert_eq!(watch(true).feed(&bytes), Ok(bytes.len()));
    }

    #[test]
    fn rounds_of_scram_are_counted_before_they_are_computed() {
        let answer = |rounds: u32| {
            let text = format!("\0\0\0\u{b}r=abc,s=c2FsdA==,i={rounds}");
            message(b'R', text.as_bytes())
        };
        for size in 1..40 {
            let feed = |rounds| {
                let mut watch = watch(true);
                let bytes = answer(rounds);
                bytes
                    .chunks(size)
                    .try_for_each(|piece| watch.feed(piece).map(drop))
            };
            assert_eq!(feed(4096), Ok(()));
            assert_eq!(feed(u32::MAX), Err(GuardError::TooManyRounds));
        }
        let length = LARGEST_SASL + 100;
        let mut long = vec![b'R'];
        long.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        long.extend_from_slice(&[0, 0, 0, 11]);
        let rules = AuthRules {
            private: true,
            ..AuthRules::default()
        };
        let limit = LARGEST_SASL;
        assert_eq!(
            LoginWatch::new(rules, 1 << 20).feed(&long),
            Err(GuardError::TooLarge { length, limit })
        );
    }

    #[test]
    fn what_was_asked_for_is_known_and_ok_without_a_request_is_nothing() {
        for (codes, asked) in [
            (&[0][..], AuthMethod::None),
            (&[5, 0], AuthMethod::Md5),
            (&[10, 11, 12, 0], AuthMethod::ScramSha256),
            (&[7, 8, 0], AuthMethod::Gss),
        ] {
            let mut watch = watch(true);
            for code in codes {
                watch.feed(&message(b'R', &[0, 0, 0, *code])).unwrap();
            }
            assert_eq!(watch.asked, Some(asked));
        }
        let mut known = watch(true);
        known.rules.scram_before = true;
        for code in [0, 3, 5] {
            let refused = known.feed(&message(b'R', &[0, 0, 0, code]));
            assert!(
                matches!(
                    refused,
                    Err(GuardError::Authentication(AuthRefused::LessThanBefore(_)))
                ),
                "{code}"
            );
            (known.have, known.asked) = (0, None);
        }
    }
}
