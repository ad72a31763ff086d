//! From a document to its response: the one place where commands are carried out.

use std::fmt;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::admin_api::AdminApi;
use super::commands::AdminCommand;
use super::document::{self, AdminRequest, CommandError, JsonObject, errors};
use super::report;
use super::wire::frame::Framing;
use crate::config;
use crate::config::keys::ChangedFrom;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminPeer {
    /// Through the Unix socket.
    Local {
        /// The user, if the system tells.
        uid: Option<u32>,
        /// The process, if the system tells.
        pid: Option<i32>,
    },
    /// Over TCP, logged in.
    Remote {
        /// The admin's name.
        user: String,
        /// Where from.
        address: std::net::SocketAddr,
    },
}

impl fmt::Display for AdminPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminPeer::Local { uid, pid } => {
                f.write_str("local")?;
                if let Some(uid) = uid {
                    write!(f, " uid={uid}")?;
                }
                if let Some(pid) = pid {
                    write!(f, " pid={pid}")?;
                }
                Ok(())
            }
            AdminPeer::Remote { user, address } => write!(f, "{user:?} at {address}"),
        }
    }
}

/// Carries out what a document asks. Never fails: what is wrong stands in the response.
pub(super) async fn handle_request<C: AdminApi>(
    control: &C,
    peer: &AdminPeer,
    framing: Framing,
    document: &[u8],
) -> Vec<u8> {
    let begun = Instant::now();
    match document::parse_request(framing, document) {
        Ok(AdminRequest {
            command,
            header,
            request,
        }) => {
            let verb = command.verb();
            let outcome = run_command(control, peer, command).await;
            match &outcome {
                Err(failure) => info!(
                    %peer,
                    command = verb.name(),
                    error = failure.error,
                    "refused: {}", failure.message
                ),
                Ok(_) if verb.changes() => info!(%peer, command = verb.name(), "done"),
                Ok(_) => debug!(%peer, command = verb.name(), "answered"),
            }
            document::encode_response(header, request, outcome, begun.elapsed())
        }
        Err(bad) => {
            warn!(%peer, error = bad.error, "bad request: {}", bad.message);
            encode_refusal(bad.error, bad.message, bad.header)
        }
    }
}

/// A response that says no.
pub(super) fn encode_refusal(error: u32, message: String, header: JsonObject) -> Vec<u8> {
    let failure = CommandError::new(error, message);
    document::encode_response(
        header,
        JsonObject::new(),
        Err(failure),
        std::time::Duration::ZERO,
    )
}

/// Whether a peer may change a key. A key that does not exist is refused later, for that reason.
fn may_change(peer: &AdminPeer, key: &str) -> bool {
    matches!(peer, AdminPeer::Local { .. })
        || config::changed_from(key).is_none_or(|from| from == ChangedFrom::Anywhere)
}

async fn run_command<C: AdminApi>(
    control: &C,
    peer: &AdminPeer,
    command: AdminCommand,
) -> Result<JsonObject, CommandError> {
    match command {
        AdminCommand::Ping => Ok(JsonObject::new()),
        AdminCommand::Shutdown => {
            control.shutdown();
            Ok(JsonObject::new())
        }
        AdminCommand::Status => Ok(report::status_response(
            &control.servers(),
            &control.notices(),
        )),
        AdminCommand::StatusDetails | AdminCommand::Targets => Ok(report::details_response(
            &control.servers(),
            &control.notices(),
            control.owner(),
        )),
        AdminCommand::Reload if matches!(peer, AdminPeer::Remote { .. }) => Err(CommandError::new(
            errors::NOT_HERE,
            "`conf reload` is only available on the local socket; run pgexporter-cli on the \
             exporter's machine, or send SIGHUP to the exporter",
        )),
        AdminCommand::Reload => match control.reload().await {
            Ok(reloaded) => Ok(report::reload_response(&reloaded)),
            Err(error) => Err(CommandError {
                error: errors::RELOAD,
                message: "reload refused, nothing was changed".to_owned(),
                response: JsonObject::from_iter([("Problems".to_owned(), error.lines().into())]),
            }),
        },
        AdminCommand::ConfLs => Ok(control
            .files()
            .into_iter()
            .map(|(what, path)| (what.to_owned(), path.into()))
            .collect()),
        AdminCommand::ConfGet(key) => match control.settings(key.as_deref()).await {
            Ok(settings) => Ok(report::settings_response(&settings, key.is_some())),
            Err(error) => Err(CommandError::new(errors::CONF_GET, error.to_string())),
        },
        AdminCommand::ConfSet { key, .. } if !may_change(peer, &key) => Err(CommandError::new(
            errors::NOT_HERE,
            format!(
                "{key} can only be changed on the local socket, because it names a file, an \
                 address or a user, or sets what the exporter may do; run pgexporter-cli on the \
                 exporter's machine"
            ),
        )),
        AdminCommand::ConfSet { key, value } => {
            let change = control.set(&key, &value).await;
            report::set_response(&key, &value, change)
        }
        AdminCommand::LogLevel { level } => {
            let change = control.set("log_level", &level).await;
            report::set_response("log_level", &level, change)
        }
        AdminCommand::ClearPrometheus => {
            control.clear();
            Ok(JsonObject::new())
        }
        AdminCommand::Scrape { server } => match control.scrape(&server).await {
            Err(error) => Err(CommandError::new(errors::SCRAPE, error.to_string())),
            Ok(profile) => {
                let response = report::scrape_response(&server, &profile);
                match profile.trouble {
                    None => Ok(response),
                    Some(trouble) => Err(CommandError {
                        error: errors::SCRAPE,
                        message: trouble.message,
                        response,
                    }),
                }
            }
        },
        AdminCommand::Check => {
            let found = control.check().await;
            let response = report::check_response(&found);
            match found.problems.len() {
                0 => Ok(response),
                problems => Err(CommandError {
                    error: errors::CHECK,
                    message: format!("problems: {problems}"),
                    response,
                }),
            }
        }
    }
}
