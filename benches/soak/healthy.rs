//! The servers that are well, and who changes what is said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread::Scope;
use std::time::Duration;

use crate::Stop;
use crate::support::exporter::ExporterBuilder;
use crate::support::{ApiServer, Postgres, Samples};

/// Real servers, each named by several targets.
const SERVERS: usize = 8;
/// Sections of the file, and as many tenants with one target each.
const HALF: usize = 20;

/// Families that come and go with what happens at a server.
const VOLATILE: [&str; 12] = [
    "wait_event",
    "locks",
    "idle_procs",
    "process_idle",
    "long_running",
    "mem_ctx",
    "progress",
    "aios",
    "activity",
    "denied",
    "installed_extensions",
    "failures",
];

/// Eight servers under forty names.
pub struct Healthy {
    pub servers: Vec<Postgres>,
    /// The role and password of each tenant's target.
    passwords: Mutex<Vec<String>>,
}

impl Healthy {
    /// Starts the servers, makes a role for each target, and applies the tenants' targets.
    pub fn start(api: &ApiServer) -> Self {
        let start = |_| {
            Postgres::builder(17)
                .hba("host all postgres 127.0.0.1/32 trust")
                .password("the-superusers", "scram-sha-256")
                .start()
        };
        let servers: Vec<Postgres> = (0..SERVERS).map(start).collect();
        for at in 0..HALF {
            let server = &servers[at % SERVERS];
            for (role, password) in [(file_role(at), "of-the-file"), (role(at), "first")] {
                server.execute(&format!(
                    "CREATE ROLE {role} LOGIN PASSWORD '{password}' IN ROLE pg_monitor"
                ));
            }
        }
        for server in &servers {
            server.execute("CREATE DATABASE shop");
            server.execute("CREATE DATABASE stock");
        }
        let healthy = Self {
            servers,
            passwords: Mutex::new(vec!["first".to_owned(); HALF]),
        };
        for at in 0..HALF {
            let namespace = namespace(at);
            api.kubectl(&["create", "namespace", &namespace]);
            api.apply(&format!(
                "{}---\n{}",
                healthy.secret(at),
                healthy.target(at, 0)
            ));
        }
        healthy
    }

    /// The sections of the file.
    pub fn name_in(&self, builder: ExporterBuilder) -> ExporterBuilder {
        (0..HALF).fold(builder, |builder, at| {
            let server = &self.servers[at % SERVERS];
            let password = Some("of-the-file");
            builder.server_as(&format!("file_{at}"), server, &file_role(at), password)
        })
    }

    fn secret(&self, at: usize) -> String {
        let password = self.passwords.lock().expect("no panic")[at].clone();
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: {}}}\n\
             stringData: {{username: {}, password: {password}}}\n",
            namespace(at),
            role(at),
        )
    }

    fn target(&self, at: usize, round: usize) -> String {
        let server = &self.servers[at % SERVERS];
        format!(
            "apiVersion: pgexporter.io/v1alpha1\nkind: PostgresTarget\n\
             metadata: {{name: db, namespace: {}}}\n\
             spec: {{host: {}, port: {}, credentials: {{secretRef: {{name: db}}}}, \
             labels: {{round: \"{round}\"}}, sampleLimit: {}}}\n",
            namespace(at),
            server.host(),
            server.port(),
            40_000 + round % 10,
        )
    }

    /// Tenants change their targets, one a second; each ten seconds one rotates its Secret.
    pub fn spawn_changes<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        api: &'scope ApiServer,
        stop: &Stop,
    ) {
        let changes = stop.clone();
        scope.spawn(move || {
            let mut round = 1;
            while changes.wait(Duration::from_secs(1)) {
                api.apply(&self.target(round % HALF, round));
                round += 1;
            }
        });
        let rotations = stop.clone();
        scope.spawn(move || {
            let mut round = 0;
            while rotations.wait(Duration::from_secs(10)) {
                let at = round % HALF;
                let password = format!("rotated-{round}");
                self.servers[at % SERVERS]
                    .execute(&format!("ALTER ROLE {} PASSWORD '{password}'", role(at)));
                self.passwords.lock().expect("no panic")[at] = password;
                api.apply(&self.secret(at));
                round += 1;
            }
        });
    }

    /// What a scrape shows of the healthy servers.
    pub fn shown(&self, samples: &Samples) -> Shown {
        let mut shown = Shown::default();
        for at in 0..HALF {
            for name in [format!("file_{at}"), format!("{}/db", namespace(at))] {
                shown.0.insert(name, BTreeSet::new());
            }
        }
        for (server, key) in keys(samples) {
            if let Some(keys) = shown.0.get_mut(server) {
                keys.insert(key);
            }
        }
        shown
    }
}

/// Family and database of samples, by server. Tenants change their labels; these stay.
#[derive(Default)]
pub struct Shown(BTreeMap<String, BTreeSet<String>>);

impl Shown {
    /// Every server shows what only one that was scraped has.
    pub fn is_complete(&self) -> bool {
        let wanted = "pgexporter_pg_stat_database_xact_commit ";
        let has = |keys: &BTreeSet<String>| keys.iter().any(|key| key.starts_with(wanted));
        self.0.values().all(has)
    }

    /// Keeps what the other shows as well.
    pub fn keep(&mut self, other: &Self) {
        for (server, keys) in &mut self.0 {
            keys.retain(|key| other.0.get(server).is_some_and(|other| other.contains(key)));
        }
    }

    /// How much of it a scrape shows, and what it lacks.
    pub fn compare(&self, samples: &Samples) -> (usize, Vec<String>) {
        let mut here: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (server, key) in keys(samples) {
            here.entry(server).or_default().insert(key);
        }
        let (mut count, mut missing) = (0, Vec::new());
        for (server, keys) in &self.0 {
            for key in keys {
                match here
                    .get(server.as_str())
                    .is_some_and(|here| here.contains(key))
                {
                    true => count += 1,
                    false => missing.push(format!("{server}: {key}")),
                }
            }
        }
        (count, missing)
    }
}

fn keys(samples: &Samples) -> impl Iterator<Item = (&str, String)> {
    let stays = |name: &str| !VOLATILE.iter().any(|part| name.contains(part));
    samples.samples.iter().filter_map(move |sample| {
        let server = sample.labels.get("server")?;
        let database = sample.labels.get("database").map_or("", String::as_str);
        let active = sample.name != "pgexporter_postgresql_active" || sample.value == 1.0;
        (stays(&sample.name) && active)
            .then(|| (server.as_str(), format!("{} {database}", sample.name)))
    })
}

fn namespace(at: usize) -> String {
    format!("tenant-{at}")
}

fn role(at: usize) -> String {
    format!("of_tenant_{at}")
}

fn file_role(at: usize) -> String {
    format!("of_file_{at}")
}
