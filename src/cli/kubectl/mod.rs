//! `kubectl pgexporter`: `pgexporter-cli` for exporters in a cluster.
//!
//! kubectl runs a program called `kubectl-pgexporter`, which is `pgexporter-cli` by another name.
//! In go kubectl's options and a command; out comes what all pods say, as one. The only part of
//! the command lines that knows Kubernetes.
//!
//! ```text
//! arguments ─► cluster (kubeconfig) ─► pods (by label) ─► exec, in each ─► merge ─► print
//! ```

mod arguments;
mod cluster;
mod exec;
mod merge;
mod pods;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use futures_util::StreamExt;

use super::error::CliError;
use super::output::{print_errors, show};
use super::progress::ProgressLine;
use crate::management::AdminCommand;
use arguments::{KubectlArguments, KubectlOptions};
use cluster::ClusterClient;
use merge::MergedOutput;
use pods::PodTarget;

/// The name that kubectl looks for.
const NAME: &str = "kubectl-pgexporter";
/// How many pods are asked at once.
const AT_ONCE: usize = 16;

/// Whether the program was called as kubectl does it.
pub(super) fn is_called(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(|name| Path::new(name).file_stem());
    name.flatten().is_some_and(|name| name == NAME)
}

/// Runs the program with the arguments, the first of which is its own name.
pub(super) fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match KubectlArguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let carried = run_command(&arguments).and_then(|merged| {
        show(&merged.out)?;
        Ok(merged.status)
    });
    ExitCode::from(carried.unwrap_or_else(|failure| {
        print_errors(NAME, &failure.lines());
        failure.status()
    }))
}

fn run_command(arguments: &KubectlArguments) -> Result<MergedOutput, CliError> {
    let command = arguments.verb.command().ok_or_else(|| {
        CliError::Usage("this command reads local files: use pgexporter-cli".to_owned())
    })?;
    if arguments.verb.watch().is_some() {
        return Err(CliError::Usage(
            "--watch is only available in pgexporter-cli: use `watch kubectl pgexporter targets`"
                .to_owned(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Refused(vec![format!("cannot start the runtime: {error}")]))?;
    let merged = runtime.block_on(run_in_pods(&arguments.options, command))?;
    // A thread may still wait for the resolver; the program does not wait for it.
    runtime.shutdown_background();
    Ok(merged)
}

async fn run_in_pods(
    options: &KubectlOptions,
    command: AdminCommand,
) -> Result<MergedOutput, CliError> {
    let waiting = ProgressLine::show(command.verb().name());
    let cluster = ClusterClient::from_options(options).await?;
    let pods = pods::find_pods(&cluster, options).await?;
    if command.verb().changes() && pods.len() > 1 {
        return Err(CliError::Usage(explain_choice(
            &pods,
            &command,
            &cluster.namespace,
        )));
    }
    let asked = merge::command_for_pods(command.clone(), options.format);
    let (cluster, asked) = (&cluster, &asked);
    let told: Vec<merge::PodAnswer> = futures_util::stream::iter(&pods)
        .map(|pod| async move {
            let told = exec::run_in_pod(cluster, pod, asked, options.request_timeout).await;
            (pod.name.clone(), told)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    drop(waiting);
    for (pod, (_, told)) in pods.iter().zip(&told) {
        // Where the container does not run the reason is told already.
        if let (Some(why), Ok(_)) = (&pod.unready, &pod.container) {
            let what = match told {
                Ok(_) => "it answers but is not ready",
                Err(_) => "it is not ready",
            };
            print_errors(NAME, &[format!("pod {}: {what}: {why}", pod.name)]);
        }
    }
    let merged = merge::merge_answers(told, &command, options.format);
    for (pod, line) in &merged.err {
        print_errors(NAME, &[format!("pod {pod}: {line}")]);
    }
    Ok(merged)
}

fn explain_choice(pods: &[PodTarget], command: &AdminCommand, namespace: &str) -> String {
    let name = command.verb().name();
    let mut text = format!(
        "`{name}` is for one exporter, and the namespace {namespace} has {}: choose with --pod",
        pods.len()
    );
    for pod in pods {
        text.push_str(&format!("\n  --pod {}", pod.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_it_is_called_by_decides() {
        let called = |name: &str| is_called(&[OsString::from(name)]);
        assert!(called("kubectl-pgexporter"));
        assert!(called("/usr/local/bin/kubectl-pgexporter"));
        assert!(!called("/usr/local/bin/pgexporter-cli"));
        assert!(!is_called(&[]));
    }
}
