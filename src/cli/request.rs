//! Sends one command to an exporter, and reads the answer.

use std::io::{self, ErrorKind};

use serde_json::{Value, json};

use super::arguments::{CliOptions, OutputFormat};
use super::error::CliError;
use super::local_time;
use super::progress::ProgressLine;
use super::stream::SyncStream;
use super::transport::AdminTransport;
use crate::management::document::{JsonObject, VERSION, request_document};
use crate::management::wire::codec::{pack, unpack_answer};
use crate::management::wire::frame::{self, Framing, PLAIN};
use crate::management::{AdminCommand, Compression, Encryption};
use crate::security::{Environment, Vault};
use crate::text::escaped;

/// The longest answer that is read. That of an exporter with 10,000 servers has some 10 MB.
pub(super) const LONGEST: usize = 64 << 20;

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct AdminAnswer {
    /// As it came, unpacked.
    pub raw: Vec<u8>,
    /// As it is read, with our own header.
    pub document: JsonObject,
}

impl AdminAnswer {
    /// Whether the exporter did it.
    pub(super) fn is_good(&self) -> bool {
        self.document["Outcome"]["Status"] == json!(true)
    }

    /// The object `Response`.
    pub(super) fn response(&self) -> &JsonObject {
        static EMPTY: std::sync::LazyLock<JsonObject> = std::sync::LazyLock::new(JsonObject::new);
        match self.document.get("Response") {
            Some(Value::Object(response)) => response,
            _ => &EMPTY,
        }
    }

    /// The exporter's words for what is wrong.
    pub(super) fn message(&self) -> String {
        match self.response().get("Message") {
            Some(Value::String(message)) => escaped(message).into_owned(),
            _ => match &self.document["Outcome"]["Error"] {
                Value::Number(error) => format!("the exporter answered with error {error}"),
                _ => "the exporter's answer contains no outcome".to_owned(),
            },
        }
    }
}

/// Sends a command and reads its answer.
///
/// # Errors
/// Nobody answers, we are not let in, or what comes is no answer.
pub(super) fn send_command(
    options: &CliOptions,
    endpoint: &AdminTransport,
    command: &AdminCommand,
) -> Result<AdminAnswer, CliError> {
    let (compression, encryption) = (options.compress.method(), options.encrypt.method());
    let header = build_header(options.format, command, compression, encryption);
    let vault = Vault::new(Environment::of_process().home.as_deref());
    let plain = (compression, encryption) == (Compression::None, Encryption::None);
    let request = if plain {
        let request = command.request();
        let payload = match request.is_empty() {
            true => Vec::new(),
            false => Value::Object(request).to_string().into_bytes(),
        };
        frame::frame(Framing::Id(command.verb().id()), &payload)
    } else {
        let document = request_document(command, &header);
        let packed = pack(&document, compression, encryption, &vault)
            .map_err(|error| CliError::NoAccess(error.to_string()))?;
        frame::frame(Framing::Json(compression, encryption), &packed)
    };
    let mut stream = endpoint.connect()?;
    let waiting = ProgressLine::show(command.verb().name());
    let answer = send_and_receive(&mut *stream, &request);
    drop(waiting);
    let (framing, bytes) = answer.map_err(|error| explain_io_error(&error))?;
    let raw = match framing {
        Framing::Json(compression, encryption) if framing != PLAIN => {
            unpack_answer(&bytes, compression, encryption, &vault, LONGEST)
                .map_err(|error| CliError::NoAccess(format!("the answer: {error}")))?
        }
        _ => bytes,
    };
    parse_document(raw, header)
}

/// The answer that another command line printed with `-F raw`, with a header of our own.
///
/// # Errors
/// It is none.
pub(super) fn parse_answer(
    format: Option<OutputFormat>,
    command: &AdminCommand,
    raw: Vec<u8>,
) -> Result<AdminAnswer, CliError> {
    let header = build_header(format, command, Compression::None, Encryption::None);
    parse_document(raw, header)
}

fn parse_document(raw: Vec<u8>, header: JsonObject) -> Result<AdminAnswer, CliError> {
    match serde_json::from_slice(&raw) {
        Ok(Value::Object(mut document)) => {
            document.insert("Header".to_owned(), Value::Object(header));
            Ok(AdminAnswer { raw, document })
        }
        _ => Err(CliError::NoAccess(
            "the answer does not come from a pgexporter; check which program listens there"
                .to_owned(),
        )),
    }
}

fn build_header(
    format: Option<OutputFormat>,
    command: &AdminCommand,
    compression: Compression,
    encryption: Encryption,
) -> JsonObject {
    let now = local_time::local_time()
        .strftime("%Y%m%d%H%M%S")
        .to_string();
    let output = match format {
        Some(OutputFormat::Json) => 1,
        Some(OutputFormat::Raw) => 2,
        _ => 0,
    };
    let pairs = [
        ("Command", json!(command.verb().number())),
        ("ClientVersion", json!(VERSION)),
        ("Output", json!(output)),
        ("Timestamp", json!(now)),
        ("Compression", json!(compression.byte())),
        ("Encryption", json!(encryption.byte())),
    ];
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn send_and_receive(stream: &mut dyn SyncStream, request: &[u8]) -> io::Result<(Framing, Vec<u8>)> {
    // A server that rejects a request may answer and close before it has read all of it; so the
    // answer is read even when the write failed.
    let written = stream.write_all(request).and_then(|()| stream.flush());
    let read = read_answer(stream);
    match (written, read) {
        (Err(error), Err(_)) => Err(error),
        (_, read) => read,
    }
}

fn read_answer(stream: &mut dyn SyncStream) -> io::Result<(Framing, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut step = [0; 16 * 1024];
    loop {
        let head = frame::head_of_answer(&bytes, LONGEST)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if let Some(head) = head
            && bytes.len() >= head.size + head.length
        {
            bytes.truncate(head.size + head.length);
            bytes.drain(..head.size);
            return Ok((head.framing, bytes));
        }
        match stream.read(&mut step) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes.extend_from_slice(&step[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn explain_io_error(error: &io::Error) -> CliError {
    CliError::NoAccess(match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            "the exporter closed the connection without an answer; its log says why".to_owned()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "the exporter did not answer in time".to_owned()
        }
        _ => format!("no answer: {error}"),
    })
}
