//! The pods of an exporter: found by label or by name, and which container of each is asked.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use kube::Api;
use kube::api::ListParams;

use super::super::error::CliError;
use super::arguments::KubectlOptions;
use super::cluster::ClusterClient;
use crate::kubernetes::explain_api;

/// A pod that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodTarget {
    /// Its name.
    pub name: String,
    /// The container that has the exporter; or why it cannot be asked.
    pub container: Result<String, String>,
    /// Why it is not ready; nothing when it is.
    pub unready: Option<String>,
}

/// The pods, by name.
///
/// # Errors
/// There are none, or we may not look.
pub(super) async fn find_pods(
    cluster: &ClusterClient,
    options: &KubectlOptions,
) -> Result<Vec<PodTarget>, CliError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let namespace = &cluster.namespace;
    if let Some(name) = &options.pod {
        let found = request_within(cluster, options.request_timeout, api.get_opt(name)).await?;
        let pod = found.ok_or_else(|| {
            CliError::NoAccess(format!(
                "there is no pod {name} in the namespace {namespace}"
            ))
        })?;
        return Ok(vec![pod_target(&pod, options.container.as_deref())]);
    }
    let selector = &options.selector;
    let wanted = ListParams::default().labels(selector);
    let list = request_within(cluster, options.request_timeout, api.list(&wanted)).await?;
    let mut pods: Vec<PodTarget> = list
        .items
        .iter()
        .filter(|pod| !is_over(pod))
        .map(|pod| pod_target(pod, options.container.as_deref()))
        .collect();
    pods.sort_by(|one, other| one.name.cmp(&other.name));
    if pods.is_empty() {
        return Err(CliError::NoAccess(format!(
            "no pod in the namespace {namespace} has the labels {selector}: name the exporter's \
             namespace with -n, its labels with --selector"
        )));
    }
    Ok(pods)
}

async fn request_within<T>(
    cluster: &ClusterClient,
    limit: Duration,
    asking: impl Future<Output = kube::Result<T>>,
) -> Result<T, CliError> {
    let server = &cluster.server;
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(|error| CliError::NoAccess(explain_refusal(&error, cluster))),
        Err(_) => Err(CliError::NoAccess(format!(
            "the API server {server} does not answer within {limit:?}"
        ))),
    }
}

/// What an error of the API server means to whoever asked.
pub(super) fn explain_refusal(error: &kube::Error, cluster: &ClusterClient) -> String {
    let (server, namespace) = (&cluster.server, &cluster.namespace);
    match error {
        kube::Error::Api(status) if status.is_forbidden() => format!(
            "the cluster does not allow you to do this: {}; you need these permissions in the \
             namespace {namespace}: get and list of pods, get and create of pods/exec",
            status.message
        ),
        kube::Error::Api(status) if status.code == 401 => format!(
            "the API server {server} rejected your credentials: {}; log in again, or choose \
             another --context",
            status.message
        ),
        kube::Error::Api(status) => format!("the API server says: {}", status.message),
        error => format!(
            "the request to the API server {server} failed: {}",
            explain_api(error)
        ),
    }
}

/// Whether it has ended, or is being deleted.
fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

fn pod_target(pod: &Pod, wanted: Option<&str>) -> PodTarget {
    let status = pod.status.clone().unwrap_or_default();
    let unready = unready(&status);
    PodTarget {
        name: pod.metadata.name.clone().unwrap_or_default(),
        container: container(pod, wanted).and_then(|name| {
            let why = not_running(&status, &name, unready.as_deref());
            why.map_or(Ok(name), Err)
        }),
        unready,
    }
}

/// The container that the options name; else the one that kubectl would take, or ours by its name.
fn container(pod: &Pod, wanted: Option<&str>) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let names: Vec<&str> = spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|one| one.name.as_str())
        .collect();
    if let Some(wanted) = wanted {
        return match names.contains(&wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(format!(
                "it has no container {wanted}; it has: {}",
                names.join(", ")
            )),
        };
    }
    let annotations = pod.metadata.annotations.as_ref();
    let default = annotations
        .and_then(|all| all.get("kubectl.kubernetes.io/default-container"))
        .map(String::as_str);
    let ours = [default, Some("pgexporter")];
    let ours = ours.into_iter().flatten().find(|name| names.contains(name));
    ours.or(names.first().copied())
        .map(str::to_owned)
        .ok_or_else(|| "it has no container".to_owned())
}

fn unready(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let ready = conditions.clone().find(|one| one.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(
            [&ready.message, &ready.reason]
                .into_iter()
                .flatten()
                .find(|text| !text.is_empty())
                .cloned()
                .unwrap_or_else(|| "its condition Ready is not True".to_owned()),
        ),
        None => {
            // Before a node has it only the scheduler has something to say.
            let scheduled = conditions.clone().find(|one| one.type_ == "PodScheduled");
            let why = scheduled
                .filter(|one| one.status != "True")
                .and_then(|one| one.message.clone().or_else(|| one.reason.clone()));
            Some(why.unwrap_or_else(|| "it has not started".to_owned()))
        }
    }
}

/// Why nothing can run in the container.
fn not_running(status: &PodStatus, name: &str, unready: Option<&str>) -> Option<String> {
    let state = status
        .container_statuses
        .iter()
        .flatten()
        .find(|one| one.name == name)
        .and_then(|one| one.state.clone());
    let why = match state {
        Some(ContainerState {
            running: Some(_), ..
        }) => return None,
        Some(ContainerState {
            waiting: Some(waiting),
            ..
        }) => join_reasons("it waits", waiting.reason, waiting.message),
        Some(ContainerState {
            terminated: Some(ended),
            ..
        }) => join_reasons("it ended", ended.reason, ended.message),
        _ => unready.unwrap_or("it has not started").to_owned(),
    };
    Some(format!("the container {name} is not running: {why}"))
}

fn join_reasons(what: &str, reason: Option<String>, message: Option<String>) -> String {
    let more: Vec<String> = [reason, message].into_iter().flatten().collect();
    match more.is_empty() {
        true => what.to_owned(),
        false => format!("{what}: {}", more.join(": ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod as the API server shows it.
    fn pod(more: &str, status: &str) -> Pod {
        let text = format!(
            "metadata: {{name: a{more}}}\n\
             spec: {{containers: [{{name: proxy}}, {{name: pgexporter}}]}}\n\
             status: {status}\n"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    const RUNS: &str = "{phase: Running, conditions: [{type: Ready, status: 'True'}], \
                        containerStatuses: [{name: pgexporter, state: {running: {}}, ready: true, \
                        image: '', imageID: '', restartCount: 0}]}";

    #[test]
    fn the_container_is_the_named_one_the_default_one_or_ours() {
        let plain = pod("", RUNS);
        assert_eq!(container(&plain, None), Ok("pgexporter".to_owned()));
        assert_eq!(container(&plain, Some("proxy")), Ok("proxy".to_owned()));
        let annotated = ", annotations: {kubectl.kubernetes.io/default-container: proxy}";
        assert_eq!(
            container(&pod(annotated, RUNS), None),
            Ok("proxy".to_owned())
        );
        let none = container(&plain, Some("sidecar")).unwrap_err();
        assert_eq!(
            none,
            "it has no container sidecar; it has: proxy, pgexporter"
        );
        // A chart of somebody else's.
        let mut other = plain;
        other.spec.as_mut().unwrap().containers.pop();
        assert_eq!(container(&other, None), Ok("proxy".to_owned()));
    }

    #[test]
    fn what_does_not_run_says_why_and_what_runs_unready_is_asked() {
        let good = pod_target(&pod("", RUNS), None);
        assert_eq!(good.container, Ok("pgexporter".to_owned()));
        assert_eq!(good.unready, None);
        let unready = RUNS.replace(
            "status: 'True'",
            "status: 'False', message: no list of targets yet",
        );
        let unready = pod_target(&pod("", &unready), None);
        assert_eq!(unready.container, Ok("pgexporter".to_owned()));
        assert_eq!(unready.unready.as_deref(), Some("no list of targets yet"));
        let looping = RUNS.replace(
            "running: {}",
            "waiting: {reason: CrashLoopBackOff, message: back-off 10s}",
        );
        assert_eq!(
            pod_target(&pod("", &looping), None).container.unwrap_err(),
            "the container pgexporter is not running: it waits: CrashLoopBackOff: back-off 10s"
        );
        let pending = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', \
                       message: no node fits}]}";
        assert_eq!(
            pod_target(&pod("", pending), None).container.unwrap_err(),
            "the container pgexporter is not running: no node fits"
        );
    }

    #[test]
    fn pods_that_have_ended_or_shall_end_are_not_asked() {
        assert!(!is_over(&pod("", RUNS)));
        assert!(is_over(&pod("", "{phase: Succeeded}")));
        let deleted = ", deletionTimestamp: '2026-01-02T03:04:05Z'";
        assert!(is_over(&pod(deleted, RUNS)));
    }
}
