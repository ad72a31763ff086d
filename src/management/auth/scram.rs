//! The server's side of a SCRAM-SHA-256 exchange (RFC 5802, RFC 7677; PostgreSQL, "SASL
//! Authentication"): messages in, messages out, no socket.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::security::{SCRAM_KEY, ScramVerifier};

/// Without channel binding.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// With it.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The one kind of channel binding that there is for all versions of TLS.
const BINDING: &str = "tls-server-end-point";
/// The longest message that is read, in bytes; those of clients are far shorter.
const LONGEST: usize = 4096;

/// Why an exchange ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The client does not follow the standard.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The password is wrong, or there is no such user.
    #[error("password authentication failed")]
    Refused,
}

/// What is offered to a client.
#[derive(Clone, Debug)]
pub struct ScramOffer {
    /// The channel binding of the connection, where there is one.
    pub binding: Option<Arc<[u8]>>,
}

impl ScramOffer {
    /// The mechanisms, the best first.
    pub fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            Some(_) => &[PLUS, PLAIN],
            None => &[PLAIN],
        }
    }

    /// Takes the client's first message; returns the server's. `nonce` is the server's part: 18
    /// random bytes in base64.
    ///
    /// # Errors
    /// [`ScramError::Malformed`].
    pub fn begin_exchange(
        &self,
        mechanism: &str,
        message: &[u8],
        verifier: ScramVerifier,
        nonce: &str,
    ) -> Result<(ScramExchange, String), ScramError> {
        if !self.mechanisms().contains(&mechanism) {
            return Err(ScramError::Malformed("a mechanism that was not offered"));
        }
        let message = decode_text(message)?;
        let (flag, rest) = split_field(message, "no channel binding flag")?;
        let bound = match flag {
            "n" => None,
            // The client supports channel binding and believes that we do not: somebody between us
            // removed the mechanism from our offer.
            "y" if self.binding.is_some() => {
                return Err(ScramError::Malformed(
                    "channel binding was offered, and not taken",
                ));
            }
            "y" => None,
            flag => {
                let name = flag.strip_prefix("p=");
                let name = name.ok_or(ScramError::Malformed("no channel binding flag"))?;
                if name != BINDING {
                    return Err(ScramError::Malformed("an unknown kind of channel binding"));
                }
                self.binding.clone()
            }
        };
        if (mechanism == PLUS) != bound.is_some() {
            return Err(ScramError::Malformed(
                "the flag does not go with the mechanism",
            ));
        }
        let (authzid, bare) = split_field(rest, "no user's name")?;
        if !authzid.is_empty() {
            return Err(ScramError::Malformed("nobody may act for another"));
        }
        let header = &message[..message.len() - bare.len()];
        let (user, rest) = split_field(bare, "no nonce")?;
        if user.starts_with("m=") {
            return Err(ScramError::Malformed("an extension that is not supported"));
        }
        // The name counts that came with the startup message.
        if !user.starts_with("n=") {
            return Err(ScramError::Malformed("no user's name"));
        }
        let client = rest
            .split(',')
            .next()
            .and_then(|one| one.strip_prefix("r="));
        let client = client.ok_or(ScramError::Malformed("no nonce"))?;
        let printable = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if client.is_empty() || !client.bytes().all(printable) {
            return Err(ScramError::Malformed("a nonce that is not printable"));
        }
        let nonce = format!("{client}{nonce}");
        let first = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(verifier.salt()),
            verifier.iterations()
        );
        let mut expected = header.as_bytes().to_vec();
        expected.extend_from_slice(bound.as_deref().unwrap_or_default());
        let exchange = ScramExchange {
            spoken: format!("{bare},{first},"),
            expected: STANDARD.encode(expected),
            nonce,
            verifier,
        };
        Ok((exchange, first))
    }
}

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub struct ScramExchange {
    /// What was said, as far as it is proven.
    spoken: String,
    /// `c=` of the client's message.
    expected: String,
    nonce: String,
    verifier: ScramVerifier,
}

impl ScramExchange {
    /// Takes the client's last message; returns the server's.
    ///
    /// # Errors
    /// [`ScramError`].
    pub fn finish(self, message: &[u8]) -> Result<String, ScramError> {
        let message = decode_text(message)?;
        let (rest, proof) = message
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("no proof"))?;
        let (binding, rest_of_it) = split_field(rest, "no nonce")?;
        let binding = binding.strip_prefix("c=");
        let nonce = rest_of_it
            .split(',')
            .next()
            .and_then(|one| one.strip_prefix("r="));
        let proof = STANDARD.decode(proof).ok();
        let proof: Option<[u8; SCRAM_KEY]> = proof.and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or(ScramError::Malformed("a proof of the wrong form"))?;
        if nonce != Some(&self.nonce) {
            return Err(ScramError::Malformed("another nonce"));
        }
        let spoken = format!("{}{rest}", self.spoken);
        let fits = self.verifier.accepts(&proof, spoken.as_bytes());
        let signature = self.verifier.server_signature(spoken.as_bytes());
        // A wrong channel binding has the same message as a wrong password, so that somebody between
        // client and server does not learn which of them failed.
        if !fits || binding != Some(&self.expected) {
            return Err(ScramError::Refused);
        }
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}

fn decode_text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > LONGEST || message.contains(&0) {
        return Err(ScramError::Malformed("too long, or a zero byte"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

fn split_field<'a>(text: &'a str, problem: &'static str) -> Result<(&'a str, &'a str), ScramError> {
    text.split_once(',').ok_or(ScramError::Malformed(problem))
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;
    use crate::security::Secret;

    /// RFC 7677, section 3.
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> ScramVerifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramVerifier::new(&Secret::new("pencil".to_owned()), salt, 4096)
    }

    fn offer(binding: Option<&[u8]>) -> ScramOffer {
        ScramOffer {
            binding: binding.map(Arc::from),
        }
    }

    #[test]
    fn the_standards_conversation_is_held_word_for_word() {
        let (exchange, first) = offer(None)
            .begin_exchange(PLAIN, FIRST.as_bytes(), pencil(), SERVER_NONCE)
            .unwrap();
        assert_eq!(
            first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = exchange.finish(LAST.as_bytes()).unwrap();
        assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn messages_that_are_torn_or_bent_are_refused() {
        let begin = |mechanism: &str, message: &str, binding: Option<&[u8]>| {
            let begun = offer(binding).begin_exchange(mechanism, message.as_bytes(), pencil(), "n");
            begun.map(|_| ()).unwrap_err()
        };
        for end in 0..FIRST.len() - 20 {
            begin(PLAIN, &FIRST[..end], None);
        }
        let first = "n=user,r=abc";
        let cases = [
            (PLUS, format!("p=tls-server-end-point,,{first}"), false),
            (PLUS, format!("n,,{first}"), true),
            (PLAIN, format!("p=tls-server-end-point,,{first}"), true),
            (PLAIN, format!("y,,{first}"), true),
            (PLUS, format!("p=tls-unique,,{first}"), true),
            (PLAIN, format!("n,a=other,{first}"), false),
            (PLAIN, format!("n,,m=x,{first}"), false),
            (PLAIN, "n,,n=user,r=a\u{e9}b".to_owned(), false),
            (PLAIN, format!("n,,{first}\0"), false),
            (PLAIN, format!("n,,n=user,r={}", "a".repeat(5000)), false),
            ("SCRAM-SHA-1", format!("n,,{first}"), false),
        ];
        for (mechanism, message, bound) in cases {
            let error = begin(mechanism, &message, bound.then_some(b"binding"));
            assert!(matches!(error, ScramError::Malformed(_)), "{message}");
        }
        let end = |message: &str| {
            let (exchange, _) = offer(None)
                .begin_exchange(PLAIN, FIRST.as_bytes(), pencil(), SERVER_NONCE)
                .unwrap();
            exchange.finish(message.as_bytes()).unwrap_err()
        };
        for torn in 0..LAST.len() {
            end(&LAST[..torn]);
        }
        assert_eq!(end(&LAST.replace("p=dH", "p=DH")), ScramError::Refused);
        assert_eq!(end(&LAST.replace("biws", "eSws")), ScramError::Refused);
        let error = end(&LAST.replace("k0,p", "k1,p"));
        assert_eq!(error, ScramError::Malformed("another nonce"));
    }

    #[test]
    fn a_client_of_the_library_gets_in_with_and_without_binding_and_a_changed_one_does_not() {
        let hold = |mechanism, client: ChannelBinding, binding: Option<&[u8]>, password: &[u8]| {
            let mut client = ScramSha256::new(password, client);
            let (exchange, first) = offer(binding).begin_exchange(
                mechanism,
                client.message(),
                pencil(),
                "MTIzNDU2Nzg5MDEy",
            )?;
            client.update(first.as_bytes()).unwrap();
            let last = exchange.finish(client.message())?;
            client.finish(last.as_bytes()).unwrap();
            Ok::<_, ScramError>(())
        };
        let bound = |data: &[u8]| ChannelBinding::tls_server_end_point(data.to_vec());
        let data = Some(&b"hash"[..]);
        hold(PLAIN, ChannelBinding::unsupported(), None, b"pencil").unwrap();
        hold(PLAIN, ChannelBinding::unsupported(), data, b"pencil").unwrap();
        hold(PLUS, bound(b"hash"), data, b"pencil").unwrap();
        let refused = Err(ScramError::Refused);
        assert_eq!(hold(PLUS, bound(b"other"), data, b"pencil"), refused);
        assert_eq!(
            hold(PLAIN, ChannelBinding::unsupported(), None, b"pen"),
            refused
        );
        // Somebody between who took the offer away is noticed.
        let down = hold(PLAIN, ChannelBinding::unrequested(), data, b"pencil");
        assert!(matches!(down, Err(ScramError::Malformed(_))));
        hold(PLAIN, ChannelBinding::unrequested(), None, b"pencil").unwrap();
    }
}
