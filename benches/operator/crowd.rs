//! Many targets on few servers.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use pgexporter::kubernetes::PostgresTarget;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::{ApiServer, Postgres};

/// Where the targets are.
pub const NAMESPACE: &str = "crowd";
const SERVERS: usize = 10;
const PASSWORD: &str = "a-Password-of-many";
/// Requests of ours at once: as fast as the API server takes them.
const AT_ONCE: usize = 32;

/// The targets, and who applies them.
pub struct Crowd {
    servers: Vec<Postgres>,
    count: usize,
    runtime: Runtime,
    client: Client,
}

impl Crowd {
    /// Starts the servers; applies nothing yet but the Secrets.
    pub fn start(api: &ApiServer, count: usize) -> Self {
        let servers = (0..SERVERS)
            .map(|_| {
                let builder = Postgres::builder(17).password(PASSWORD, "scram-sha-256");
                builder.max_connections(150).start()
            })
            .collect();
        let runtime = Runtime::new().expect("a runtime starts");
        // Another that came first is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(api.kubeconfig_admin()).expect("it can be read");
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            Client::try_from(config.expect("it can be used")).expect("it can be used")
        });
        let crowd = Self {
            servers,
            count,
            runtime,
            client,
        };
        crowd.each(async |api: Api<Secret>, number| {
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": format!("t{number}") },
                "stringData": { "username": "postgres", "password": PASSWORD },
            });
            let secret = serde_json::from_value(secret).expect("a Secret");
            api.create(&PostParams::default(), &secret)
                .await
                .map(|_| ())
        });
        crowd
    }

    /// How many targets there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// On how many servers.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Applies all of them.
    pub fn apply(&self) {
        let ports: Vec<u16> = self.servers.iter().map(Postgres::port).collect();
        self.each(async |api: Api<PostgresTarget>, number| {
            let target = json!({
                "apiVersion": "pgexporter.io/v1alpha1",
                "kind": "PostgresTarget",
                "metadata": { "name": format!("t{number}") },
                "spec": {
                    "host": "127.0.0.1",
                    "port": ports[number % ports.len()],
                    "credentials": { "secretRef": { "name": format!("t{number}") } },
                },
            });
            let target = serde_json::from_value(target).expect("a target");
            api.create(&PostParams::default(), &target)
                .await
                .map(|_| ())
        });
    }

    /// All of them with few collectors.
    pub fn make_cheap(&self) {
        self.each(async |api: Api<PostgresTarget>, number| {
            let collectors =
                json!({ "include": ["connections", "db", "locks"], "exclude": ["pg_settings"] });
            let patch = json!({ "spec": { "collectors": collectors } });
            let name = format!("t{number}");
            let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
            let patched = api.patch(&name, &parameters, &patch);
            patched.await.map(|_| ())
        });
    }

    /// One moves to the server of the next; returns its address there, which none has beside it.
    pub fn move_one(&self) -> String {
        let port = self.servers[8].port();
        let address = format!("localhost:{port}");
        let api: Api<PostgresTarget> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({ "spec": { "host": "localhost", "port": port } });
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        let patched = api.patch("t7", &parameters, &patch);
        self.runtime.block_on(patched).expect("it is applied");
        address
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        let ready = |target: &&PostgresTarget| {
            let status = target.status.as_ref();
            status.is_some_and(|status| {
                let seen = status.observed_generation == target.metadata.generation;
                let mut all = status.conditions.iter();
                seen && all.any(|one| one.type_ == "Ready" && one.status == "True")
            })
        };
        self.list().iter().filter(ready).count()
    }

    /// The version of each resource.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let version = |target: PostgresTarget| {
            let metadata = target.metadata;
            Some((metadata.name?, metadata.resource_version?))
        };
        self.list().into_iter().filter_map(version).collect()
    }

    /// Processes of the exporter's sessions, over all servers.
    pub fn sessions(&self) -> BTreeSet<String> {
        let sql = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgexporter'";
        let mut all = BTreeSet::new();
        for server in &self.servers {
            let rows = server.text(sql).into_iter();
            let pids = rows.filter_map(|row| row.into_iter().next().flatten());
            all.extend(pids.map(|pid| format!("{} {pid}", server.port())));
        }
        all
    }

    fn list(&self) -> Vec<PostgresTarget> {
        let api: Api<PostgresTarget> = Api::namespaced(self.client.clone(), NAMESPACE);
        let parameters = ListParams::default();
        let list = self.runtime.block_on(api.list(&parameters));
        list.expect("it is listed").items
    }

    /// Does it for each number, as fast as the API server takes it.
    fn each<K, F>(&self, work: F)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        F: AsyncFn(Api<K>, usize) -> Result<(), kube::Error>,
    {
        let all = stream::iter(0..self.count).map(|number| {
            let api: Api<K> = Api::namespaced(self.client.clone(), NAMESPACE);
            work(api, number)
        });
        self.runtime.block_on(async {
            let mut results = all.buffer_unordered(AT_ONCE);
            while let Some(result) = results.next().await {
                result.expect("the API server takes it");
            }
        });
    }
}
