//! Whether there is a cluster to read servers from, and the start of reading.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{KubernetesMode, Main};
use crate::kubernetes::{self, Control, KubernetesError, Options};
use crate::shutdown::Shutdown;

/// Where the kubelet puts what a pod logs in with.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Starts the controller where the configuration wants it. What comes back turns true once the
/// first list was resolved; it is true at once where there is no cluster.
///
/// # Errors
/// A cluster is wanted and there is none.
pub(super) async fn start(
    main: &Main,
    control: Control,
    shutdown: &Shutdown,
) -> Result<watch::Receiver<bool>, KubernetesError> {
    let wanted = match main.kubernetes {
        KubernetesMode::On => true,
        KubernetesMode::Off => false,
        KubernetesMode::Auto => in_a_pod(),
    };
    if !wanted {
        return Ok(watch::channel(true).1);
    }
    let options = Options {
        namespaces: main.kubernetes_namespaces.clone(),
        selector: main.kubernetes_selector.clone(),
        owner: owner(),
    };
    kubernetes::start(options, control, shutdown).await
}

fn in_a_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(TOKEN).exists()
}

/// The pod's name: as the downward API gives it, else the name of the host, which is the same
/// unless somebody chose another.
pub(super) fn owner() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    })
}

/// Kept to tell the controller of a reload.
pub(super) type SettingsSender = watch::Sender<Arc<kubernetes::Settings>>;
