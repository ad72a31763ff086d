//! What may be asked, in the two ways that the framings number it.

use serde_json::{Map, Value};

/// A request, whichever framing brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Is anybody there?
    Ping,
    /// End the exporter.
    Shutdown,
    /// The servers, and whether they answer.
    Status,
    /// The servers, with all that is known of them.
    StatusDetails,
    /// Read the configuration again.
    Reload,
    /// Which files the configuration came from.
    ConfLs,
    /// One value of the configuration, or all.
    ConfGet(Option<String>),
    /// Change a value of the configuration.
    ConfSet {
        /// The key, as `conf get` names it.
        key: String,
        /// The value, as the file would hold it.
        value: String,
    },
    /// Forget the metrics that are served again.
    ClearPrometheus,
    /// The list of servers with its state, for tables. Ours.
    Targets,
    /// Ask a server everything once, and time each query. Ours.
    Scrape {
        /// Its name.
        server: String,
    },
    /// Whether a reload would be good, and what the role may see. Ours.
    Check,
    /// Change the log level until the next reload. Ours.
    LogLevel {
        /// The level, as `log_level` takes it.
        level: String,
    },
}

/// The kind of a command: what a frame names by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AdminVerb {
    Ping,
    Shutdown,
    Status,
    StatusDetails,
    Reload,
    ConfLs,
    ConfGet,
    ConfSet,
    ClearPrometheus,
    Targets,
    Scrape,
    Check,
    LogLevel,
}

/// Each verb with its id in the id framing, its number in the JSON framing, and its name. Numbers
/// from 100 are ours.
const VERBS: [(AdminVerb, u8, u64, &str); 13] = [
    (AdminVerb::Ping, 16, 5, "ping"),
    (AdminVerb::Shutdown, 17, 2, "shutdown"),
    (AdminVerb::Status, 18, 3, "status"),
    (AdminVerb::StatusDetails, 19, 4, "status details"),
    (AdminVerb::Reload, 20, 7, "conf reload"),
    (AdminVerb::ConfLs, 21, 8, "conf ls"),
    (AdminVerb::ConfGet, 22, 9, "conf get"),
    (AdminVerb::ConfSet, 23, 10, "conf set"),
    (AdminVerb::ClearPrometheus, 24, 6, "clear prometheus"),
    (AdminVerb::Targets, 25, 100, "targets"),
    (AdminVerb::Scrape, 26, 101, "scrape"),
    (AdminVerb::Check, 27, 102, "check"),
    (AdminVerb::LogLevel, 28, 103, "log level"),
];

impl AdminVerb {
    /// All of them.
    pub fn all() -> impl Iterator<Item = AdminVerb> {
        VERBS.iter().map(|(verb, ..)| *verb)
    }

    /// By the first byte of an id frame.
    #[must_use]
    pub fn from_id(id: u8) -> Option<AdminVerb> {
        VERBS.iter().find(|line| line.1 == id).map(|line| line.0)
    }

    /// By `Header.Command` of a JSON frame.
    #[must_use]
    pub fn from_number(number: u64) -> Option<AdminVerb> {
        VERBS
            .iter()
            .find(|line| line.2 == number)
            .map(|line| line.0)
    }

    /// The first byte of an id frame.
    #[must_use]
    pub fn id(self) -> u8 {
        self.line().1
    }

    /// `Header.Command` of a JSON frame.
    #[must_use]
    pub fn number(self) -> u64 {
        self.line().2
    }

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.line().3
    }

    /// Whether it changes the running exporter: then it is logged.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(
            self,
            AdminVerb::Shutdown
                | AdminVerb::Reload
                | AdminVerb::ConfSet
                | AdminVerb::ClearPrometheus
                | AdminVerb::LogLevel
        )
    }

    fn line(self) -> &'static (AdminVerb, u8, u64, &'static str) {
        // Each verb has its line, which a test sees to.
        VERBS
            .iter()
            .find(|line| line.0 == self)
            .unwrap_or(&VERBS[0])
    }
}

impl AdminCommand {
    /// Its kind.
    #[must_use]
    pub fn verb(&self) -> AdminVerb {
        match self {
            AdminCommand::Ping => AdminVerb::Ping,
            AdminCommand::Shutdown => AdminVerb::Shutdown,
            AdminCommand::Status => AdminVerb::Status,
            AdminCommand::StatusDetails => AdminVerb::StatusDetails,
            AdminCommand::Reload => AdminVerb::Reload,
            AdminCommand::ConfLs => AdminVerb::ConfLs,
            AdminCommand::ConfGet(_) => AdminVerb::ConfGet,
            AdminCommand::ConfSet { .. } => AdminVerb::ConfSet,
            AdminCommand::ClearPrometheus => AdminVerb::ClearPrometheus,
            AdminCommand::Targets => AdminVerb::Targets,
            AdminCommand::Scrape { .. } => AdminVerb::Scrape,
            AdminCommand::Check => AdminVerb::Check,
            AdminCommand::LogLevel { .. } => AdminVerb::LogLevel,
        }
    }

    /// From its kind and the object `Request` (or the payload of an id frame).
    ///
    /// # Errors
    /// The name of what is missing, or is no text.
    pub fn new(
        verb: AdminVerb,
        request: &Map<String, Value>,
    ) -> Result<AdminCommand, &'static str> {
        let text = |name: &'static str| match request.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(name),
        };
        Ok(match verb {
            AdminVerb::Ping => AdminCommand::Ping,
            AdminVerb::Shutdown => AdminCommand::Shutdown,
            AdminVerb::Status => AdminCommand::Status,
            AdminVerb::StatusDetails => AdminCommand::StatusDetails,
            AdminVerb::Reload => AdminCommand::Reload,
            AdminVerb::ConfLs => AdminCommand::ConfLs,
            AdminVerb::ConfGet => match request.get(KEY) {
                // The C program's client sends a null where there is no key.
                None | Some(Value::Null) => AdminCommand::ConfGet(None),
                Some(_) => AdminCommand::ConfGet(Some(text(KEY)?)),
            },
            AdminVerb::ConfSet => AdminCommand::ConfSet {
                key: text(KEY)?,
                value: text(VALUE)?,
            },
            AdminVerb::ClearPrometheus => AdminCommand::ClearPrometheus,
            AdminVerb::Targets => AdminCommand::Targets,
            AdminVerb::Scrape => AdminCommand::Scrape {
                server: text(SERVER)?,
            },
            AdminVerb::Check => AdminCommand::Check,
            AdminVerb::LogLevel => AdminCommand::LogLevel {
                level: text(LEVEL)?,
            },
        })
    }

    /// The object `Request`, as [`AdminCommand::new`] reads it.
    #[must_use]
    pub fn request(&self) -> Map<String, Value> {
        let pairs: Vec<(&str, &String)> = match self {
            AdminCommand::ConfGet(Some(key)) => vec![(KEY, key)],
            AdminCommand::ConfSet { key, value } => vec![(KEY, key), (VALUE, value)],
            AdminCommand::Scrape { server } => vec![(SERVER, server)],
            AdminCommand::LogLevel { level } => vec![(LEVEL, level)],
            _ => Vec::new(),
        };
        pairs
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Value::String(text.clone())))
            .collect()
    }
}

const KEY: &str = "ConfigKey";
const VALUE: &str = "ConfigValue";
const SERVER: &str = "Server";
const LEVEL: &str = "Level";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_line_with_an_id_and_a_number_of_its_own() {
        for verb in AdminVerb::all() {
            assert_eq!(AdminVerb::from_id(verb.id()), Some(verb));
            assert_eq!(AdminVerb::from_number(verb.number()), Some(verb));
        }
        assert_eq!(AdminVerb::from_id(15), None);
        assert_eq!(AdminVerb::from_number(1), None);
    }

    #[test]
    fn a_command_goes_through_its_request_and_comes_back() {
        let text = |text: &str| text.to_owned();
        for command in [
            AdminCommand::Ping,
            AdminCommand::ConfGet(None),
            AdminCommand::ConfGet(Some(text("log_level"))),
            AdminCommand::ConfSet {
                key: text("log_level"),
                value: text("debug"),
            },
            AdminCommand::LogLevel {
                level: text("debug"),
            },
            AdminCommand::Scrape {
                server: text("primary"),
            },
        ] {
            let again = AdminCommand::new(command.verb(), &command.request());
            assert_eq!(again.as_ref(), Ok(&command));
        }
        let empty = Map::new();
        assert_eq!(
            AdminCommand::new(AdminVerb::ConfSet, &empty),
            Err("ConfigKey")
        );
        let number = Map::from_iter([(text("ConfigKey"), Value::from(3))]);
        assert_eq!(
            AdminCommand::new(AdminVerb::ConfGet, &number),
            Err("ConfigKey")
        );
    }
}
