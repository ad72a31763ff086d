//! Resource definitions of others that the chart makes objects of: the Prometheus operator's and
//! cert-manager's. They are files in modules of Go, copied into the cache folder.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::downloads::entry;
use super::golang::dependency;

/// The version of the Prometheus operator, as in `kubernetes/go/prometheus-operator/go.mod`.
pub const PROMETHEUS_OPERATOR: &str = "v0.85.0";
/// The version of cert-manager, as in `kubernetes/go/cert-manager/go.mod`.
pub const CERT_MANAGER: &str = "v1.21.2";

/// The folder of the definitions, a file each, called `GROUP_PLURAL.yaml`.
///
/// # Errors
/// They are not in the cache and cannot be downloaded.
pub fn definitions() -> Result<PathBuf> {
    let key = format!("definitions-{PROMETHEUS_OPERATOR}-{CERT_MANAGER}");
    entry(&key, |folder| {
        let sources = [
            (
                "prometheus-operator",
                "github.com/prometheus-operator/prometheus-operator",
                "example/prometheus-operator-crd",
            ),
            (
                "cert-manager",
                "github.com/cert-manager/cert-manager",
                "deploy/crds",
            ),
        ];
        for (module, path, below) in sources {
            let source = dependency(module, path)
                .with_context(|| format!("{path}: Go and a reachable module proxy are needed"))?
                .join(below);
            let mut copied = 0;
            for file in fs::read_dir(&source)?.flatten() {
                let name = file.file_name();
                if name.to_string_lossy().ends_with(".yaml") {
                    // Not with its mode: Go's are read-only.
                    fs::write(folder.join(name), fs::read(file.path())?)?;
                    copied += 1;
                }
            }
            ensure!(copied > 0, "{} has no definitions", source.display());
        }
        Ok(())
    })
}
