//! What a person reads of an answer in text, where the C program has words of its own.

use serde_json::Value;

use super::exchange::Answer;
use super::style::Style;
use super::{print, table};
use crate::management::document::Object;
use crate::management::{Command, Verb};

/// What goes to standard output, and lines for standard error.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub out: String,
    pub err: Vec<String>,
}

/// The answer in text.
pub(super) fn text(answer: &Answer, command: &Command, style: Style) -> Said {
    let response = answer.response();
    match command.verb() {
        Verb::ConfSet | Verb::LogLevel => change(answer, command),
        Verb::Reload if answer.is_good() => reloaded(response),
        Verb::Reload => Said {
            err: lines(response, "Problems")
                .into_iter()
                .chain([answer.message()])
                .collect(),
            ..Said::default()
        },
        Verb::ConfGet if answer.is_good() => setting(response, command),
        Verb::Targets if answer.is_good() => Said {
            out: table::servers(response, style),
            ..Said::default()
        },
        Verb::Scrape if response.contains_key("Queries") => Said {
            out: table::scrape(response, style),
            err: match answer.is_good() {
                true => Vec::new(),
                false => vec![answer.message()],
            },
        },
        Verb::Check => Said {
            out: table::check(response, style),
            err: match answer.is_good() {
                true => Vec::new(),
                false if response.contains_key("Problems") => lines(response, "Problems"),
                false => vec![answer.message()],
            },
        },
        _ if answer.is_good() => Said {
            out: print::as_text(answer, command),
            ..Said::default()
        },
        _ => Said {
            err: vec![answer.message()],
            ..Said::default()
        },
    }
}

fn change(answer: &Answer, command: &Command) -> Said {
    let response = answer.response();
    let word = |name: &str| match response.get(name) {
        Some(Value::String(word)) => print::harmless(word),
        _ => String::new(),
    };
    let mut said = Said {
        err: lines(response, "notices"),
        ..Said::default()
    };
    said.out = match word("status").as_str() {
        "success" => format!(
            "Configuration change applied\n   New value: {}\n",
            word("new_value")
        ),
        "no_change" => format!("{}\n", word("message")),
        "success_restart_required" => format!("{}\n", word("Message")),
        "" => {
            // Neither key nor value came as far as to the configuration.
            said.err.push(answer.message());
            return said;
        }
        _ => {
            let reason = word("reason");
            if !reason.is_empty() {
                let key = match command {
                    Command::ConfSet { key, .. } => key,
                    _ => "log_level",
                };
                said.err.push(format!("{}: {reason}", print::harmless(key)));
            }
            format!("Configuration change failed\n   {}\n", answer.message())
        }
    };
    said
}

fn reloaded(response: &Object) -> Said {
    let keys = lines(response, "RestartKeys");
    let mut out = String::new();
    if keys.is_empty() {
        out.push_str("Configuration reloaded successfully.\n");
    } else {
        out.push_str(
            "Configuration reload deferred: restart required for structural parameter changes.\n",
        );
        for key in keys {
            out.push_str(&format!("   {key}\n"));
        }
    }
    Said {
        out,
        ..Said::default()
    }
}

/// The bare value of one key; of all, lines.
fn setting(response: &Object, command: &Command) -> Said {
    let Command::ConfGet(Some(key)) = command else {
        let mut response = response.clone();
        response.remove("ServerVersion");
        return Said {
            out: print::tree_of(&response),
            ..Said::default()
        };
    };
    let value = match response.get(key.as_str()) {
        Some(Value::Object(both)) => both.get("string_value").map(print::scalar),
        Some(value) => Some(print::scalar(value)),
        None => None,
    };
    let mut said = Said {
        out: format!("{}\n", value.unwrap_or_default()),
        ..Said::default()
    };
    if let Some(file) = response.get("File") {
        said.err.push(format!(
            "the file says {}: it counts after `conf reload`, or after a restart",
            match print::scalar(file) {
                none if none.is_empty() => "nothing".to_owned(),
                value => value,
            }
        ));
    }
    said
}

/// A list of texts.
pub(super) fn lines(response: &Object, name: &str) -> Vec<String> {
    match response.get(name) {
        Some(Value::Array(values)) => values.iter().map(print::scalar).collect(),
        _ => Vec::new(),
    }
}
