//! The packets before the first frame: PostgreSQL's own (PostgreSQL, "Message Formats"). Bytes in,
//! bytes out, no socket.

/// Codes in place of a protocol version.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// Protocol 3.0.
const MAJOR: u32 = 3;
/// As PostgreSQL has it, in bytes with the length itself.
const SHORTEST_PACKET: u32 = 8;
const LONGEST_PACKET: u32 = 10_000;
/// An authentication message is not longer.
const LONGEST_MESSAGE: u32 = 8 * 1024;

/// The first packet of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum StartupPacket {
    /// Asks for TLS.
    Tls,
    /// Asks for GSSAPI, which we have not.
    Gss,
    /// Asks for a query to be cancelled, which there is none of.
    Cancel,
    /// The login of a user.
    Login {
        /// Its name.
        user: String,
        /// Options of the protocol that we do not know, or a newer minor version: to be answered
        /// with [`negotiate`].
        unknown: Option<Vec<String>>,
    },
}

/// What is wrong with a packet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error(
        "a startup packet has 8 to 10,000 bytes, not {0}; check that the client speaks \
         PostgreSQL's protocol"
    )]
    Length(u32),
    #[error("protocol {0}.{1} is not supported; use 3.0")]
    Version(u32, u32),
    #[error("the startup packet is malformed")]
    Malformed,
    #[error("the startup packet names no user")]
    NoUser,
    #[error("expected a login message, not one of type {0:?}")]
    Kind(char),
    #[error("a login message has 4 to 8,192 bytes, not {0}")]
    MessageLength(u32),
}

/// How many bytes follow the length of a startup packet.
///
/// # Errors
/// [`PacketError::Length`].
pub fn packet_length(head: [u8; 4]) -> Result<usize, PacketError> {
    let length = u32::from_be_bytes(head);
    match (SHORTEST_PACKET..=LONGEST_PACKET).contains(&length) {
        true => Ok(length as usize - 4),
        false => Err(PacketError::Length(length)),
    }
}

/// Reads what follows the length.
///
/// # Errors
/// [`PacketError`].
pub fn startup(body: &[u8]) -> Result<StartupPacket, PacketError> {
    let (code, rest) = body
        .split_first_chunk::<4>()
        .ok_or(PacketError::Malformed)?;
    let code = u32::from_be_bytes(*code);
    let bare = match code {
        SSL_REQUEST => Some(StartupPacket::Tls),
        GSS_REQUEST => Some(StartupPacket::Gss),
        CANCEL_REQUEST => return Ok(StartupPacket::Cancel),
        _ => None,
    };
    if let Some(request) = bare {
        return rest
            .is_empty()
            .then_some(request)
            .ok_or(PacketError::Malformed);
    }
    let (major, minor) = (code >> 16, code & 0xffff);
    if major != MAJOR {
        return Err(PacketError::Version(major, minor));
    }
    let rest = rest.strip_suffix(&[0]).ok_or(PacketError::Malformed)?;
    let mut user = None;
    let mut unknown = Vec::new();
    // Each text ends with a zero byte; after the last pair stands one more.
    let mut texts = rest.split(|&byte| byte == 0);
    loop {
        let name = texts.next().ok_or(PacketError::Malformed)?;
        if name.is_empty() {
            break;
        }
        let value = texts.next().ok_or(PacketError::Malformed)?;
        if name == b"user" {
            let name = std::str::from_utf8(value).map_err(|_| PacketError::Malformed)?;
            user = Some(name.to_owned());
        } else if name.starts_with(b"_pq_.") {
            unknown.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    if texts.next().is_some() {
        return Err(PacketError::Malformed);
    }
    let user = user
        .filter(|user| !user.is_empty())
        .ok_or(PacketError::NoUser)?;
    let newer = minor > 0 || !unknown.is_empty();
    Ok(StartupPacket::Login {
        user,
        unknown: newer.then_some(unknown),
    })
}

/// How long the body of a message of the login is.
///
/// # Errors
/// [`PacketError::Kind`], [`PacketError::MessageLength`].
pub fn message_length(head: [u8; 5]) -> Result<usize, PacketError> {
    let [kind, length @ ..] = head;
    if kind != b'p' {
        return Err(PacketError::Kind(char::from(kind)));
    }
    let length = u32::from_be_bytes(length);
    match (4..=LONGEST_MESSAGE).contains(&length) {
        true => Ok(length as usize - 4),
        false => Err(PacketError::MessageLength(length)),
    }
}

/// Mechanism and message of a SASLInitialResponse.
///
/// # Errors
/// [`PacketError::Malformed`].
pub fn sasl_initial(body: &[u8]) -> Result<(&str, &[u8]), PacketError> {
    let end = body
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(PacketError::Malformed)?;
    let mechanism = std::str::from_utf8(&body[..end]).map_err(|_| PacketError::Malformed)?;
    let (length, message) = body[end + 1..]
        .split_first_chunk::<4>()
        .ok_or(PacketError::Malformed)?;
    match usize::try_from(u32::from_be_bytes(*length)) == Ok(message.len()) {
        true => Ok((mechanism, message)),
        false => Err(PacketError::Malformed),
    }
}

/// AuthenticationSASL with these mechanisms.
pub fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut body = 10_u32.to_be_bytes().to_vec();
    for mechanism in mechanisms {
        body.extend_from_slice(mechanism.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(b'R', &body)
}

/// AuthenticationSASLContinue.
pub fn sasl_continue(data: &str) -> Vec<u8> {
    message(b'R', &[&11_u32.to_be_bytes(), data.as_bytes()].concat())
}

/// AuthenticationSASLFinal and AuthenticationOk.
pub fn login_complete(data: &str) -> Vec<u8> {
    let last = message(b'R', &[&12_u32.to_be_bytes(), data.as_bytes()].concat());
    [last, message(b'R', &0_u32.to_be_bytes())].concat()
}

/// NegotiateProtocolVersion: 3.0, and none of these options.
pub fn negotiate(unknown: &[String]) -> Vec<u8> {
    let mut body = 0_u32.to_be_bytes().to_vec();
    body.extend_from_slice(
        &u32::try_from(unknown.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    for option in unknown {
        body.extend_from_slice(option.as_bytes());
        body.push(0);
    }
    message(b'v', &body)
}

/// ErrorResponse that ends the connection. `code` is a SQLSTATE.
pub fn fatal(code: &str, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', text)] {
        body.push(field);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(b'E', &body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::message::{backend, frontend};

    use super::*;

    fn packet(build: impl Fn(&mut BytesMut)) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        build(&mut bytes);
        let length = packet_length(bytes[..4].try_into().unwrap()).unwrap();
        assert_eq!(length, bytes.len() - 4);
        bytes[4..].to_vec()
    }

    #[test]
    fn the_packets_of_a_client_are_understood() {
        let login = packet(|out| {
            let parameters = [("user", "anna"), ("database", "admin"), ("empty", "")];
            frontend::startup_message(parameters, out).unwrap();
        });
        let user = "anna".to_owned();
        assert_eq!(
            startup(&login),
            Ok(StartupPacket::Login {
                user,
                unknown: None
            })
        );
        assert_eq!(
            startup(&packet(frontend::ssl_request)),
            Ok(StartupPacket::Tls)
        );
        let cancel = packet(|out| frontend::cancel_request(1, 2, out));
        assert_eq!(startup(&cancel), Ok(StartupPacket::Cancel));
        for torn in 0..login.len() {
            assert!(startup(&login[..torn]).is_err(), "{torn}");
        }
        let nobody = packet(|out| frontend::startup_message([("x", "y")], out).unwrap());
        assert_eq!(startup(&nobody), Err(PacketError::NoUser));
        assert_eq!(startup(&[0, 2, 0, 0, 0]), Err(PacketError::Version(2, 0)));
        for length in [0_u32, 7, 10_001, u32::MAX] {
            assert!(packet_length(length.to_be_bytes()).is_err());
        }
    }

    #[test]
    fn a_newer_minor_version_and_unknown_options_are_negotiated() {
        let mut body = vec![0, 3, 0, 2];
        body.extend_from_slice(b"user\0anna\0_pq_.new\0on\0\0");
        let Ok(StartupPacket::Login {
            unknown: Some(unknown),
            ..
        }) = startup(&body)
        else {
            panic!("not understood");
        };
        assert_eq!(unknown, ["_pq_.new"]);
        let answer = negotiate(&unknown);
        assert_eq!(&answer[..1], b"v");
        assert_eq!(answer[1..5], 21_u32.to_be_bytes());
    }

    #[test]
    fn a_client_understands_what_we_say() {
        let read = |bytes: &[u8]| {
            let mut bytes = BytesMut::from(bytes);
            let message = backend::Message::parse(&mut bytes).unwrap().unwrap();
            assert!(bytes.is_empty());
            message
        };
        let backend::Message::AuthenticationSasl(body) = read(&sasl(&["A", "B"])) else {
            panic!("no offer");
        };
        let mut offered = Vec::new();
        let mut mechanisms = body.mechanisms();
        while let Ok(Some(one)) = fallible_iterator::FallibleIterator::next(&mut mechanisms) {
            offered.push(one.to_owned());
        }
        assert_eq!(offered, ["A", "B"]);
        assert!(matches!(
            read(&sasl_continue("r=x")),
            backend::Message::AuthenticationSaslContinue(body) if body.data() == b"r=x"
        ));
        assert!(matches!(
            read(&fatal("28P01", "no")),
            backend::Message::ErrorResponse(_)
        ));
        let mut both = BytesMut::from(&login_complete("v=x")[..]);
        assert!(matches!(
            backend::Message::parse(&mut both).unwrap(),
            Some(backend::Message::AuthenticationSaslFinal(body)) if body.data() == b"v=x"
        ));
        assert!(matches!(
            backend::Message::parse(&mut both).unwrap(),
            Some(backend::Message::AuthenticationOk)
        ));
    }

    #[test]
    fn a_response_is_read_whole_or_not() {
        let mut bytes = BytesMut::new();
        frontend::sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x", &mut bytes).unwrap();
        let length = message_length(bytes[..5].try_into().unwrap()).unwrap();
        let body = &bytes[5..];
        assert_eq!(length, body.len());
        assert_eq!(sasl_initial(body), Ok(("SCRAM-SHA-256", &b"n,,n=,r=x"[..])));
        for torn in 0..body.len() {
            assert!(sasl_initial(&body[..torn]).is_err());
        }
        assert!(message_length(*b"Q\0\0\0\x08").is_err());
        assert!(message_length(*b"p\0\x01\0\0").is_err());
    }
}
