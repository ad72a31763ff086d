//! A node for an API server as far as `exec` needs one: commands "in pods" run on this machine.
//!
//! `go/kubelet` serves them with the kubelet's own streaming server, so that API server and client
//! speak with what they would meet in a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::certificates::Authority;
use super::super::downloads::entry;
use super::super::golang::Build;
use super::super::ports::Port;
use super::super::within;
use super::{ApiServer, KUBERNETES, START, spawn};

/// The one node.
const NODE: &str = "node";

/// A node of an [`ApiServer`]; it ends with the server.
#[derive(Debug)]
pub struct Kubelet<'a> {
    api: &'a ApiServer,
    /// Nobody else is given it meanwhile.
    _port: Port,
}

/// Builds the program, once.
///
/// # Errors
/// It is not in the cache and cannot be built.
pub fn program() -> anyhow::Result<PathBuf> {
    // It is our own, and changes without its version.
    let source = Sha256::digest(include_bytes!("go/kubelet/main.go"));
    let source = BASE64_URL_SAFE_NO_PAD.encode(&source[..6]);
    let folder = entry(&format!("kubelet-exec-{KUBERNETES}-{source}"), |folder| {
        Build {
            what: &format!("the exec of a kubelet {KUBERNETES}"),
            duration: "1 minute or more",
            module: "kubelet",
            variables: "",
            tags: "",
            packages: &["."],
            hint: "",
        }
        .build_into(&folder.join("kubelet-exec"))
    })?;
    Ok(folder.join("kubelet-exec"))
}

impl<'a> Kubelet<'a> {
    /// Starts one and registers its node.
    #[track_caller]
    pub fn start(api: &'a ApiServer) -> Self {
        let program = match program() {
            Ok(program) => program,
            Err(error) => panic!("{error:#}"),
        };
        let port = Port::free();
        let address = format!("127.0.0.1:{}", port.number());
        let identity = Authority::new("kubelet").server(&["127.0.0.1"]);
        let put = |name: &str, text: &str| {
            fs::write(api.folder().join(name), text).expect("it is written");
        };
        put("kubelet.crt", &identity.certificate);
        put("kubelet.key", &identity.key);
        fs::create_dir(api.folder().join("containers")).expect("it is made");
        let arguments = [&address, "kubelet.crt", "kubelet.key", "containers"];
        let mut process = spawn(&api.keeper, &program, &arguments);
        let listens = within(START, || std::net::TcpStream::connect(&address).is_ok());
        assert!(
            listens && process.try_wait().expect("it can be asked").is_none(),
            "the kubelet does not come up"
        );
        api.apply(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}}}\n"
        ));
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port.number()}},
        }});
        patch_status(api, "", "node", NODE, &status);
        Self { api, _port: port }
    }

    /// A pod with the exporter's labels, that runs and is ready. What is run in its container
    /// `pgexporter` has this environment.
    #[track_caller]
    pub fn pod(&self, namespace: &str, name: &str, environment: &BTreeMap<&str, String>) {
        self.pod_as(namespace, name, running(true, ""));
        let folder = self.api.folder().join("containers");
        let folder = folder.join(namespace).join(name);
        fs::create_dir_all(&folder).expect("it is made");
        let lines: String = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        fs::write(folder.join("pgexporter"), lines).expect("it is written");
    }

    /// A pod in which nothing runs, or whose status is to be another.
    #[track_caller]
    pub fn pod_as(&self, namespace: &str, name: &str, status: Value) {
        self.api.apply(&format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata:\n  name: {name}\n  namespace: {namespace}\n\
             \x20 labels: {{app.kubernetes.io/name: pgexporter}}\n\
             spec:\n  nodeName: {NODE}\n\
             \x20 containers:\n  - {{name: pgexporter, image: pgexporter}}\n\
             \x20 - {{name: proxy, image: proxy}}\n"
        ));
        patch_status(
            self.api,
            namespace,
            "pod",
            name,
            &json!({ "status": status }),
        );
    }
}

/// The status of a pod whose containers run.
pub fn running(ready: bool, why: &str) -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "ready": ready, "restartCount": 0, "image": name, "imageID": name,
            "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}},
        })
    };
    let word = if ready { "True" } else { "False" };
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": word, "message": why}],
        "containerStatuses": [container("pgexporter"), container("proxy")],
    })
}

/// As a kubelet reports it.
#[track_caller]
pub fn patch_status(api: &ApiServer, namespace: &str, kind: &str, name: &str, status: &Value) {
    let status = status.to_string();
    let mut arguments = vec![
        "patch",
        kind,
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    arguments.push(&status);
    if !namespace.is_empty() {
        arguments.extend(["-n", namespace]);
    }
    api.kubectl(&arguments);
}
