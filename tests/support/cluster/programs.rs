//! The programs of a node: Kubernetes' own built by Go, the container runtime from Debian.

use std::path::PathBuf;

use anyhow::Result;

use super::super::debian::{apt_download, system};
use super::super::downloads::entry;
use super::super::golang::Build;
use super::super::kubernetes::KUBERNETES;
use super::super::kubernetes::assets::version_variables;

/// The version of CoreDNS, as in `kubernetes/go/coredns/go.mod`.
const COREDNS: &str = "v1.15.0";

/// containerd with runc and the plugins for the network, nft for kube-proxy, and libraries.
const PACKAGES: &[&str] = &[
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "libbsd0",
    "libedit2",
    "libgmp10",
    "libjansson4",
    "libmd0",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
    "nftables",
    "runc",
];

/// The folder of the unpacked packages.
///
/// # Errors
/// They cannot be downloaded.
pub fn runtime() -> Result<PathBuf> {
    entry(&format!("node-{}", system()?), |folder| {
        apt_download(PACKAGES, folder)
    })
}

/// The folder of `kubelet`, `kube-controller-manager`, `kube-scheduler` and `kube-proxy`.
///
/// # Errors
/// They cannot be built.
pub fn kubernetes() -> Result<PathBuf> {
    entry(&format!("kubernetes-node-{KUBERNETES}"), |folder| {
        let packages = [
            "kubelet",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
        ]
        .map(|name| format!("k8s.io/kubernetes/cmd/{name}"));
        Build {
            what: &format!("kubelet and the rest of a node {KUBERNETES}"),
            duration: "4 minutes",
            module: "apiserver",
            variables: &version_variables()?,
            tags: "",
            packages: &packages.each_ref().map(String::as_str),
            hint: "; or set KUBECONFIG to a cluster that you have",
        }
        .build_into(folder)
    })
}

/// The program `coredns`.
///
/// # Errors
/// It cannot be built.
pub fn coredns() -> Result<PathBuf> {
    let folder = entry(&format!("coredns-{COREDNS}"), |folder| {
        Build {
            what: &format!("CoreDNS {COREDNS}"),
            duration: "2 minutes",
            module: "coredns",
            variables: "",
            tags: "",
            packages: &["."],
            hint: "",
        }
        .build_into(&folder.join("coredns"))
    })?;
    Ok(folder.join("coredns"))
}
