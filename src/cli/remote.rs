//! The connection to an exporter's management port: TLS where it is to be had, and the login.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::error::CliError;
use super::stream::{PATIENCE, SyncStream};
use crate::security::tls::{ClientTls, TlsMode, explain_tls, server_end_point};
use crate::security::{Environment, Secret, has_too_many_rounds};
use crate::text::peer_text;

/// How long to wait for an address to answer.
const CONNECT: Duration = Duration::from_secs(10);
/// Where the C program keeps them, below the home directory.
const FOLDER: &str = ".pgexporter";

/// A connection with TLS or without, and what its login can be bound to.
type SecuredStream = (Box<dyn SyncStream>, Option<Vec<u8>>);

/// Whose exporter, and who asks.
#[derive(Clone, Debug)]
pub(super) struct RemoteLogin {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
}

impl RemoteLogin {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Nobody answers, it is not to be trusted, or it does not let us in.
    pub(super) fn connect(&self) -> Result<Box<dyn SyncStream>, CliError> {
        let place = format!("{}:{}", self.host, self.port);
        let no = |why: String| CliError::NoAccess(format!("{place}: {why}"));
        let stream = self.open_tcp().map_err(|error| no(error.to_string()))?;
        let (mut stream, binding) = self.start_tls(stream).map_err(no)?;
        self.login(&mut *stream, binding).map_err(no)?;
        Ok(stream)
    }

    fn open_tcp(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// TLS when the exporter has it. With a `root.crt` it must, and its certificate must be right.
    fn start_tls(&self, mut stream: TcpStream) -> Result<SecuredStream, String> {
        let tls = load_tls_files()?;
        let strict = tls.mode == TlsMode::VerifyFull;
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        let mut answer = [0];
        let asked = stream
            .write_all(&request)
            .and_then(|()| stream.read_exact(&mut answer));
        asked.map_err(|error| format!("no answer from an exporter: {error}"))?;
        match answer[0] {
            b'S' => {}
            b'N' if strict => {
                return Err(format!(
                    "the exporter does not use TLS, but ~/{FOLDER}/root.crt requires it; set tls = \
                     on in its configuration, or move that file away"
                ));
            }
            b'N' => return Ok((Box::new(stream), None)),
            _ => return Err("this is not the management port of a pgexporter".to_owned()),
        }
        let config = tls.config().map_err(|error| error.to_string())?;
        let config = config.ok_or("TLS is switched off")?;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| format!("'{}' is not a name that a certificate can have", self.host))?;
        let mut connection =
            ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut stream)
                .map_err(|error| match explain_tls(&error) {
                    Some(why) => why,
                    None => format!("the TLS handshake failed: {error}"),
                })?;
        }
        let binding = connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(server_end_point);
        Ok((Box::new(StreamOwned::new(connection, stream)), binding))
    }

    fn login(&self, stream: &mut dyn SyncStream, binding: Option<Vec<u8>>) -> Result<(), String> {
        let mut out = BytesMut::new();
        let parameters = [("user", self.user.as_str()), ("database", "admin")];
        frontend::startup_message(parameters, &mut out).map_err(|error| error.to_string())?;
        let mut talk = MessageStream {
            stream,
            inbox: BytesMut::new(),
        };
        talk.send(&out)?;
        let Message::AuthenticationSasl(offer) = talk.next()? else {
            return Err("the exporter asks for a login method other than SCRAM".to_owned());
        };
        let offered: Vec<String> = offer
            .mechanisms()
            .map(|one| Ok(one.to_owned()))
            .collect()
            .map_err(|error: io::Error| error.to_string())?;
        let has = |name: &str| offered.iter().any(|one| one == name);
        let (mechanism, binding) = match (binding, has(SCRAM_SHA_256_PLUS)) {
            (Some(data), true) => {
                let binding = ChannelBinding::tls_server_end_point(data);
                (SCRAM_SHA_256_PLUS, binding)
            }
            // Told to the server, who knows what it offered.
            (Some(_), false) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            (None, _) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        };
        if !has(mechanism) {
            return Err("the exporter does not offer SCRAM-SHA-256".to_owned());
        }
        let mut scram = ScramSha256::new(self.password.expose().as_bytes(), binding);
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut out)
            .map_err(|error| error.to_string())?;
        talk.send(&out)?;
        let Message::AuthenticationSaslContinue(first) = talk.next()? else {
            return Err(out_of_step());
        };
        if has_too_many_rounds(first.data()) {
            return Err("the exporter asks for too many SCRAM iterations".to_owned());
        }
        scram
            .update(first.data())
            .map_err(|error| error.to_string())?;
        let mut out = BytesMut::new();
        frontend::sasl_response(scram.message(), &mut out).map_err(|error| error.to_string())?;
        talk.send(&out)?;
        let Message::AuthenticationSaslFinal(last) = talk.next()? else {
            return Err(out_of_step());
        };
        scram.finish(last.data()).map_err(|_| {
            "the exporter could not prove that it knows the password; check that this is the right \
             exporter"
                .to_owned()
        })?;
        match talk.next()? {
            Message::AuthenticationOk if talk.inbox.is_empty() => Ok(()),
            _ => Err(out_of_step()),
        }
    }
}

fn out_of_step() -> String {
    "the exporter does not follow the login protocol".to_owned()
}

/// The files of the C program: authority, certificate and key.
fn load_tls_files() -> Result<ClientTls, String> {
    let folder = Environment::of_process().home.map(|home| home.join(FOLDER));
    let there = |name: &str| -> Option<PathBuf> {
        folder
            .as_ref()
            .map(|folder| folder.join(name))
            .filter(|path| path.exists())
    };
    let root = there("root.crt");
    let mode = match root {
        Some(_) => TlsMode::VerifyFull,
        None => TlsMode::Prefer,
    };
    let (certificate, key) = (there("pgexporter.crt"), there("pgexporter.key"));
    ClientTls::from_files(
        mode,
        root.as_deref(),
        certificate.as_deref(),
        key.as_deref(),
    )
    .map_err(|error| error.to_string())
}

/// Messages over a stream.
struct MessageStream<'a> {
    stream: &'a mut dyn SyncStream,
    inbox: BytesMut,
}

impl MessageStream<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
        sent.map_err(|error| format!("the connection broke: {error}"))
    }

    /// The next message, but none that only informs.
    fn next(&mut self) -> Result<Message, String> {
        loop {
            let message = Message::parse(&mut self.inbox).map_err(|_| out_of_step())?;
            match message {
                Some(Message::ErrorResponse(body)) => return Err(error_message(&body)),
                Some(Message::NoticeResponse(_)) => {}
                Some(message) => return Ok(message),
                None => self.read_rest()?,
            }
        }
    }

    /// Reads the rest of the message that has begun, and no more.
    fn read_rest(&mut self) -> Result<(), String> {
        let wanted = match self.inbox.get(..5) {
            Some(head) => {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if length > 64 * 1024 {
                    return Err(out_of_step());
                }
                (length + 1).saturating_sub(self.inbox.len())
            }
            None => 5 - self.inbox.len(),
        };
        let mut bytes = vec![0; wanted.max(1)];
        self.stream
            .read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    "the exporter closed the connection; its log says why".to_owned()
                }
                _ => format!("the connection broke: {error}"),
            })?;
        self.inbox.extend_from_slice(&bytes);
        Ok(())
    }
}

fn error_message(body: &ErrorResponseBody) -> String {
    let text = |kind: u8| {
        let fields = body.fields().filter(|field| Ok(field.type_() == kind));
        let found =
            fields.map(|field| Ok(String::from_utf8_lossy(field.value_bytes()).into_owned()));
        found
            .collect::<Vec<_>>()
            .unwrap_or_default()
            .into_iter()
            .next()
    };
    text(b'M').map_or_else(
        || "refused, without a reason".to_owned(),
        |message| peer_text(&message),
    )
}
