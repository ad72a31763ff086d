//! A Prometheus that knows Kubernetes, and the Prometheus operator, built once by Go.

use std::path::PathBuf;

use anyhow::Result;

use super::super::definitions::PROMETHEUS_OPERATOR;
use super::super::downloads::entry;
use super::super::golang::Build;

/// The version of Prometheus, as in `kubernetes/go/prometheus/go.mod`: v0.314 is 3.14.
pub const PROMETHEUS: &str = "v0.314.0";

/// The program `prometheus`. Debian's finds no pods.
///
/// # Errors
/// It is not in the cache and cannot be built.
pub fn prometheus() -> Result<PathBuf> {
    let folder = entry(&format!("prometheus-{PROMETHEUS}"), |folder| {
        Build {
            what: &format!("prometheus {PROMETHEUS}"),
            duration: "3 minutes",
            module: "prometheus",
            variables: "-X github.com/prometheus/common/version.Version=3.14.0",
            tags: "remove_all_sd,enable_kubernetes_sd",
            packages: &["github.com/prometheus/prometheus/cmd/prometheus"],
            hint: "",
        }
        .build_into(&folder.join("prometheus"))
    })?;
    Ok(folder.join("prometheus"))
}

/// The folder of the programs `operator` and `prometheus-config-reloader`.
///
/// # Errors
/// They are not in the cache and cannot be built.
pub fn operator() -> Result<PathBuf> {
    entry(
        &format!("prometheus-operator-{PROMETHEUS_OPERATOR}"),
        |folder| {
            let module = "github.com/prometheus-operator/prometheus-operator/cmd";
            Build {
                what: &format!("Prometheus operator {PROMETHEUS_OPERATOR}"),
                duration: "2 minutes",
                module: "prometheus-operator",
                variables: "",
                tags: "",
                packages: &[
                    &format!("{module}/operator"),
                    &format!("{module}/prometheus-config-reloader"),
                ],
                hint: "",
            }
            .build_into(folder)
        },
    )
}
