//! A whole cluster, with nodes that run pods: the one that `KUBECONFIG` names, else one of a
//! single node that root on Linux brings up here and removes again.

mod files;
mod node;
mod programs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::images::{self, Buildah};
use super::{helm, within};
pub use node::Node;

/// How long the node may take from nothing to ready.
const START: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    way: Way,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

#[derive(Debug)]
enum Way {
    Ours(Node),
    Theirs(tempfile::TempDir),
}

/// Whether there can be a cluster, and if not, why.
pub fn possible() -> Result<(), &'static str> {
    if theirs().is_some() || (cfg!(target_os = "linux") && rustix::process::geteuid().is_root()) {
        return Ok(());
    }
    Err(
        "a cluster of one node takes root on Linux. Run it as root, or set KUBECONFIG to a \
         cluster into which the images are loaded",
    )
}

fn theirs() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Downloads and builds all that the own cluster takes.
///
/// # Errors
/// What cannot be had.
pub fn prepare() -> Result<()> {
    if theirs().is_some() {
        return Ok(());
    }
    programs::runtime()?;
    programs::kubernetes()?;
    programs::coredns()?;
    images::prepare()?;
    images::databases()?;
    images::monitoring().map(drop)
}

impl Cluster {
    /// The cluster that `KUBECONFIG` names, or one of our own with all images.
    ///
    /// # Errors
    /// What does not come up.
    pub fn start() -> Result<Self> {
        let helm = helm::helm()?;
        if let Some(kubeconfig) = theirs() {
            eprintln!("cluster: that of KUBECONFIG, {}", kubeconfig.display());
            return Ok(Self {
                way: Way::Theirs(tempfile::tempdir()?),
                kubeconfig,
                kubectl: "kubectl".into(),
                helm,
            });
        }
        let begin = std::time::Instant::now();
        let databases = images::databases()?;
        let buildah = Buildah::open()?;
        // What the node starts ends with the thread that started it; the image waits for nobody.
        let (node, image) = std::thread::scope(|scope| {
            let image = scope.spawn(|| buildah.build("quick"));
            (Node::start(&databases), image.join())
        });
        let (node, image) = (node?, image.expect("no panic")?);
        node.import(&[image.archive])?;
        drop(buildah);
        let cluster = Self {
            kubeconfig: node.kubeconfig(),
            kubectl: node.kubectl().to_owned(),
            helm,
            way: Way::Ours(node),
        };
        cluster.apply(&files::dns());
        let ready = within(START, || {
            let status = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
            cluster.try_kubectl(&["get", "nodes", "-o", status]) == Ok("True".to_owned())
        });
        anyhow::ensure!(
            ready,
            "the node does not become ready: {}",
            cluster
                .node()
                .map_or_else(String::new, |node| node.log("kubelet"))
        );
        let seconds = begin.elapsed().as_secs_f32();
        eprintln!("cluster: the image is built and the node ready after {seconds:.0} s");
        Ok(cluster)
    }

    /// The node, when it is ours.
    pub fn node(&self) -> Option<&Node> {
        match &self.way {
            Way::Ours(node) => Some(node),
            Way::Theirs(_) => None,
        }
    }

    /// Runs kubectl as admin and gives what it printed; fails the test with what it said when it
    /// fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        match self.try_kubectl(arguments) {
            Ok(printed) => printed,
            Err(said) => panic!("kubectl {}: {said}", arguments.join(" ")),
        }
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// With what it said.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "")
    }

    /// Applies manifests; fails the test with the refusal.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        if let Err(said) = self.try_apply(yaml) {
            panic!("{said}\n{yaml}");
        }
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// With the refusal.
    pub fn try_apply(&self, yaml: &str) -> Result<String, String> {
        let forced = "--force-conflicts";
        self.kubectl_with(&["apply", "--server-side", forced, "-f", "-"], yaml)
    }

    /// An object as JSON. `None` when there is none such.
    #[track_caller]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let printed = self.kubectl(&[
            "get",
            kind,
            name,
            "-n",
            namespace,
            "-o",
            "json",
            "--ignore-not-found",
        ]);
        (!printed.is_empty()).then(|| serde_json::from_str(&printed).expect("it is JSON"))
    }

    /// Runs helm.
    ///
    /// # Errors
    /// With what it said.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let homes = self.folder().join("helm");
        let mut command = self.command(&self.helm);
        command.args(arguments);
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, &homes);
        }
        run(&mut command, "")
    }

    /// A program that speaks with the cluster, in a network from where it is reached.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.way {
            Way::Ours(node) => node.command(program),
            Way::Theirs(_) => Command::new(program),
        };
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A folder for what a test writes.
    pub fn folder(&self) -> &Path {
        match &self.way {
            Way::Ours(node) => node.folder(),
            Way::Theirs(folder) => folder.path(),
        }
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let cache = self.folder().join("kubectl-cache");
        let mut command = self.command(&self.kubectl);
        command
            .arg(format!("--cache-dir={}", cache.display()))
            .args(arguments);
        run(&mut command, input)
    }
}

/// Runs a program with an input: what it printed, or what it complained of.
fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // One that refuses its arguments closes the pipe before it has read it.
    let _ = process
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes());
    let output = process
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}
