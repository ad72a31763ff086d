//! A real Kubernetes API server: etcd and kube-apiserver, with RBAC, and no node behind it.
//!
//! What is applied is validated, admitted, stored and watched as in any cluster; nothing runs the
//! pods, and no controller acts (a Deployment makes no ReplicaSet, a deleted namespace stays).
//! The admission of service accounts is off as envtest has it: no controller makes the `default`
//! account that it asks for.
//!
//! Starting one takes some seconds, so the tests of a file share one, and each works in a
//! [`ApiServer::namespace`] of its own:
//!
//! ```ignore
//! fn api() -> &'static ApiServer {
//!     static API: OnceLock<ApiServer> = OnceLock::new();
//!     API.get_or_init(ApiServer::start)
//! }
//! ```

pub(super) mod assets;
pub(super) mod connection;
mod deploy;
pub mod kubelet;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::KeyPair;
use serde_json::Value;

use super::certificates::Authority;
use super::keeper::Keeper;
use super::ports::Port;
use super::samples::Samples;
use super::within;
pub use assets::{ASSETS_VARIABLE, Assets, ETCD, KUBERNETES, assets};
use connection::Connection;

/// How long it may take to start on a machine that is busy with other tests; idle it takes 4 s.
const START: Duration = Duration::from_secs(90);

/// A running API server. Dropping it stops it and its etcd.
#[derive(Debug)]
pub struct ApiServer {
    assets: Assets,
    port: Port,
    /// Held for as long as etcd listens on them.
    etcd_ports: [Port; 2],
    etcd: Child,
    etcd_arguments: Vec<String>,
    server: Mutex<Option<Child>>,
    admin: Connection,
    named: AtomicU32,
    keeper: Keeper,
}

impl ApiServer {
    /// Starts one and waits until it is ready; fails the test with its log when it is not within
    /// [`START`].
    #[track_caller]
    pub fn start() -> Self {
        let assets = match assets() {
            Ok(assets) => assets,
            Err(error) => panic!("{error:#}"),
        };
        let keeper = Keeper::new().expect("a temporary folder");
        let (port, etcd_ports) = (Port::free(), [Port::free(), Port::free()]);
        let authority = Authority::new("kubernetes");
        let identity = authority.server(&[
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]);
        let accounts = KeyPair::generate().expect("a key");
        let files = [
            ("ca.crt", authority.pem().to_owned()),
            ("server.crt", identity.certificate),
            ("server.key", identity.key),
            ("accounts.key", accounts.serialize_pem()),
            ("accounts.pub", accounts.public_key_pem()),
        ];
        for (name, text) in files {
            fs::write(keeper.path().join(name), text).expect("it is written");
        }
        let admin = Connection::new(
            port.number(),
            authority.pem(),
            &authority.member("pgexporter-tests", "system:masters"),
        );
        fs::write(keeper.path().join("admin.kubeconfig"), admin.kubeconfig())
            .expect("it is written");
        let [client, peer] = [0, 1].map(|at: usize| {
            let port: &Port = &etcd_ports[at];
            format!("http://127.0.0.1:{}", port.number())
        });
        let etcd_arguments = vec![
            "--data-dir=etcd".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        let etcd = spawn_etcd(&keeper, &assets.etcd, &etcd_arguments);
        let api = Self {
            assets,
            port,
            etcd_ports,
            etcd,
            etcd_arguments,
            server: Mutex::new(None),
            admin,
            named: AtomicU32::new(0),
            keeper,
        };
        api.start_again();
        api
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port())
    }

    /// Its temporary folder.
    pub fn folder(&self) -> &Path {
        self.keeper.path()
    }

    /// The certificate of its authority, PEM.
    pub fn authority(&self) -> String {
        fs::read_to_string(self.folder().join("ca.crt")).expect("it can be read")
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig_admin(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// A kubeconfig that may do what RBAC lets the service account do: with a token of one hour,
    /// whose namespace is the default. Fails the test when there is no such account.
    #[track_caller]
    pub fn kubeconfig_for(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.token(namespace, account);
        let path = self.folder().join(format!(
            "{namespace}.{account}.{}.kubeconfig",
            self.named.fetch_add(1, Ordering::Relaxed)
        ));
        fs::write(&path, self.admin.kubeconfig_with(&token, namespace)).expect("it is written");
        path
    }

    /// A token of one hour for a service account.
    #[track_caller]
    pub fn token(&self, namespace: &str, account: &str) -> String {
        let lifetime = "--duration=1h";
        self.kubectl(&["create", "token", account, "-n", namespace, lifetime])
            .trim()
            .to_owned()
    }

    /// Makes a namespace that no other test has: `prefix`, a dash and a number.
    #[track_caller]
    pub fn namespace(&self, prefix: &str) -> String {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        self.kubectl(&["create", "namespace", &name]);
        name
    }

    /// Runs kubectl as admin and gives what it printed; fails the test with what it said when it
    /// fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        match self.try_kubectl(&self.kubeconfig_admin(), arguments, "") {
            Ok(printed) => printed,
            Err(said) => panic!("kubectl {}: {said}", arguments.join(" ")),
        }
    }

    /// Runs kubectl with a kubeconfig.
    ///
    /// # Errors
    /// With what it said, which has the server's refusal.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
        self.try_kubectl(kubeconfig, arguments, "")
    }

    /// Applies one or more manifests (server-side); fails the test with the server's refusal.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        if let Err(said) = self.try_apply(yaml) {
            panic!("{said}\n{yaml}");
        }
    }

    /// Applies one or more manifests (server-side) and gives kubectl's line for each.
    ///
    /// # Errors
    /// With the server's refusal.
    pub fn try_apply(&self, yaml: &str) -> Result<String, String> {
        self.try_apply_as(&self.kubeconfig_admin(), yaml)
    }

    /// Applies with a kubeconfig.
    ///
    /// # Errors
    /// With the server's refusal.
    pub fn try_apply_as(&self, kubeconfig: &Path, yaml: &str) -> Result<String, String> {
        let manager = "--field-manager=pgexporter-tests";
        let arguments = ["apply", "--server-side", manager, "-f", "-"];
        self.try_kubectl(kubeconfig, &arguments, yaml)
    }

    /// An object; an empty namespace for what has none. `None` when there is none such.
    #[track_caller]
    pub fn get_json(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut arguments = vec!["get", kind, name, "-o", "json", "--ignore-not-found"];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        let printed = self.kubectl(&arguments);
        (!printed.is_empty()).then(|| serde_json::from_str(&printed).expect("kubectl prints JSON"))
    }

    /// `GET` of a path as admin, past kubectl and its discovery: status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        self.admin.get(path)
    }

    /// The sum of a counter or gauge of its own over the series that have these labels; 0 when
    /// there are none. `apiserver_request_total` has `verb`, `group`, `resource`, `code` and more.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (status, text) = self.get("/metrics").expect("it answers");
        assert_eq!(status, 200, "{text}");
        Samples::parse(&text)
            .with(name, labels)
            .iter()
            .map(|sample| sample.value)
            .sum()
    }

    /// Kills the API server, as when its node dies. etcd goes on and keeps all objects.
    pub fn stop(&self) {
        if let Some(mut server) = self.server().take() {
            server.kill().expect("it can be killed");
            server.wait().expect("it ends");
        }
    }

    /// Keeps all objects as they are now, for [`restore`](Self::restore).
    pub fn save(&mut self) {
        self.with_etcd_stopped(|folder| {
            copy(&folder.join("etcd"), &folder.join("saved"));
        });
    }

    /// Puts all objects back as they were, as from a backup of etcd: versions go on from there.
    pub fn restore(&mut self) {
        self.with_etcd_stopped(|folder| {
            fs::remove_dir_all(folder.join("etcd")).expect("it is removed");
            copy(&folder.join("saved"), &folder.join("etcd"));
        });
    }

    fn with_etcd_stopped(&mut self, work: impl FnOnce(&Path)) {
        self.stop();
        self.etcd.kill().expect("it can be killed");
        self.etcd.wait().expect("it ends");
        work(self.keeper.path());
        self.etcd = spawn_etcd(&self.keeper, &self.assets.etcd, &self.etcd_arguments);
        self.start_again();
    }

    /// Starts the API server on the same port and data, and waits until it is ready; nothing
    /// happens when it runs.
    #[track_caller]
    pub fn start_again(&self) {
        let mut server = self.server();
        if server.is_some() {
            return;
        }
        let arguments = [
            format!(
                "--etcd-servers=http://127.0.0.1:{}",
                self.etcd_ports[0].number()
            ),
            format!("--secure-port={}", self.port()),
            "--bind-address=127.0.0.1".into(),
            // Else it looks for a default route, which a machine without network lacks.
            "--advertise-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--authorization-mode=RBAC".into(),
            "--disable-admission-plugins=ServiceAccount".into(),
            "--allow-privileged=true".into(),
            "--client-ca-file=ca.crt".into(),
            "--tls-cert-file=server.crt".into(),
            "--tls-private-key-file=server.key".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--service-account-key-file=accounts.pub".into(),
            "--service-account-signing-key-file=accounts.key".into(),
            "--cert-dir=.".into(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = spawn(&self.keeper, &self.assets.api_server, &arguments);
        let mut ended = None;
        let ready = within(START, || {
            ended = process.try_wait().expect("it can be waited for");
            // The first namespaces are made a moment after it calls itself ready.
            ended.is_some()
                || ["/readyz", "/api/v1/namespaces/default"]
                    .iter()
                    .all(|path| matches!(self.get(path), Ok((200, _))))
        });
        *server = Some(process);
        drop(server);
        assert!(
            ready && ended.is_none(),
            "kube-apiserver does not come up ({ended:?}): {}",
            self.log()
        );
    }

    /// The end of what both wrote.
    pub fn log(&self) -> String {
        ["etcd.log", "kube-apiserver.log"]
            .iter()
            .filter_map(|name| fs::read(self.folder().join(name)).ok())
            .map(|bytes| {
                let end = bytes.len().saturating_sub(8 << 10);
                String::from_utf8_lossy(&bytes[end..]).into_owned()
            })
            .collect()
    }

    /// A test that failed while it held the lock does not fail the others.
    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once more where a busy machine kept kubectl waiting too long for its taste.
    fn try_kubectl(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        match self.run_kubectl(kubeconfig, arguments, input) {
            Err(said) if said.contains("TLS handshake timeout") => {
                self.run_kubectl(kubeconfig, arguments, input)
            }
            done => done,
        }
    }

    fn run_kubectl(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let mut process = Command::new(&self.assets.kubectl)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--cache-dir=kubectl-cache")
            .args(arguments)
            .env("HOME", self.folder())
            .env_remove("KUBECONFIG")
            .current_dir(self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        // A kubectl that refuses its arguments closes the pipe before it has read it.
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
            Err(text(&output.stderr))
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.keeper.close();
        let _ = self.etcd.wait();
        if let Some(server) = self.server().as_mut() {
            let _ = server.wait();
        }
    }
}

fn spawn_etcd(keeper: &Keeper, program: &Path, arguments: &[String]) -> Child {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    spawn(keeper, program, &arguments)
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is made");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => {
                fs::copy(&from, &to).expect("it is copied");
            }
        }
    }
}

/// Starts a server that works in the keeper's folder and writes its log there.
fn spawn(keeper: &Keeper, program: &Path, arguments: &[&str]) -> Child {
    let name = program.file_name().expect("a program").to_string_lossy();
    let log = File::options()
        .create(true)
        .append(true)
        .open(keeper.path().join(format!("{name}.log")))
        .expect("a log file");
    Command::new(program)
        .args(arguments)
        .current_dir(keeper.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("it starts")
}
