//! Helm and kubeconform, built once by Go.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::downloads::entry;
use super::golang::Build;

/// The version of Helm, as in `kubernetes/go/helm/go.mod`.
pub const HELM: &str = "v3.21.4";
/// The version of kubeconform, as in `kubernetes/go/kubeconform/go.mod`.
pub const KUBECONFORM: &str = "v0.8.0";

/// The program `helm`.
///
/// # Errors
/// It is not in the cache and cannot be built.
pub fn helm() -> Result<PathBuf> {
    // Without them it takes the cluster that it renders for to be Kubernetes 1.20.
    let variables: String = ["chartutil", "lint/rules"]
        .iter()
        .map(|package| {
            let variable = format!("-X helm.sh/helm/v3/pkg/{package}.k8sVersion");
            format!("{variable}Major=1 {variable}Minor=34 ")
        })
        .collect();
    let folder = entry(&format!("helm-{HELM}"), |folder| {
        Build {
            what: &format!("helm {HELM}"),
            duration: "2 minutes",
            module: "helm",
            variables: &format!("{variables}-X helm.sh/helm/v3/internal/version.version={HELM}"),
            tags: "",
            packages: &["helm.sh/helm/v3/cmd/helm"],
            hint: "",
        }
        .build_into(folder)
    })?;
    Ok(folder.join("helm"))
}

/// The program `kubeconform`.
///
/// # Errors
/// It is not in the cache and cannot be built.
pub fn kubeconform() -> Result<PathBuf> {
    let folder = entry(&format!("kubeconform-{KUBECONFORM}"), |folder| {
        Build {
            what: &format!("kubeconform {KUBECONFORM}"),
            duration: "some seconds",
            module: "kubeconform",
            variables: "",
            tags: "",
            packages: &["github.com/yannh/kubeconform/cmd/kubeconform"],
            hint: "",
        }
        .build_into(folder)
    })?;
    Ok(folder.join("kubeconform"))
}

/// A command of Helm that leaves nothing in the user's home.
///
/// # Errors
/// As [`helm`].
pub fn command() -> Result<Command> {
    let mut command = Command::new(helm()?);
    let nowhere = "/nonexistent/helm";
    command
        .env("HELM_CACHE_HOME", nowhere)
        .env("HELM_CONFIG_HOME", nowhere)
        .env("HELM_DATA_HOME", nowhere)
        .env_remove("KUBECONFIG");
    Ok(command)
}
