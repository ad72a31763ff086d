//! A command in a pod: `pgexporter-cli` is run there through the exec subresource.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::error::CliError;
use super::super::request::{AdminAnswer, LONGEST, parse_answer};
use super::cluster::ClusterClient;
use super::pods::{PodTarget, explain_refusal};
use crate::kubernetes::explain_chain;
use crate::management::AdminCommand;

/// The program that is run in the pod.
const PROGRAM: &str = "pgexporter-cli";
/// More than that on standard error is not read.
const LONGEST_COMPLAINT: usize = 1 << 20;

/// Runs the command in a pod.
///
/// # Errors
/// It cannot be run there, or the exporter there gives no answer.
pub(super) async fn run_in_pod(
    cluster: &ClusterClient,
    pod: &PodTarget,
    command: &AdminCommand,
    limit: Duration,
) -> Result<AdminAnswer, CliError> {
    let container = match &pod.container {
        Ok(container) => container,
        Err(why) => return Err(CliError::NoAccess(why.clone())),
    };
    let run = run(cluster, &pod.name, container, program_arguments(command));
    let ended = tokio::time::timeout(limit, run).await.unwrap_or_else(|_| {
        Err(CliError::NoAccess(format!(
            "no answer within {limit:?}; raise --request-timeout to wait longer"
        )))
    });
    ended.and_then(|ended| ended.into_answer(container, command))
}

/// What is run for a command.
pub(super) fn program_arguments(command: &AdminCommand) -> Vec<String> {
    let verb = command.verb().name().split(' ');
    let mut words: Vec<String> = [PROGRAM, "-F", "raw"]
        .into_iter()
        .chain(verb)
        .map(str::to_owned)
        .collect();
    // In the order of the command line, which is also that of their names.
    let values: Vec<String> = command
        .request()
        .into_iter()
        .filter_map(|(_, value)| value.as_str().map(str::to_owned))
        .collect();
    if !values.is_empty() {
        // A value may begin with a dash.
        words.push("--".to_owned());
        words.extend(values);
    }
    words
}

/// A program that ran.
struct FinishedProcess {
    status: Status,
    out: Vec<u8>,
    err: String,
}

async fn run(
    cluster: &ClusterClient,
    pod: &str,
    container: &str,
    words: Vec<String>,
) -> Result<FinishedProcess, CliError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let parameters = AttachParams::default()
        .container(container)
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(64 << 10);
    let mut process = api.exec(pod, words, &parameters).await.map_err(|error| {
        CliError::NoAccess(match is_program_missing(&error.to_string()) {
            true => explain_missing_program(container),
            false => explain_refusal(&error, cluster),
        })
    })?;
    let status = process.take_status();
    let (out, err) = (process.stdout(), process.stderr());
    let status = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let (out, err, status) = tokio::join!(
        read_all(out, LONGEST),
        read_all(err, LONGEST_COMPLAINT),
        status
    );
    let Some(status) = status else {
        let why = match process.join().await {
            Err(error) => explain_chain(&error),
            Ok(()) => "it was closed".to_owned(),
        };
        return Err(CliError::NoAccess(format!(
            "the connection broke before the command ended: {why}"
        )));
    };
    Ok(FinishedProcess {
        status,
        out,
        err: String::from_utf8_lossy(&err).into_owned(),
    })
}

/// Everything up to the end of the stream or the limit.
async fn read_all(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before the stream broke is read; the missing status tells of the break.
        let _ = stream.take(limit as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

impl FinishedProcess {
    /// What the exit status and the output mean.
    fn into_answer(self, container: &str, command: &AdminCommand) -> Result<AdminAnswer, CliError> {
        let lines: Vec<String> = self.err.lines().map(strip_program_name).collect();
        let said = |otherwise: &str| match lines.is_empty() {
            true => otherwise.to_owned(),
            false => lines.join("\n"),
        };
        match exit_status(&self.status) {
            // Refused, too, has an answer that says so.
            Some(0 | 1) => {
                let mut raw = self.out;
                // The program ends its line.
                raw.pop_if(|byte| *byte == b'\n');
                parse_answer(None, command, raw).map_err(|failure| match lines.is_empty() {
                    true => failure,
                    false => CliError::Refused(lines),
                })
            }
            Some(2) => Err(CliError::Refused(vec![format!(
                "its {PROGRAM} does not know `{}`: it may be an older version",
                command.verb().name()
            )])),
            Some(3) => Err(CliError::NoAccess(said("the exporter does not answer"))),
            Some(126 | 127) => Err(CliError::NoAccess(explain_missing_program(container))),
            Some(_) if is_program_missing(&self.err) => {
                Err(CliError::NoAccess(explain_missing_program(container)))
            }
            Some(status) => Err(CliError::NoAccess(said(&format!(
                "{PROGRAM} ended with status {status}"
            )))),
            None => {
                let message = self.status.message.unwrap_or_default();
                Err(CliError::NoAccess(match is_program_missing(&message) {
                    true => explain_missing_program(container),
                    false => format!("{PROGRAM} cannot be run: {message}"),
                }))
            }
        }
    }
}

/// A line of the program in the pod, without the name that it begins with.
fn strip_program_name(line: &str) -> String {
    let named = line.strip_prefix(PROGRAM);
    let line = named
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(line);
    super::super::print::harmless(line)
}

/// The exit status of a program that ran.
fn exit_status(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_ref()?.parse().ok()
}

/// Whether a container runtime says that there is no such program. containerd and CRI-O pass on
/// what runc and crun say.
fn is_program_missing(said: &str) -> bool {
    [
        "executable file not found",
        "executable file `pgexporter-cli` not found",
    ]
    .iter()
    .any(|words| said.contains(words))
        || (said.contains("no such file or directory") && said.contains(PROGRAM))
}

fn explain_missing_program(container: &str) -> String {
    format!(
        "the container {container} has no {PROGRAM}: name the exporter's container with --container"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::CliArguments;
    use clap::Parser;

    #[test]
    fn what_is_run_in_the_pod_means_the_same_there() {
        let text = |text: &str| text.to_owned();
        let all = [
            AdminCommand::Ping,
            AdminCommand::StatusDetails,
            AdminCommand::ConfGet(Some(text("log_level"))),
            AdminCommand::ConfSet {
                key: text("server.primary.port"),
                value: text("-1"),
            },
            AdminCommand::LogLevel {
                level: text("debug"),
            },
        ];
        for command in all {
            let there = CliArguments::try_parse_from(program_arguments(&command)).unwrap();
            assert_eq!(there.verb.command(), Some(command));
        }
    }

    #[test]
    fn the_words_of_the_runtimes_for_a_missing_program_are_known() {
        for said in [
            "Internal error occurred: error executing command in container: failed to exec in \
             container: failed to start exec \"1\": OCI runtime exec failed: exec failed: unable to \
             start container process: exec: \"pgexporter-cli\": executable file not found in $PATH",
            "executable file `pgexporter-cli` not found in $PATH: No such file or directory",
            "exec: \"pgexporter-cli\": stat pgexporter-cli: no such file or directory",
        ] {
            assert!(is_program_missing(said), "{said}");
        }
        assert!(!is_program_missing(
            "/etc/pgexporter/pgexporter.conf: no such file or directory"
        ));
    }
}
