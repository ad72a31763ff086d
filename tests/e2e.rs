//! Installed in a cluster, as a platform team does it: a real kubelet, real pods, real Services.
//!
//! `make e2e` runs it: as root on Linux in a cluster of one node that is made for it and removed
//! after, else in the cluster that `KUBECONFIG` names. The tests share what is installed, take
//! turns, and leave it as they found it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stderr)]

#[path = "e2e/install.rs"]
mod install;
#[path = "e2e/locked_down.rs"]
mod locked_down;
#[path = "e2e/management.rs"]
mod management;
#[path = "e2e/prometheus.rs"]
mod prometheus;
#[path = "e2e/refused.rs"]
mod refused;
#[path = "e2e/rotation.rs"]
mod rotation;
#[path = "e2e/scene.rs"]
mod scene;
#[path = "e2e/shards.rs"]
mod shards;
#[path = "e2e/shown.rs"]
mod shown;
use test_support as support;
#[path = "e2e/targets.rs"]
mod targets;
#[path = "e2e/theirs.rs"]
mod theirs;
#[path = "e2e/uninstall.rs"]
mod uninstall;
#[path = "e2e/without_api_server.rs"]
mod without_api_server;
