//! Starts the controller where the configuration wants it or a cluster is found.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{Discover, KubernetesMode, Main, Shards};
use crate::http::Readiness;
use crate::kubernetes::{
    self, ControllerContext, ControllerOptions, ControllerProgress, KubernetesError,
    StartedController,
};
use crate::shutdown::Shutdown;

/// Where the kubelet puts the token of the service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Starts the controller where the configuration wants it; `None` where it wants none.
///
/// # Errors
/// A cluster is wanted and there is none.
pub(super) async fn start_controller(
    main: &Main,
    context: ControllerContext,
    shutdown: &Shutdown,
) -> Result<Option<StartedController>, KubernetesError> {
    let wanted = match main.kubernetes {
        KubernetesMode::On => true,
        KubernetesMode::Off => false,
        KubernetesMode::Auto => in_a_pod(),
    };
    if !wanted {
        return Ok(None);
    }
    let options = ControllerOptions {
        namespaces: main.kubernetes_namespaces.clone(),
        selector: main.kubernetes_selector.clone(),
        owner: pod_or_host_name(),
        // POD_UID belongs to the pod of POD_NAME, so it is used only together with that.
        owner_uid: std::env::var("POD_NAME")
            .and_then(|_| std::env::var("POD_UID"))
            .ok(),
        shards: main.kubernetes_shards == Shards::Lease,
        discover: main.kubernetes_discover == Discover::Services,
    };
    kubernetes::start(options, context, shutdown)
        .await
        .map(Some)
}

/// The readiness that follows from the controller's progress.
pub(super) fn readiness(progress: &ControllerProgress) -> Readiness {
    let mut reasons = Vec::new();
    if !progress.synced {
        reasons.push("the first list of PostgresTargets is not resolved yet".to_owned());
    }
    reasons.extend(progress.blocked.clone());
    let ready = reasons.is_empty();
    reasons.extend(progress.notes.iter().cloned());
    Readiness { ready, reasons }
}

fn in_a_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(TOKEN).exists()
}

/// The pod's name: as the downward API gives it, else the name of the host, which is the same
/// unless somebody chose another.
pub(super) fn pod_or_host_name() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    })
}

/// Sends the settings of a reload to the controller.
pub(super) type SettingsSender = watch::Sender<Arc<kubernetes::KubernetesSettings>>;
