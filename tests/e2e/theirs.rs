//! A cluster of somebody else: nothing of theirs is touched, and nothing of ours stays.

use crate::scene::{HOME, TEAMS};
use crate::support::cluster::Cluster;

/// On each namespace that is made here.
pub(crate) const MADE: &str = "pgexporter.io/e2e";
/// What `prometheus.yaml` makes beside namespaces.
const ROLES: &str = "pgexporter-e2e-prometheus";
const DEFINITION: &str = "postgrestargets.pgexporter.io";

/// Removes what a run before this one left, when it was interrupted. Fails the test where something
/// would be taken over that was not made here.
pub(crate) fn make_room(cluster: &Cluster) {
    if cluster.node().is_some() {
        return;
    }
    remove(cluster);
    for name in [HOME, TEAMS[0].0, TEAMS[1].0, "observe"] {
        assert!(
            cluster.get("namespace", "", name).is_none(),
            "the cluster of KUBECONFIG has a namespace {name}, which this test would make and \
             remove: name another cluster"
        );
    }
    assert!(
        cluster.get("crd", "", DEFINITION).is_none(),
        "the cluster of KUBECONFIG has PostgresTargets, which a second pgexporter would scrape \
         too: name another cluster"
    );
}

/// Removes what was made, the definition of a PostgresTarget included.
pub(crate) fn remove(cluster: &Cluster) {
    let made = format!("--selector={MADE}");
    let ours = cluster.kubectl(&["get", "namespaces", "-o", "name", &made]);
    if ours.trim().is_empty() {
        return;
    }
    eprintln!("e2e: removing {}", ours.trim().replace('\n', ", "));
    // What of the release stands in no namespace goes with it.
    let uninstall = ["uninstall", "pgexporter", "-n", HOME, "--ignore-not-found"];
    cluster
        .helm(&[&uninstall[..], &["--wait"]].concat())
        .unwrap_or_else(|said| panic!("{said}"));
    let kinds = ["clusterrole", "clusterrolebinding"].map(|kind| format!("{kind}/{ROLES}"));
    let delete = ["delete", "--ignore-not-found", "--timeout=120s"];
    let delete = |what: &[&str]| cluster.kubectl(&[&delete[..], what].concat());
    delete(&[&kinds[0], &kinds[1], &format!("crd/{DEFINITION}")]);
    delete(&["namespaces", &made]);
}
