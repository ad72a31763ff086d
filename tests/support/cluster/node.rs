//! A cluster of one node on this machine, whole: etcd, API server, controllers, scheduler, a
//! kubelet with containerd and runc, Services by kube-proxy, names by CoreDNS.
//!
//! It has namespaces of its own for network, mounts and processes. Nothing leaves the machine;
//! when the first process of the namespace is killed the kernel ends all others, and takes away
//! all mounts and interfaces. So it is enough that the [`Keeper`] kills that one.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;

use super::super::certificates::Authority;
use super::super::debian::library_cache;
use super::super::downloads::run;
use super::super::keeper::Keeper;
use super::super::kubernetes::assets;
use super::super::kubernetes::connection::Connection;
use super::super::within;
use super::{files, programs};

/// The address of the node.
pub(super) const ADDRESS: &str = "198.18.0.1";
/// The address of the cluster's DNS.
pub(super) const DNS: &str = "10.96.0.10";
/// Where the API server listens, in the network of the node.
const PORT: u16 = 6443;

/// A running node. Dropping it stops and removes all of it.
#[derive(Debug)]
pub struct Node {
    /// The first process in the namespaces.
    first: u32,
    api_server: Mutex<Option<Child>>,
    children: Mutex<Vec<Child>>,
    kubectl: PathBuf,
    keeper: Keeper,
}

impl Node {
    /// Brings it up, with images.
    ///
    /// # Errors
    /// What does not come up, with its log.
    pub fn start(images: &[PathBuf]) -> Result<Self> {
        let assets = assets()?;
        let (runtime, kubernetes) = (programs::runtime()?, programs::kubernetes()?);
        let coredns = programs::coredns()?;
        let keeper = Keeper::new()?;
        let folder = keeper.path().to_owned();
        library_cache(&runtime, &folder.join("ld.so.cache"))?;
        certificates(&folder)?;
        files::write(&folder, &runtime)?;
        control_groups(&folder)?;
        let first = first(&folder)?;
        let node = Self {
            first,
            api_server: Mutex::new(None),
            children: Mutex::new(Vec::new()),
            kubectl: assets.kubectl,
            keeper,
        };
        eprintln!("cluster: starting etcd, the API server and containerd");
        node.beside(
            &assets.etcd,
            &["--data-dir=etcd", "--unsafe-no-fsync", "--log-level=warn"],
        )?;
        node.inside(
            "containerd",
            &runtime.join("usr/bin/containerd"),
            &["--config", "containerd.toml"],
        )?;
        node.start_api_server()?;
        for (name, arguments) in files::CONTROLLERS {
            node.beside(&kubernetes.join(name), arguments)?;
        }
        node.beside(&coredns, &["-conf", "Corefile"])?;
        node.import(images)?;
        let root = format!("--root-dir={}/kubelet", folder.display());
        let pki = format!("--cert-dir={}/kubelet/pki", folder.display());
        let mut arguments = vec![root.as_str(), pki.as_str()];
        arguments.extend(files::KUBELET);
        node.inside("kubelet", &kubernetes.join("kubelet"), &arguments)?;
        node.inside(
            "kube-proxy",
            &kubernetes.join("kube-proxy"),
            &["--config=kube-proxy.yaml"],
        )?;
        Ok(node)
    }

    /// Its temporary folder.
    pub fn folder(&self) -> &Path {
        self.keeper.path()
    }

    /// The program `kubectl`.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// The kubeconfig of its admin, for whoever is in its network.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// A command in the network of the node.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.first))
            .arg("--")
            .arg(program)
            .current_dir(self.folder());
        command
    }

    /// Starts a program in the network of the node, beside the pods; it ends with the node.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn beside(&self, program: &Path, arguments: &[&str]) -> Result<()> {
        let child = self.start_beside(program, arguments)?;
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.push(child);
        Ok(())
    }

    fn start_beside(&self, program: &Path, arguments: &[&str]) -> Result<Child> {
        let name = program.file_name().context("a program")?.to_string_lossy();
        let mut command = self.command(program);
        command.args(arguments);
        self.spawn(&mut command, &name)
    }

    /// Kills the API server; all pods go on.
    pub fn stop_api_server(&self) {
        let mut server = self
            .api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mut server) = server.take() {
            // The keeper may have been there first.
            let _ = server.kill();
            server.wait().expect("it ends");
        }
    }

    /// Starts the API server, and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_api_server(&self) -> Result<()> {
        let assets = assets()?;
        let server = self.start_beside(&assets.api_server, files::API_SERVER)?;
        *self
            .api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(server);
        let ready = within(Duration::from_secs(60), || {
            self.command(&self.kubectl)
                .args(["--kubeconfig=admin.kubeconfig", "get", "--raw=/readyz"])
                .stderr(Stdio::null())
                .output()
                .is_ok_and(|output| output.stdout == b"ok")
        });
        ensure!(
            ready,
            "the API server does not come up: {}",
            self.log("kube-apiserver")
        );
        Ok(())
    }

    /// The end of what a part of the node wrote.
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.folder().join(format!("{name}.log"))).unwrap_or_default();
        let end = bytes.len().saturating_sub(4 << 10);
        String::from_utf8_lossy(&bytes[end..]).into_owned()
    }

    /// Starts a program in all namespaces of the node.
    fn inside(&self, name: &str, program: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--net", "--mount", "--pid"])
            .arg(format!("--wdns={}", self.folder().display()))
            .arg("--")
            .arg(program)
            .args(arguments)
            .env("PATH", self.path()?)
            .current_dir(self.folder());
        let child = self.spawn(&mut command, name)?;
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.push(child);
        Ok(())
    }

    /// Where containerd finds runc and kube-proxy nft, and all of them mount and the rest.
    fn path(&self) -> Result<String> {
        let runtime = programs::runtime()?;
        let runtime = runtime.display();
        Ok(format!(
            "{runtime}/usr/bin:{runtime}/usr/sbin:{runtime}/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        ))
    }

    fn spawn(&self, command: &mut Command, name: &str) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder().join(format!("{name}.log")))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))
    }

    /// Loads images from archives.
    ///
    /// # Errors
    /// containerd does not take one.
    pub fn import(&self, images: &[PathBuf]) -> Result<()> {
        let runtime = programs::runtime()?;
        let socket = self.folder().join("containerd.sock");
        ensure!(
            within(Duration::from_secs(30), || socket.exists()),
            "containerd does not come up: {}",
            self.log("containerd")
        );
        for image in images {
            // Into the mounts of the node, where the layers are to lie.
            run(Command::new("nsenter")
                .arg(format!("--target={}", self.first))
                .args(["--mount", "--"])
                .arg(runtime.join("usr/bin/ctr"))
                .arg("--address")
                .arg(&socket)
                .args(["--namespace=k8s.io", "images", "import"])
                .arg(image))?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.keeper.close();
        self.stop_api_server();
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.iter_mut() {
            let _ = child.wait();
        }
    }
}

/// Makes the namespaces; the number of the first process in them. It lives until it is killed.
fn first(folder: &Path) -> Result<u32> {
    fs::write(folder.join("first.sh"), files::FIRST)?;
    let log = File::create(folder.join("first.log"))?;
    let outside = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--propagation=private",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child=KILL", "--mount-proc", "sh", "first.sh"])
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run unshare")?
        .id();
    let ready = within(Duration::from_secs(10), || folder.join("ready").exists());
    let said = fs::read_to_string(folder.join("first.log")).unwrap_or_default();
    ensure!(ready, "the network of the node does not come up: {said}");
    let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children"))?;
    Ok(children.trim().parse()?)
}

/// A control group for the pods, called as the folder is, so that the keeper finds it.
fn control_groups(folder: &Path) -> Result<()> {
    let name = folder.file_name().context("a folder")?;
    for hierarchy in fs::read_dir("/sys/fs/cgroup")
        .context("no control groups")?
        .flatten()
    {
        // A second name of another hierarchy is a link.
        if hierarchy.file_type()?.is_dir() && hierarchy.file_name() != "unified" {
            fs::create_dir(hierarchy.path().join(name))?;
        }
    }
    Ok(())
}

fn certificates(folder: &Path) -> Result<()> {
    let authority = Authority::new("kubernetes");
    let names = [
        "127.0.0.1",
        ADDRESS,
        "10.96.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let server = authority.server(&names);
    let admin = authority.member("pgexporter-tests", "system:masters");
    let accounts = KeyPair::generate()?;
    let connection = Connection::new(PORT, authority.pem(), &admin);
    for (name, text) in [
        ("ca.crt", authority.pem().to_owned()),
        ("server.crt", server.certificate),
        ("server.key", server.key),
        ("admin.crt", admin.certificate),
        ("admin.key", admin.key),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("admin.kubeconfig", connection.kubeconfig()),
    ] {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
