//! Formats answers as text. Where the C program has its own texts, they are the same.

use serde_json::Value;

use super::request::AdminAnswer;
use super::style::Style;
use super::{print, table};
use crate::management::document::JsonObject;
use crate::management::{AdminCommand, AdminVerb};

/// Text for standard output, and lines for standard error.
#[derive(Debug, Default)]
pub(super) struct TextOutput {
    pub out: String,
    pub err: Vec<String>,
}

/// The answer in text.
pub(super) fn format_answer(
    answer: &AdminAnswer,
    command: &AdminCommand,
    style: Style,
) -> TextOutput {
    let response = answer.response();
    match command.verb() {
        AdminVerb::ConfSet | AdminVerb::LogLevel => format_change(answer, command),
        AdminVerb::Reload if answer.is_good() => format_reload(response),
        AdminVerb::Reload => TextOutput {
            err: lines(response, "Problems")
                .into_iter()
                .chain([answer.message()])
                .collect(),
            ..TextOutput::default()
        },
        AdminVerb::ConfGet if answer.is_good() => format_setting(response, command),
        AdminVerb::Targets if answer.is_good() => TextOutput {
            out: table::servers_table(response, style),
            ..TextOutput::default()
        },
        AdminVerb::Scrape if response.contains_key("Queries") => TextOutput {
            out: table::scrape_table(response, style),
            err: match answer.is_good() {
                true => Vec::new(),
                false => vec![answer.message()],
            },
        },
        AdminVerb::Check => TextOutput {
            out: table::check_table(response, style),
            err: match answer.is_good() {
                true => Vec::new(),
                false if response.contains_key("Problems") => lines(response, "Problems"),
                false => vec![answer.message()],
            },
        },
        _ if answer.is_good() => TextOutput {
            out: print::as_text(answer, command),
            ..TextOutput::default()
        },
        _ => TextOutput {
            err: vec![answer.message()],
            ..TextOutput::default()
        },
    }
}

fn format_change(answer: &AdminAnswer, command: &AdminCommand) -> TextOutput {
    let response = answer.response();
    let word = |name: &str| match response.get(name) {
        Some(Value::String(word)) => print::harmless(word),
        _ => String::new(),
    };
    let mut said = TextOutput {
        err: lines(response, "notices"),
        ..TextOutput::default()
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
                    AdminCommand::ConfSet { key, .. } => key,
                    _ => "log_level",
                };
                said.err.push(format!("{}: {reason}", print::harmless(key)));
            }
            format!("Configuration change failed\n   {}\n", answer.message())
        }
    };
    said
}

fn format_reload(response: &JsonObject) -> TextOutput {
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
    TextOutput {
        out,
        ..TextOutput::default()
    }
}

/// The bare value of one key; of all, lines.
fn format_setting(response: &JsonObject, command: &AdminCommand) -> TextOutput {
    let AdminCommand::ConfGet(Some(key)) = command else {
        let mut response = response.clone();
        response.remove("ServerVersion");
        return TextOutput {
            out: print::tree_of(&response),
            ..TextOutput::default()
        };
    };
    let value = match response.get(key.as_str()) {
        Some(Value::Object(both)) => both.get("string_value").map(print::scalar),
        Some(value) => Some(print::scalar(value)),
        None => None,
    };
    let mut said = TextOutput {
        out: format!("{}\n", value.unwrap_or_default()),
        ..TextOutput::default()
    };
    if let Some(file) = response.get("File") {
        said.err.push(format!(
            "the file has {}, which takes effect after `conf reload` or a restart",
            match print::scalar(file) {
                none if none.is_empty() => "nothing".to_owned(),
                value => value,
            }
        ));
    }
    said
}

/// A list of texts.
pub(super) fn lines(response: &JsonObject, name: &str) -> Vec<String> {
    match response.get(name) {
        Some(Value::Array(values)) => values.iter().map(print::scalar).collect(),
        _ => Vec::new(),
    }
}
