//! What several exporters say, as one: a list of servers with their owners, or one part a pod.

use serde_json::{Value, json};

use super::super::arguments::OutputFormat;
use super::super::error::CliError;
use super::super::request::{AdminAnswer, parse_answer};
use super::super::style::Style;
use super::super::{print, table, text_output};
use crate::management::document::JsonObject;
use crate::management::{AdminCommand, AdminVerb};
use crate::text::escaped_json;

/// What is asked of the pods: `status` has no owners, which are wanted here.
pub(super) fn command_for_pods(
    command: AdminCommand,
    format: Option<OutputFormat>,
) -> AdminCommand {
    match command {
        AdminCommand::Status if format != Some(OutputFormat::Raw) => AdminCommand::Targets,
        other => other,
    }
}

/// The name of a pod, and its answer.
pub(super) type PodAnswer = (String, Result<AdminAnswer, CliError>);

/// The output, and error lines by pod.
#[derive(Debug, Default)]
pub(super) struct MergedOutput {
    /// For standard output.
    pub out: String,
    /// For standard error: the pod, and a line.
    pub err: Vec<(String, String)>,
    /// The highest exit status of all.
    pub status: u8,
}

/// All as one. The command is that of the command line.
pub(super) fn merge_answers(
    mut told: Vec<PodAnswer>,
    command: &AdminCommand,
    format: Option<OutputFormat>,
) -> MergedOutput {
    if command.verb() == AdminVerb::Scrape && told.iter().any(has_scraped) {
        // The others do not have the server, which is no news where its owner answers.
        told.retain(|one| one.1.is_err() || has_scraped(one));
    }
    let mut merged = MergedOutput::default();
    let pods: Vec<Value> = told
        .iter()
        .map(|(pod, told)| pod_document(pod, told, command))
        .collect();
    let mut answers = Vec::new();
    for (pod, told) in told {
        match told {
            Ok(answer) => {
                if !answer.is_good() {
                    merged.status = merged.status.max(1);
                }
                answers.push((pod, answer));
            }
            Err(failure) => {
                merged.status = merged.status.max(failure.status());
                let lines = failure.lines().into_iter();
                merged
                    .err
                    .extend(lines.map(|line| (pod.clone(), line.to_owned())));
            }
        }
    }
    match format {
        Some(OutputFormat::Raw) => {
            for (_, answer) in &answers {
                merged
                    .out
                    .push_str(&escaped_json(&String::from_utf8_lossy(&answer.raw)));
                merged.out.push('\n');
            }
        }
        Some(OutputFormat::Json) => {
            let whole = match lists_servers(command) {
                true => Value::Object(merge_servers(&answers, pods, command)),
                false => json!({ "Pods": pods }),
            };
            merged.out = format!("{whole:#}\n");
        }
        Some(OutputFormat::Text) | None => merge_text(&mut merged, &answers, pods, command),
    }
    // Where the output is no text, the reasons of a refusal are told beside it.
    if matches!(format, Some(OutputFormat::Json | OutputFormat::Raw)) {
        for (pod, answer) in answers {
            if !answer.is_good() {
                merged.err.push((pod, answer.message()));
            }
        }
    }
    merged
}

fn merge_text(
    merged: &mut MergedOutput,
    answers: &[(String, AdminAnswer)],
    pods: Vec<Value>,
    command: &AdminCommand,
) {
    if lists_servers(command) {
        for (pod, answer) in answers {
            if !answer.is_good() {
                merged.err.push((pod.clone(), answer.message()));
            }
        }
        if answers.is_empty() {
            return;
        }
        let all = merge_servers(answers, pods, command);
        let response = match all.get("Response") {
            Some(Value::Object(response)) => response.clone(),
            _ => JsonObject::new(),
        };
        merged.out = match command {
            AdminCommand::StatusDetails => print::tree_of(&all),
            _ => table::servers_table(&response, Style::of_output()),
        };
        return;
    }
    let alone = pods.len() == 1;
    for (pod, answer) in answers {
        let said = text_output::format_answer(answer, command, Style::of_output());
        let lines = said.err.into_iter().map(|line| (pod.clone(), line));
        merged.err.extend(lines);
        if alone || said.out.is_empty() {
            merged.out.push_str(&said.out);
            continue;
        }
        merged.out.push_str(&format!("{}:\n", print::harmless(pod)));
        for line in said.out.lines() {
            merged.out.push_str(&format!("  {line}\n"));
        }
    }
}

/// Whether this pod has the server that was to be scraped.
fn has_scraped((_, told): &PodAnswer) -> bool {
    let answer = told.as_ref().ok();
    answer.is_some_and(|answer| answer.response().contains_key("Queries"))
}

/// Whether the answers are lists of servers, which become one.
fn lists_servers(command: &AdminCommand) -> bool {
    matches!(
        command.verb(),
        AdminVerb::Status | AdminVerb::StatusDetails | AdminVerb::Targets
    )
}

/// The lists of all pods in the shape of one exporter's answer; each server has its `Pod`.
fn merge_servers(
    answers: &[(String, AdminAnswer)],
    pods: Vec<Value>,
    command: &AdminCommand,
) -> JsonObject {
    let mut servers: Vec<Value> = Vec::new();
    for (pod, answer) in answers {
        let Some(Value::Array(own)) = answer.response().get("Servers") else {
            continue;
        };
        for server in own {
            let mut server = server.clone();
            if let Value::Object(server) = &mut server {
                server.insert("Pod".to_owned(), json!(pod));
                // Outside of Kubernetes nobody owns, and so an older exporter says nothing.
                if server.get("Owner").is_none_or(Value::is_null) {
                    server.insert("Owner".to_owned(), json!(pod));
                }
            }
            servers.push(server);
        }
    }
    let name = |server: &Value, key: &str| server[key].as_str().unwrap_or_default().to_owned();
    servers.sort_by_cached_key(|server| (name(server, "Server"), name(server, "Pod")));
    let good = pods.iter().all(|pod| pod["Outcome"]["Status"] == true);
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|pod| match pod {
            Value::Object(pod) => Value::Object(without_answer(pod)),
            other => other,
        })
        .collect();
    let document = json!({
        "Outcome": { "Status": good },
        "Request": {},
        "Response": {
            "NumberOfServers": servers.len(),
            "Servers": servers,
            "Pods": pods,
        },
    });
    match parse_answer(
        Some(OutputFormat::Json),
        command,
        document.to_string().into_bytes(),
    ) {
        Ok(answer) => print::named(&answer, command),
        Err(_) => JsonObject::new(),
    }
}

/// What is told of a pod beside the list: whether it answered.
fn without_answer(mut pod: JsonObject) -> JsonObject {
    for name in ["Header", "Request", "Response"] {
        pod.remove(name);
    }
    pod
}

/// The answer of a pod with the pod's name, or why there is none.
fn pod_document(pod: &str, told: &Result<AdminAnswer, CliError>, command: &AdminCommand) -> Value {
    let mut part = match told {
        Ok(answer) => print::named(answer, command),
        Err(failure) => {
            let reason = failure.lines().join("\n");
            JsonObject::from_iter([
                ("Outcome".to_owned(), json!({ "Status": false })),
                ("Error".to_owned(), json!(reason)),
            ])
        }
    };
    part.insert("Pod".to_owned(), json!(pod));
    Value::Object(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(command: &AdminCommand, document: &Value) -> AdminAnswer {
        let raw = document.to_string().into_bytes();
        parse_answer(None, command, raw).unwrap()
    }

    fn servers(names: &[(&str, Option<&str>)]) -> AdminAnswer {
        let servers: Vec<Value> = names
            .iter()
            .map(|(name, owner)| json!({"Server": name, "Active": true, "Owner": owner}))
            .collect();
        let document = json!({"Outcome": {"Status": true},
            "Response": {"NumberOfServers": servers.len(), "Servers": servers}});
        answer(&AdminCommand::Targets, &document)
    }

    fn two() -> Vec<PodAnswer> {
        vec![
            (
                "a".to_owned(),
                Ok(servers(&[("shop/z", Some("a")), ("file", None)])),
            ),
            (
                "b".to_owned(),
                Ok(servers(&[("shop/y", Some("b")), ("file", None)])),
            ),
            (
                "c".to_owned(),
                Err(CliError::NoAccess("it is away".to_owned())),
            ),
        ]
    }

    #[test]
    fn the_servers_of_all_pods_are_one_table_with_their_owners() {
        let merged = merge_answers(two(), &AdminCommand::Status, None);
        let rows: Vec<Vec<&str>> = merged
            .out
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let owners: Vec<(&str, &str)> = rows[1..].iter().map(|row| (row[0], row[6])).collect();
        assert_eq!(
            owners,
            [
                ("file", "a"),
                ("file", "b"),
                ("shop/y", "b"),
                ("shop/z", "a")
            ]
        );
        assert_eq!(merged.err, [("c".to_owned(), "it is away".to_owned())]);
        assert_eq!(merged.status, 3);
    }

    #[test]
    fn json_has_the_shape_of_one_exporters_answer_and_tells_of_each_pod() {
        let merged = merge_answers(two(), &AdminCommand::Status, Some(OutputFormat::Json));
        let whole: Value = serde_json::from_str(&merged.out).unwrap();
        assert_eq!(whole["Header"]["Command"], "status");
        assert_eq!(whole["Outcome"]["Status"], false);
        assert_eq!(whole["Response"]["NumberOfServers"], 4);
        assert_eq!(whole["Response"]["Servers"][3]["Pod"], "a");
        let pods = &whole["Response"]["Pods"];
        assert_eq!(pods[0], json!({"Pod": "a", "Outcome": {"Status": true}}));
        assert_eq!(pods[2]["Error"], "it is away");
    }

    #[test]
    fn other_answers_stand_below_the_names_of_their_pods_unless_there_is_one() {
        let command = AdminCommand::ConfGet(Some("log_level".to_owned()));
        let document = json!({"Outcome": {"Status": true}, "Response": {"log_level": "info"}});
        let told = |pod: &str| (pod.to_owned(), Ok(answer(&command, &document)));
        let one = merge_answers(vec![told("a")], &command, None);
        assert_eq!(one.out, "info\n");
        let both = merge_answers(vec![told("a"), told("b")], &command, None);
        assert_eq!(both.out, "a:\n  info\nb:\n  info\n");
        let raw = merge_answers(
            vec![told("a"), told("b")],
            &command,
            Some(OutputFormat::Raw),
        );
        assert_eq!(raw.out, format!("{document}\n{document}\n"));
    }
}
