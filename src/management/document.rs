//! Documents: requests and responses as JSON.
//!
//! ```text
//! {"Header": {…}, "Request": {…}}                                        in
//! {"Header": {…}, "Request": {…}, "Response": {…}, "Outcome": {…}}       out
//! ```

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::commands::{AdminCommand, AdminVerb};
use super::wire::frame::Framing;

/// An object of JSON. Its keys are sorted.
pub type JsonObject = Map<String, Value>;

/// The version that stands in responses.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Error numbers of an outcome. Those up to 1109 are the C program's.
pub mod errors {
    /// The frame or the document is wrong.
    pub const BAD_PAYLOAD: u32 = 1;
    /// There is no such command.
    pub const UNKNOWN_COMMAND: u32 = 2;
    /// The exporter could not do it.
    pub const FAILED: u32 = 3;
    /// Not over this listener.
    pub const NOT_HERE: u32 = 4;
    /// `conf get`: there is no such key.
    pub const CONF_GET: u32 = 1002;
    /// `conf set`: key or value is missing.
    pub const CONF_SET_MISSING: u32 = 1102;
    /// `conf set`: there is no such key.
    pub const CONF_SET_UNKNOWN_KEY: u32 = 1104;
    /// `conf set`: there is no such server.
    pub const CONF_SET_UNKNOWN_SERVER: u32 = 1105;
    /// `conf set`: it could not be done, though the value is good.
    pub const CONF_SET_FAILED: u32 = 1107;
    /// `conf set`: the value waits for a restart.
    pub const CONF_SET_RESTART: u32 = 1108;
    /// `conf set`: the value is not allowed.
    pub const CONF_SET_INVALID: u32 = 1109;
    /// `conf reload`: something is wrong with the files.
    pub const RELOAD: u32 = 1200;
    /// `check`: something is wrong.
    pub const CHECK: u32 = 1400;
    /// `scrape`: there is no such server, or it did not answer everything.
    pub const SCRAPE: u32 = 1500;
}

/// A request that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminRequest {
    /// What is asked.
    pub command: AdminCommand,
    /// Its header, for the response to repeat.
    pub header: JsonObject,
    /// Its object `Request`, for the response to repeat.
    pub request: JsonObject,
}

/// A request that could not, with what of it the response may repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidRequest {
    /// The error number.
    pub error: u32,
    /// What is wrong and what to do.
    pub message: String,
    /// The header, as far as there was one.
    pub header: JsonObject,
}

impl InvalidRequest {
    fn payload(message: impl Into<String>, header: JsonObject) -> Self {
        Self {
            error: errors::BAD_PAYLOAD,
            message: message.into(),
            header,
        }
    }
}

/// Reads the document of a frame.
///
/// # Errors
/// It is no JSON, not of the right shape, or names no command.
pub fn parse_request(framing: Framing, document: &[u8]) -> Result<AdminRequest, InvalidRequest> {
    match framing {
        Framing::Id(id) => by_id(id, document),
        Framing::Json(..) => by_header(document),
    }
}

fn by_id(id: u8, document: &[u8]) -> Result<AdminRequest, InvalidRequest> {
    let header =
        |number: Option<u64>| JsonObject::from_iter([("Command".to_owned(), json!(number))]);
    let Some(verb) = AdminVerb::from_id(id) else {
        return Err(InvalidRequest {
            error: errors::UNKNOWN_COMMAND,
            message: format!("there is no command with the id {id}"),
            header: header(None),
        });
    };
    let header = header(Some(verb.number()));
    let request = match document {
        [] => JsonObject::new(),
        document => {
            object(document).map_err(|message| InvalidRequest::payload(message, header.clone()))?
        }
    };
    finish(verb, header, request)
}

fn by_header(document: &[u8]) -> Result<AdminRequest, InvalidRequest> {
    let mut document =
        object(document).map_err(|message| InvalidRequest::payload(message, JsonObject::new()))?;
    let mut take = |name: &str| match document.remove(name) {
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(format!("{name} is not an object")),
        None => Err(format!("{name} is missing")),
    };
    let header =
        take("Header").map_err(|message| InvalidRequest::payload(message, JsonObject::new()))?;
    let request = match take("Request") {
        Ok(request) => request,
        Err(message) => return Err(InvalidRequest::payload(message, header)),
    };
    let Some(number) = header.get("Command").and_then(Value::as_u64) else {
        return Err(InvalidRequest::payload(
            "Header.Command is not a number",
            header,
        ));
    };
    match AdminVerb::from_number(number) {
        Some(verb) => finish(verb, header, request),
        None => Err(InvalidRequest {
            error: errors::UNKNOWN_COMMAND,
            message: format!("there is no command {number}"),
            header,
        }),
    }
}

fn finish(
    verb: AdminVerb,
    header: JsonObject,
    request: JsonObject,
) -> Result<AdminRequest, InvalidRequest> {
    match AdminCommand::new(verb, &request) {
        Ok(command) => Ok(AdminRequest {
            command,
            header,
            request,
        }),
        Err(missing) => Err(InvalidRequest {
            error: match verb {
                AdminVerb::ConfSet => errors::CONF_SET_MISSING,
                _ => errors::BAD_PAYLOAD,
            },
            message: format!("{}: {missing} is missing, or is not a string", verb.name()),
            header,
        }),
    }
}

/// serde_json goes no deeper than 128 levels.
fn object(document: &[u8]) -> Result<JsonObject, String> {
    let text = std::str::from_utf8(document).map_err(|_| "the document is not UTF-8".to_owned())?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the document is not a JSON object".to_owned()),
        // Where it stands says enough, and repeats nothing of what came in.
        Err(error) => Err(format!(
            "the document is not valid JSON at line {} column {}",
            error.line(),
            error.column()
        )),
    }
}

/// Why a command failed: the number for programs, the words for people, and what else the response holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandError {
    /// One of [`errors`].
    pub error: u32,
    /// What is wrong and what to do.
    pub message: String,
    /// What else the response holds.
    pub response: JsonObject,
}

impl CommandError {
    /// An error with nothing else in its response.
    pub(super) fn new(error: u32, message: impl Into<String>) -> Self {
        Self {
            error,
            message: message.into(),
            response: JsonObject::new(),
        }
    }
}

/// The response to a request that was carried out, or refused.
#[must_use]
pub fn encode_response(
    header: JsonObject,
    request: JsonObject,
    outcome: Result<JsonObject, CommandError>,
    took: Duration,
) -> Vec<u8> {
    let (mut response, outcome) = match outcome {
        Ok(response) => (
            response,
            json!({ "Status": true, "Time": format_elapsed(took) }),
        ),
        Err(failure) => {
            let mut response = failure.response;
            // Ours: the C program has the number alone.
            response.insert("Message".to_owned(), json!(failure.message));
            (response, json!({ "Status": false, "Error": failure.error }))
        }
    };
    response.insert("ServerVersion".to_owned(), json!(VERSION));
    json!({ "Header": header, "Request": request, "Response": response, "Outcome": outcome })
        .to_string()
        .into_bytes()
}

/// `00:00:0.0012`: hours, minutes, seconds.
fn format_elapsed(took: Duration) -> String {
    let seconds = took.as_secs();
    format!(
        "{:02}:{:02}:{}.{:04}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        took.subsec_micros() / 100
    )
}

/// The document of a request in the JSON framing.
#[must_use]
pub fn request_document(command: &AdminCommand, header: &JsonObject) -> Vec<u8> {
    json!({ "Header": header, "Request": command.request() })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::wire::frame::PLAIN;
    use super::*;

    #[test]
    fn the_c_clients_request_is_read() {
        let text = br#"{"Header": {"Command": 9, "ClientVersion": "0.9.0", "Output": 0,
            "Timestamp": "20260102030405", "Compression": 0, "Encryption": 0},
            "Request": {"ConfigKey": "log_level"}}"#;
        let found = parse_request(PLAIN, text).unwrap();
        assert_eq!(
            found.command,
            AdminCommand::ConfGet(Some("log_level".to_owned()))
        );
        assert_eq!(found.header["ClientVersion"], "0.9.0");
    }

    #[test]
    fn an_id_frame_has_its_arguments_as_payload() {
        let ping = parse_request(Framing::Id(16), b"").unwrap();
        assert_eq!(ping.command, AdminCommand::Ping);
        assert_eq!(ping.header["Command"], 5);
        let set = parse_request(
            Framing::Id(23),
            br#"{"ConfigKey": "log_level", "ConfigValue": "debug"}"#,
        );
        let (key, value) = ("log_level".to_owned(), "debug".to_owned());
        assert_eq!(set.unwrap().command, AdminCommand::ConfSet { key, value });
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_by_number_and_in_words() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for (framing, document, error, part) in [
            (PLAIN, &b""[..], 1, "not valid JSON"),
            (PLAIN, b"{", 1, "not valid JSON"),
            (PLAIN, b"\xff{}", 1, "not UTF-8"),
            (PLAIN, b"[]", 1, "not a JSON object"),
            (PLAIN, deep.as_bytes(), 1, "not valid JSON"),
            (PLAIN, b"{}", 1, "Header is missing"),
            (PLAIN, br#"{"Header": 3}"#, 1, "Header is not an object"),
            (PLAIN, br#"{"Header": {}}"#, 1, "Request is missing"),
            (PLAIN, br#"{"Header": {}, "Request": {}}"#, 1, "Command"),
            (
                PLAIN,
                br#"{"Header": {"Command": -1}, "Request": {}}"#,
                1,
                "Command",
            ),
            (
                PLAIN,
                br#"{"Header": {"Command": 77}, "Request": {}}"#,
                2,
                "no command 77",
            ),
            (
                PLAIN,
                br#"{"Header": {"Command": 10}, "Request": {}}"#,
                1102,
                "ConfigKey",
            ),
            (Framing::Id(200), b"", 2, "id 200"),
            (Framing::Id(22), b"{", 1, "not valid JSON"),
            (Framing::Id(23), b"{}", 1102, "ConfigKey"),
            (Framing::Id(28), b"{}", 1, "Level"),
        ] {
            let bad = parse_request(framing, document).unwrap_err();
            assert_eq!(bad.error, error, "{document:?}");
            assert!(bad.message.contains(part), "{}", bad.message);
        }
    }

    #[test]
    fn a_response_repeats_the_request_and_tells_the_outcome() {
        let header = JsonObject::from_iter([("Command".to_owned(), json!(5))]);
        let bytes = encode_response(
            header.clone(),
            JsonObject::new(),
            Ok(JsonObject::new()),
            Duration::from_micros(61_001_234),
        );
        let good: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            good["Outcome"],
            json!({"Status": true, "Time": "00:01:1.0012"})
        );
        assert_eq!(good["Response"]["ServerVersion"], VERSION);
        let failure = CommandError {
            error: 1104,
            message: "why".to_owned(),
            response: JsonObject::new(),
        };
        let bytes = encode_response(header, JsonObject::new(), Err(failure), Duration::ZERO);
        let bad: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(bad["Outcome"], json!({"Status": false, "Error": 1104}));
        assert_eq!(bad["Response"]["Message"], "why");
    }
}
