//! The way to the API server: a kubeconfig, as kubectl finds it.

use std::sync::Arc;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::super::error::CliError;
use super::arguments::KubectlOptions;
use crate::kubernetes::{explain_api, explain_kubeconfig};
use crate::security::tls::provider;

/// A cluster, and the namespace that is asked about.
pub(super) struct ClusterClient {
    /// Speaks with its API server.
    pub client: Client,
    /// The address of the API server.
    pub server: String,
    /// Where the pods are.
    pub namespace: String,
}

impl ClusterClient {
    /// As the options say; the server is not asked yet.
    ///
    /// # Errors
    /// There is no kubeconfig, or it cannot be used.
    pub(super) async fn from_options(options: &KubectlOptions) -> Result<Self, CliError> {
        // The library takes the process's default; another that came first is the same one.
        let _ = Arc::unwrap_or_clone(provider()).install_default();
        let mut config = configuration(options).await?;
        // A retried `shutdown` might meet the exporter that came after.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| {
            CliError::NoAccess(format!(
                "the kubeconfig cannot be used: {}",
                explain_api(&error)
            ))
        })?;
        Ok(Self {
            client,
            server,
            namespace,
        })
    }
}

async fn configuration(options: &KubectlOptions) -> Result<Config, CliError> {
    let read = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        // In a pod, as kubectl does it.
        Err(error) if options.kubeconfig.is_none() && options.context.is_none() => {
            return Config::incluster().map_err(|_| CliError::NoAccess(explain_kubeconfig(&error)));
        }
        Err(error) => return Err(CliError::NoAccess(explain_kubeconfig(&error))),
    };
    let names: Vec<String> = kubeconfig
        .contexts
        .iter()
        .map(|one| one.name.clone())
        .collect();
    let proxied = kubeconfig
        .clusters
        .iter()
        .filter_map(|one| one.cluster.as_ref())
        .any(|one| one.proxy_url.is_some());
    let context = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let made = Config::from_custom_kubeconfig(kubeconfig, &context).await;
    let mut config = made.map_err(|error| CliError::NoAccess(unusable(&error, &names)))?;
    if !proxied {
        // From HTTPS_PROXY, which is not spoken.
        config.proxy_url = None;
    }
    Ok(config)
}

fn unusable(error: &KubeconfigError, names: &[String]) -> String {
    let names = match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    match error {
        KubeconfigError::LoadContext(name) if !name.is_empty() => {
            format!("the kubeconfig has no context {name}; it has: {names}")
        }
        KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet => format!(
            "the kubeconfig has no current context: choose one with --context; it has: {names}"
        ),
        error => explain_kubeconfig(error),
    }
}
