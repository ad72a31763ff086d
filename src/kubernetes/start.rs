//! The start: finds the cluster, and sets up watches, controller, Lease and the writer of statuses.

use std::sync::Arc;

use kube::Config;
use tokio::sync::{Semaphore, watch};
use tracing::info;

use super::api::CatalogLabels;
use super::client::{ApiRequests, build_client, explain_api, explain_infer};
use super::controller::{Controller, ControllerContext};
use super::index::Index;
use super::metrics::ControllerMetrics;
use super::publish::events::EventRecorder;
use super::publish::progress::ControllerProgress;
use super::publish::status::StatusWriter;
use super::reconcile::outcome::ReconcileOutcomes;
use super::reconcile::pipeline::CONCURRENT_VALIDATIONS;
use super::settings::ControllerOptions;
use super::sharding::lease::LeaseHolder;
use super::sharding::ownership::Assignment;
use super::source::relist::follow_version;
use super::source::watch_states::WatchStates;
use super::source::watches;
use crate::exposition::SelfMetrics;
use crate::security::tls::provider;
use crate::shutdown::Shutdown;
use crate::supervision::TaskName;

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no way to the API server.
    #[error(
        "kubernetes: there is no configuration of a cluster ({0}); run it in a pod with a service \
         account, name a kubeconfig in KUBECONFIG, or set kubernetes = off"
    )]
    NoCluster(String),
    /// The configuration cannot be used.
    #[error("kubernetes: the configuration of the cluster cannot be used: {0}")]
    Unusable(String),
}

/// A controller that runs.
#[derive(Debug)]
pub struct StartedController {
    /// How far the controller is.
    pub progress: watch::Receiver<ControllerProgress>,
    /// Its own metric families.
    pub families: Arc<dyn SelfMetrics>,
}

/// Starts controller and status writer as tasks of the shutdown, and the lease holder where
/// targets are shared.
///
/// The cluster is found as kubectl does it: `KUBECONFIG`, else `~/.kube/config`, else the service
/// account of the pod.
///
/// # Errors
/// There is no cluster to speak to. That it does not answer is no error: it is tried again.
pub async fn start(
    options: ControllerOptions,
    control: ControllerContext,
    shutdown: &Shutdown,
) -> Result<StartedController, KubernetesError> {
    // The library takes the process's default; another that came first is the same one.
    let _ = Arc::unwrap_or_clone(provider()).install_default();
    let config = Config::infer()
        .await
        .map_err(|error| KubernetesError::NoCluster(explain_infer(&error)))?;
    info!(server = %config.cluster_url, "reading PostgresTargets");
    let api_requests = Arc::new(ApiRequests::default());
    let client = build_client(config, &api_requests)
        .map_err(|error| KubernetesError::Unusable(explain_api(&error)))?;
    let metrics = Arc::new(ControllerMetrics::new(
        Arc::clone(&api_requests),
        options.shards,
    ));
    let share = if options.shards {
        let (holder, share) = LeaseHolder::new(
            &client,
            &options,
            Arc::clone(&metrics),
            control.scraped.clone(),
        );
        shutdown.spawn_essential("lease", TaskName::Lease, holder.run(shutdown.clone()));
        share
    } else {
        watch::channel(Assignment::Everything).1
    };
    let (progress, progress_reader) = watch::channel(ControllerProgress::default());
    let (outcomes, outcomes_reader) = watch::channel(ReconcileOutcomes::default());
    let (restored, restored_reader) = watch::channel(0);
    let (watches, events) = watches::start_watches(
        &client,
        &options.namespaces,
        &options.selector,
        options.discover,
        &restored_reader,
    );
    let place = options.namespaces.first().map(String::as_str);
    let follow = follow_version(watches::api(&client, place), restored, shutdown.clone());
    shutdown.spawn_essential("resource version", TaskName::Controller, follow);
    let status = StatusWriter {
        client: client.clone(),
        outcomes: outcomes_reader,
        health: control.health.clone(),
        owner: options.owner.clone(),
        recorder: EventRecorder::new(client.clone(), &options.owner, Arc::clone(&api_requests)),
        metrics: Arc::clone(&metrics),
        api_requests: Arc::clone(&api_requests),
    };
    let controller = Controller {
        client,
        owner: options.owner,
        context: control,
        watches: WatchStates::new(watches, Arc::clone(&api_requests)),
        assignment: share,
        missing: api_requests.subscribe(),
        outcomes,
        progress,
        metrics: Arc::clone(&metrics),
        index: Index::default(),
        labels: CatalogLabels::default(),
        validations: Arc::new(Semaphore::new(CONCURRENT_VALIDATIONS)),
        listed_at: None,
    };
    shutdown.spawn_essential(
        "kubernetes",
        TaskName::Controller,
        controller.run(events, shutdown.clone()),
    );
    shutdown.spawn_essential("status", TaskName::Status, status.run(shutdown.clone()));
    Ok(StartedController {
        progress: progress_reader,
        families: metrics,
    })
}
