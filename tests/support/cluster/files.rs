//! The configuration of each part of the node.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::node::{ADDRESS, DNS};

/// The first process: the network of the node, and mounts that hide what is the machine's.
pub(super) const FIRST: &str = r#"set -e
mount --make-rshared /
mount --bind ld.so.cache /etc/ld.so.cache
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done
ip link set lo up
# An interface with a default route, from which the parts take the address of the node.
ip link add eth0 type bridge
ip addr add 198.18.0.1/24 dev eth0
ip link set eth0 up
ip route add default via 198.18.0.254 dev eth0
echo 1 >/proc/sys/net/ipv4/ip_forward
touch ready
# It takes in the orphans of the node.
while :; do sleep 3600 & wait; done
"#;

pub(super) const API_SERVER: &[&str] = &[
    "--etcd-servers=http://127.0.0.1:2379",
    "--secure-port=6443",
    "--bind-address=0.0.0.0",
    "--advertise-address=198.18.0.1",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=RBAC",
    "--allow-privileged=true",
    "--client-ca-file=ca.crt",
    "--tls-cert-file=server.crt",
    "--tls-private-key-file=server.key",
    "--kubelet-client-certificate=admin.crt",
    "--kubelet-client-key=admin.key",
    "--kubelet-preferred-address-types=InternalIP",
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-account-key-file=accounts.pub",
    "--service-account-signing-key-file=accounts.key",
    "--cert-dir=.",
];

pub(super) const CONTROLLERS: [(&str, &[&str]); 2] = [
    (
        "kube-controller-manager",
        &[
            "--kubeconfig=admin.kubeconfig",
            "--leader-elect=false",
            "--service-account-private-key-file=accounts.key",
            "--root-ca-file=ca.crt",
            "--allocate-node-cidrs=false",
            "--authentication-kubeconfig=admin.kubeconfig",
            "--authorization-kubeconfig=admin.kubeconfig",
        ],
    ),
    (
        "kube-scheduler",
        &[
            "--kubeconfig=admin.kubeconfig",
            "--leader-elect=false",
            "--authentication-kubeconfig=admin.kubeconfig",
            "--authorization-kubeconfig=admin.kubeconfig",
        ],
    ),
];

pub(super) const KUBELET: &[&str] = &[
    "--config=kubelet.yaml",
    "--kubeconfig=admin.kubeconfig",
    "--hostname-override=node",
    "--node-ip=198.18.0.1",
];

/// Writes the files of the node into its folder.
pub(super) fn write(folder: &Path, runtime: &Path) -> Result<()> {
    let place = folder.display();
    let group = folder.file_name().context("a folder")?.to_string_lossy();
    let packages = runtime.display();
    let containerd = format!(
        r#"version = 2
root = "{place}/containerd"
state = "{place}/containerd-state"
[grpc]
address = "{place}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without CAP_SYS_RESOURCE nobody is made less likely to be killed.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{packages}/usr/lib/cni"
conf_dir = "{place}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{packages}/usr/sbin/runc"
SystemdCgroup = false
"#,
        pause = super::super::images::PAUSE,
    );
    let network = r#"{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
"#;
    let kubelet = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: false}}, x509: {{clientCAFile: {place}/ca.crt}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{group}
clusterDNS: [{DNS}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{place}/containerd.sock
enforceNodeAllocatable: []
evictionHard: {{imagefs.available: 0%, memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%}}
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
podLogsDir: {place}/pods
resolvConf: \"\"
# How soon a mounted ConfigMap follows.
syncFrequency: 5s
"
    );
    let proxy = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: admin.kubeconfig}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
hostnameOverride: node
mode: nftables
# An answer between two pods would go past the node's tables, over the bridge.
nftables: {masqueradeAll: true}
"
    .to_owned();
    let names = "cluster.local:53 {
    errors
    ready
    kubernetes cluster.local {
        kubeconfig admin.kubeconfig
        ttl 5
    }
}
"
    .to_owned();
    fs::create_dir_all(folder.join("cni"))?;
    fs::create_dir_all(folder.join("kubelet"))?;
    for (name, text) in [
        ("containerd.toml", containerd),
        ("cni/10-pods.conflist", network.to_owned()),
        ("kubelet.yaml", kubelet),
        ("kube-proxy.yaml", proxy),
        ("Corefile", names),
    ] {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// The Service of the cluster's DNS, which runs on the node and not in a pod.
pub(super) fn dns() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec:
  clusterIP: {DNS}
  ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{{addresses: [{ADDRESS}], conditions: {{ready: true}}}}]
ports: [{{name: dns, port: 53, protocol: UDP}}, {{name: dns-tcp, port: 53, protocol: TCP}}]
"
    )
}
