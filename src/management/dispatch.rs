//! From a document to its response: the one place where commands are carried out.

use std::fmt;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::command::Command;
use super::control::{Control, Report};
use super::document::{self, Object, Refusal, Request, errors};
use super::frame::Framing;
use super::report;
use crate::config;
use crate::config::keys::ChangedFrom;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
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

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Local { uid, pid } => {
                f.write_str("local")?;
                if let Some(uid) = uid {
                    write!(f, " uid={uid}")?;
                }
                if let Some(pid) = pid {
                    write!(f, " pid={pid}")?;
                }
                Ok(())
            }
            Peer::Remote { user, address } => write!(f, "{user:?} at {address}"),
        }
    }
}

/// Carries out what a document asks. Never fails: what is wrong stands in the response.
pub(super) async fn answer<C: Control>(
    control: &C,
    peer: &Peer,
    framing: Framing,
    document: &[u8],
) -> Vec<u8> {
    let begun = Instant::now();
    match document::request(framing, document) {
        Ok(Request {
            command,
            header,
            request,
        }) => {
            let verb = command.verb();
            let outcome = carry_out(control, peer, command).await;
            match &outcome {
                Err(refusal) => info!(
                    %peer,
                    command = verb.name(),
                    error = refusal.error,
                    "refused: {}", refusal.message
                ),
                Ok(_) if verb.changes() => info!(%peer, command = verb.name(), "done"),
                Ok(_) => debug!(%peer, command = verb.name(), "answered"),
            }
            document::response(header, request, outcome, begun.elapsed())
        }
        Err(bad) => {
            warn!(%peer, error = bad.error, "bad request: {}", bad.message);
            refuse(bad.error, bad.message, bad.header)
        }
    }
}

/// A response that says no.
pub(super) fn refuse(error: u32, message: String, header: Object) -> Vec<u8> {
    let refusal = Refusal {
        error,
        message,
        response: Object::new(),
    };
    document::response(
        header,
        Object::new(),
        Err(refusal),
        std::time::Duration::ZERO,
    )
}

/// Whether a peer may change a key. A key that does not exist is refused later, for that reason.
fn may_change(peer: &Peer, key: &str) -> bool {
    matches!(peer, Peer::Local { .. })
        || config::changed_from(key).is_none_or(|from| from == ChangedFrom::Anywhere)
}

async fn carry_out<C: Control>(
    control: &C,
    peer: &Peer,
    command: Command,
) -> Result<Object, Refusal> {
    match command {
        Command::Ping => Ok(Object::new()),
        Command::Shutdown => {
            control.shutdown();
            Ok(Object::new())
        }
        Command::Status => Ok(report::status(&control.servers(), &control.notices())),
        Command::StatusDetails | Command::Targets => {
            Ok(report::details(&control.servers(), &control.notices()))
        }
        Command::Reload if matches!(peer, Peer::Remote { .. }) => Err(Refusal {
            error: errors::NOT_HERE,
            message: "conf reload is not to be had over the remote port: the files that it reads \
                      are those of the exporter's machine; run pgexporter-cli there, or send \
                      SIGHUP"
                .to_owned(),
            response: Object::new(),
        }),
        Command::Reload => match control.reload().await {
            Ok(reloaded) => Ok(reloaded.object()),
            Err(problems) => Err(Refusal {
                error: errors::RELOAD,
                message: "reload refused, nothing was changed".to_owned(),
                response: Object::from_iter([("Problems".to_owned(), problems.into())]),
            }),
        },
        Command::ConfLs => Ok(control
            .files()
            .into_iter()
            .map(|(what, path)| (what.to_owned(), path.into()))
            .collect()),
        Command::ConfGet(key) => match control.settings(key.as_deref()).await {
            Ok(settings) => Ok(report::settings(&settings, key.is_some())),
            Err(message) => Err(Refusal {
                error: errors::CONF_GET,
                message,
                response: Object::new(),
            }),
        },
        Command::ConfSet { key, .. } if !may_change(peer, &key) => Err(Refusal {
            error: errors::NOT_HERE,
            message: format!(
                "{key} can only be changed on the exporter's own machine, over its Unix socket: it \
                 names a file, an address, a user, or what the exporter may do"
            ),
            response: Object::new(),
        }),
        Command::ConfSet { key, value } => {
            let change = control.set(&key, &value).await;
            report::change(&key, &value, change)
        }
        Command::LogLevel { level } => {
            let change = control.set("log_level", &level).await;
            report::change("log_level", &level, change)
        }
        Command::ClearPrometheus => {
            control.clear();
            Ok(Object::new())
        }
        Command::Scrape { server } => match control.scrape(&server).await {
            Err(message) => Err(Refusal {
                error: errors::SCRAPE,
                message,
                response: Object::new(),
            }),
            Ok(report) => match &report.trouble {
                None => Ok(report.object()),
                Some((_, message)) => Err(Refusal {
                    error: errors::SCRAPE,
                    message: message.clone(),
                    response: report.object(),
                }),
            },
        },
        Command::Check => {
            let found = control.check().await;
            match found.problems.len() {
                0 => Ok(found.object()),
                problems => Err(Refusal {
                    error: errors::CHECK,
                    message: format!("problems: {problems}"),
                    response: found.object(),
                }),
            }
        }
    }
}
