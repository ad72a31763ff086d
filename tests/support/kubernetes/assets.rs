//! The programs of an API server: `kube-apiserver`, `etcd` and `kubectl`, built once by Go.
//!
//! The versions stand in `go/apiserver/go.mod` and `go/etcd/go.mod`, their checksums beside them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::downloads::entry;
use super::super::golang::Build;

/// The version of Kubernetes, as in `go/apiserver/go.mod`.
pub const KUBERNETES: &str = "v1.34.4";
/// The version of etcd, as in `go/etcd/go.mod`.
pub const ETCD: &str = "v3.6.16";
/// The folder of all three programs, when there is one already: the convention of `setup-envtest`.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

const HINT: &str = "; or set KUBEBUILDER_ASSETS to a folder with kube-apiserver, etcd and kubectl \
                    (`setup-envtest use 1.34 -p path` prints one)";

/// What makes a program of Kubernetes know its own version: clients refuse an API server that does
/// not.
///
/// # Errors
/// The version has not three numbers.
pub(in super::super) fn version_variables() -> Result<String> {
    let (major, minor) = KUBERNETES
        .trim_start_matches('v')
        .split_once('.')
        .and_then(|(major, rest)| Some((major, rest.split_once('.')?.0)))
        .context("a version has three numbers")?;
    let variable = "-X k8s.io/component-base/version";
    Ok(format!(
        "{variable}.gitVersion={KUBERNETES} {variable}.gitMajor={major} {variable}.gitMinor={minor}"
    ))
}

/// Where the programs lie.
#[derive(Clone, Debug)]
pub struct Assets {
    pub api_server: PathBuf,
    pub kubectl: PathBuf,
    pub etcd: PathBuf,
}

/// The programs: those of the folder that `KUBEBUILDER_ASSETS` names, else our own.
///
/// # Errors
/// When the named folder lacks one, or when they are not in the cache and cannot be built.
pub fn assets() -> Result<Assets> {
    if let Some(folder) = std::env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()) {
        return named(Path::new(&folder));
    }
    let kubernetes = entry(&format!("kubernetes-{KUBERNETES}"), |folder| {
        Build {
            what: &format!("kube-apiserver and kubectl {KUBERNETES}"),
            duration: "5 minutes or more",
            module: "apiserver",
            variables: &version_variables()?,
            tags: "",
            packages: &[
                "k8s.io/kubernetes/cmd/kube-apiserver",
                "k8s.io/kubernetes/cmd/kubectl",
            ],
            hint: HINT,
        }
        .build_into(folder)
    })?;
    let etcd = entry(&format!("etcd-{ETCD}"), |folder| {
        Build {
            what: &format!("etcd {ETCD}"),
            duration: "2 minutes or more",
            module: "etcd",
            variables: "",
            tags: "",
            packages: &["go.etcd.io/etcd/server/v3"],
            hint: HINT,
        }
        .build_into(&folder.join("etcd"))
    })?;
    Ok(Assets {
        api_server: kubernetes.join("kube-apiserver"),
        kubectl: kubernetes.join("kubectl"),
        etcd: etcd.join("etcd"),
    })
}

fn named(folder: &Path) -> Result<Assets> {
    let program = |name: &str| {
        let path = folder.join(name);
        ensure!(
            path.is_file(),
            "{ASSETS_VARIABLE} names {}, which has no {name}: correct it, or unset it to have \
             the programs built",
            folder.display()
        );
        Ok(path)
    };
    Ok(Assets {
        api_server: program("kube-apiserver")?,
        kubectl: program("kubectl")?,
        etcd: program("etcd")?,
    })
}
