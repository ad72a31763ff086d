//! The programs of an API server: `kube-apiserver`, `etcd` and `kubectl`, built once by Go.
//!
//! The versions stand in `go/apiserver/go.mod` and `go/etcd/go.mod`, their checksums beside them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::super::downloads::{entry, run};

/// The version of Kubernetes, as in `go/apiserver/go.mod`.
pub const KUBERNETES: &str = "v1.34.4";
/// The version of etcd, as in `go/etcd/go.mod`.
pub const ETCD: &str = "v3.6.16";
/// The folder of all three programs, when there is one already: the convention of `setup-envtest`.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

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
        let (major, minor) = KUBERNETES
            .trim_start_matches('v')
            .split_once('.')
            .and_then(|(major, rest)| Some((major, rest.split_once('.')?.0)))
            .context("a version has three numbers")?;
        // Clients refuse an API server that does not know its own version.
        let variable = "-X k8s.io/component-base/version";
        build(
            &format!("kube-apiserver and kubectl {KUBERNETES}"),
            "5 minutes or more",
            "apiserver",
            &format!(
                "{variable}.gitVersion={KUBERNETES} {variable}.gitMajor={major} \
                 {variable}.gitMinor={minor}"
            ),
            &format!("{}/", folder.display()),
            &[
                "k8s.io/kubernetes/cmd/kube-apiserver",
                "k8s.io/kubernetes/cmd/kubectl",
            ],
        )
    })?;
    let etcd = entry(&format!("etcd-{ETCD}"), |folder| {
        build(
            &format!("etcd {ETCD}"),
            "2 minutes or more",
            "etcd",
            "",
            &folder.join("etcd").display().to_string(),
            &["go.etcd.io/etcd/server/v3"],
        )
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

/// Builds `packages` of the module `module` below `go` into `output`; politely, since it takes
/// minutes and whoever waits for it may want to do something else.
fn build(
    what: &str,
    duration: &str,
    module: &str,
    variables: &str,
    output: &str,
    packages: &[&str],
) -> Result<()> {
    let begin = Instant::now();
    eprintln!("{what}: building, once; {duration} on two cores");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support/kubernetes/go")
        .join(module);
    run(Command::new("nice")
        .args(["-n", "10", "go", "build", "-p", "2", "-mod=readonly"])
        .args(["-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(format!("-s -w {variables}"))
        .args(["-o", output])
        .args(packages)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .current_dir(source))
    .with_context(|| {
        format!(
            "{what} cannot be built: Go 1.26 (or newer) and a reachable module proxy are needed \
             the first time; or set {ASSETS_VARIABLE} to a folder with kube-apiserver, etcd and \
             kubectl (`setup-envtest use 1.34 -p path` prints one)"
        )
    })?;
    eprintln!("{what}: ready after {:.0} s", begin.elapsed().as_secs_f32());
    Ok(())
}
