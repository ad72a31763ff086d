//! What may be asked, in the two ways that the framings number it.

use serde_json::{Map, Value};

/// A request, whichever framing brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
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
pub enum Verb {
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
const VERBS: [(Verb, u8, u64, &str); 13] = [
    (Verb::Ping, 16, 5, "ping"),
    (Verb::Shutdown, 17, 2, "shutdown"),
    (Verb::Status, 18, 3, "status"),
    (Verb::StatusDetails, 19, 4, "status details"),
    (Verb::Reload, 20, 7, "conf reload"),
    (Verb::ConfLs, 21, 8, "conf ls"),
    (Verb::ConfGet, 22, 9, "conf get"),
    (Verb::ConfSet, 23, 10, "conf set"),
    (Verb::ClearPrometheus, 24, 6, "clear prometheus"),
    (Verb::Targets, 25, 100, "targets"),
    (Verb::Scrape, 26, 101, "scrape"),
    (Verb::Check, 27, 102, "check"),
    (Verb::LogLevel, 28, 103, "log level"),
];

impl Verb {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Verb> {
        VERBS.iter().map(|(verb, ..)| *verb)
    }

    /// By the first byte of an id frame.
    #[must_use]
    pub fn of_id(id: u8) -> Option<Verb> {
        VERBS.iter().find(|line| line.1 == id).map(|line| line.0)
    }

    /// By `Header.Command` of a JSON frame.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Verb> {
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
            Verb::Shutdown | Verb::Reload | Verb::ConfSet | Verb::ClearPrometheus | Verb::LogLevel
        )
    }

    fn line(self) -> &'static (Verb, u8, u64, &'static str) {
        // Each verb has its line, which a test sees to.
        VERBS
            .iter()
            .find(|line| line.0 == self)
            .unwrap_or(&VERBS[0])
    }
}

impl Command {
    /// Its kind.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Command::Ping => Verb::Ping,
            Command::Shutdown => Verb::Shutdown,
            Command::Status => Verb::Status,
            Command::StatusDetails => Verb::StatusDetails,
            Command::Reload => Verb::Reload,
            Command::ConfLs => Verb::ConfLs,
            Command::ConfGet(_) => Verb::ConfGet,
            Command::ConfSet { .. } => Verb::ConfSet,
            Command::ClearPrometheus => Verb::ClearPrometheus,
            Command::Targets => Verb::Targets,
            Command::Scrape { .. } => Verb::Scrape,
            Command::Check => Verb::Check,
            Command::LogLevel { .. } => Verb::LogLevel,
        }
    }

    /// From its kind and the object `Request` (or the payload of an id frame).
    ///
    /// # Errors
    /// The name of what is missing, or is no text.
    pub fn new(verb: Verb, request: &Map<String, Value>) -> Result<Command, &'static str> {
        let text = |name: &'static str| match request.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(name),
        };
        Ok(match verb {
            Verb::Ping => Command::Ping,
            Verb::Shutdown => Command::Shutdown,
            Verb::Status => Command::Status,
            Verb::StatusDetails => Command::StatusDetails,
            Verb::Reload => Command::Reload,
            Verb::ConfLs => Command::ConfLs,
            Verb::ConfGet => match request.get(KEY) {
                // The C program's client sends a null where there is no key.
                None | Some(Value::Null) => Command::ConfGet(None),
                Some(_) => Command::ConfGet(Some(text(KEY)?)),
            },
            Verb::ConfSet => Command::ConfSet {
                key: text(KEY)?,
                value: text(VALUE)?,
            },
            Verb::ClearPrometheus => Command::ClearPrometheus,
            Verb::Targets => Command::Targets,
            Verb::Scrape => Command::Scrape {
                server: text(SERVER)?,
            },
            Verb::Check => Command::Check,
            Verb::LogLevel => Command::LogLevel {
                level: text(LEVEL)?,
            },
        })
    }

    /// The object `Request`, as [`Command::new`] reads it.
    #[must_use]
    pub fn request(&self) -> Map<String, Value> {
        let pairs: Vec<(&str, &String)> = match self {
            Command::ConfGet(Some(key)) => vec![(KEY, key)],
            Command::ConfSet { key, value } => vec![(KEY, key), (VALUE, value)],
            Command::Scrape { server } => vec![(SERVER, server)],
            Command::LogLevel { level } => vec![(LEVEL, level)],
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
        for verb in Verb::all() {
            assert_eq!(Verb::of_id(verb.id()), Some(verb));
            assert_eq!(Verb::of_number(verb.number()), Some(verb));
        }
        assert_eq!(Verb::of_id(15), None);
        assert_eq!(Verb::of_number(1), None);
    }

    #[test]
    fn a_command_goes_through_its_request_and_comes_back() {
        let text = |text: &str| text.to_owned();
        for command in [
            Command::Ping,
            Command::ConfGet(None),
            Command::ConfGet(Some(text("log_level"))),
            Command::ConfSet {
                key: text("log_level"),
                value: text("debug"),
            },
            Command::LogLevel {
                level: text("debug"),
            },
            Command::Scrape {
                server: text("primary"),
            },
        ] {
            let again = Command::new(command.verb(), &command.request());
            assert_eq!(again.as_ref(), Ok(&command));
        }
        let empty = Map::new();
        assert_eq!(Command::new(Verb::ConfSet, &empty), Err("ConfigKey"));
        let number = Map::from_iter([(text("ConfigKey"), Value::from(3))]);
        assert_eq!(Command::new(Verb::ConfGet, &number), Err("ConfigKey"));
    }
}
