//! The start: finds the cluster, and sets up watches, controller, Lease and the writer of statuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Config;
use tokio::sync::{Semaphore, watch};
use tracing::info;

use super::beside::CHECKS;
use super::client::{Book, client, explain_api, explain_infer};
use super::controller::{Control, Controller, Found, Progress, WatchState};
use super::lease::{Keeper, Share};
use super::metrics::Metrics;
use super::record::Chronicle;
use super::relist::follow_version;
use super::settings::Options;
use super::status::StatusWriter;
use super::verdict::Verdicts;
use super::watches;
use crate::exposition::OwnFamilies;
use crate::security::tls::provider;
use crate::shutdown::Shutdown;

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

/// A controller at work.
#[derive(Debug)]
pub struct Started {
    /// How far it is.
    pub progress: watch::Receiver<Progress>,
    /// What it tells of itself.
    pub families: Arc<dyn OwnFamilies>,
}

/// Starts controller and status writer as tasks of the shutdown, and the keeper of the Lease where
/// targets are shared.
///
/// The cluster is found as kubectl does it: `KUBECONFIG`, else `~/.kube/config`, else the service
/// account of the pod.
///
/// # Errors
/// There is no cluster to speak to. That it does not answer is no error: it is tried again.
pub async fn start(
    options: Options,
    control: Control,
    shutdown: &Shutdown,
) -> Result<Started, KubernetesError> {
    // The library takes the process's default; another that came first is the same one.
    let _ = Arc::unwrap_or_clone(provider()).install_default();
    let config = Config::infer()
        .await
        .map_err(|error| KubernetesError::NoCluster(explain_infer(&error)))?;
    info!(server = %config.cluster_url, "reading PostgresTargets");
    let book = Arc::new(Book::default());
    let client =
        client(config, &book).map_err(|error| KubernetesError::Unusable(explain_api(&error)))?;
    let metrics = Arc::new(Metrics::new(Arc::clone(&book), options.shards));
    let share = if options.shards {
        let (keeper, share) = Keeper::new(
            &client,
            &options,
            Arc::clone(&metrics),
            control.asked.clone(),
        );
        shutdown.spawn("lease", keeper.run(shutdown.clone()));
        share
    } else {
        watch::channel(Share::Alone).1
    };
    let (progress, progress_reader) = watch::channel(Progress::default());
    let (verdicts, verdicts_reader) = watch::channel(Verdicts::default());
    let (restored, restored_reader) = watch::channel(0);
    let (watches, happenings) = watches::watch(
        &client,
        &options.namespaces,
        &options.selector,
        options.discover,
        &restored_reader,
    );
    let place = options.namespaces.first().map(String::as_str);
    let follow = follow_version(watches::api(&client, place), restored, shutdown.clone());
    shutdown.spawn("resource version", follow);
    let status = StatusWriter {
        client: client.clone(),
        verdicts: verdicts_reader,
        health: control.health.clone(),
        owner: options.owner.clone(),
        chronicle: Chronicle::new(client.clone(), &options.owner, Arc::clone(&book)),
        metrics: Arc::clone(&metrics),
        book: Arc::clone(&book),
    };
    let state = |watch| (watch, WatchState::default());
    let controller = Controller {
        client,
        owner: options.owner,
        control,
        watches: watches.into_iter().map(state).collect::<BTreeMap<_, _>>(),
        share,
        missing: book.follow(),
        verdicts,
        progress,
        book,
        metrics: Arc::clone(&metrics),
        found: Found::default(),
        checks: Arc::new(Semaphore::new(CHECKS)),
        listed_at: None,
    };
    shutdown.spawn("kubernetes", controller.run(happenings, shutdown.clone()));
    shutdown.spawn("status", status.run(shutdown.clone()));
    Ok(Started {
        progress: progress_reader,
        families: metrics,
    })
}
