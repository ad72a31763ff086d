//! Reload: everything is read again, and published at once or not at all.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::kubernetes::SettingsSender;
use super::process::title;
use super::{settings, warn_on_error};
use crate::catalog::Catalog;
use crate::config::{self, ConfigChanges, Configuration};
use crate::http;
use crate::management::{self, AdminApiError, ReloadReport};
use crate::scrape::ScrapeSettings;
use crate::targets::{LoadErrors, Loaded, Publisher, Sources};
use crate::telemetry::{Telemetry, TelemetryError};

/// The listening sockets, behind a lock of their own: the shutdown closes them without waiting for a
/// reload that hangs.
pub(super) type Listeners = Arc<Mutex<Vec<TcpListener>>>;

/// The senders through which a configuration reaches the other rooms. This room alone writes; the
/// others read snapshots.
pub(super) struct Publishers {
    pub catalog: watch::Sender<Arc<Catalog>>,
    pub scrape: watch::Sender<ScrapeSettings>,
    pub http: watch::Sender<Arc<http::HttpSettings>>,
    pub targets: Publisher,
    pub cluster: SettingsSender,
    pub management: watch::Sender<Arc<management::ManagementSettings>>,
    /// Clones of the listening sockets, for a change of `backlog`. Empty once the shutdown has begun.
    pub listeners: Listeners,
    /// Connections that each port may have; the system's limits decide it at start.
    pub port_connections: usize,
}

/// How long a request that reads files may take, waiting for others included.
pub(super) const FILES: Duration = Duration::from_secs(30);

/// The running configuration and its files. There is one owner of it.
pub(super) struct ConfigState {
    pub sources: Sources,
    /// What was read last and is used.
    pub loaded: Loaded,
    pub published: Publishers,
    pub telemetry: Telemetry,
}

impl ConfigState {
    /// Reads all files again, and publishes them if all are right and the caller still waits (`wanted`).
    ///
    /// # Errors
    /// All that is wrong, one line each; it is in the log too.
    pub(super) fn reload(&mut self, wanted: &AtomicBool) -> Result<ReloadReport, AdminApiError> {
        let done = self.read_and_apply(wanted);
        match &done {
            Ok(reloaded) => {
                info!("reloaded: {}", reloaded.changes.join("; "));
                if !reloaded.restart.is_empty() {
                    warn!("a restart is needed for {}", reloaded.restart.join(", "));
                }
            }
            Err(error) => {
                let problems = error.lines();
                for problem in &problems {
                    error!("{problem}");
                }
                error!(
                    errors = problems.len(),
                    "reload refused, nothing was changed"
                );
            }
        }
        done
    }

    fn read_and_apply(&mut self, wanted: &AtomicBool) -> Result<ReloadReport, AdminApiError> {
        let (loaded, changes) = self.read_changes()?;
        if !wanted.load(Ordering::Acquire) {
            return Err(AdminApiError::GivenUp);
        }
        let notices = loaded.notices.clone();
        let reloaded = self.apply(loaded, &changes)?;
        for notice in notices {
            warn!("{notice}");
        }
        Ok(reloaded)
    }

    /// Reads what a reload would publish, and what differs in `pgexporter.conf`.
    pub(super) fn read_changes(&self) -> Result<(Loaded, ConfigChanges), LoadErrors> {
        let mut read = self.sources.configuration()?;
        let old = &self.loaded.configuration;
        let changes = config::compare(old, &read.configuration);
        read.configuration = config::merge(old, &read.configuration);
        let loaded = self.sources.load(read)?;
        Ok((loaded, changes))
    }

    /// Publishes what was read.
    pub(super) fn apply(
        &mut self,
        loaded: Loaded,
        changes: &ConfigChanges,
    ) -> Result<ReloadReport, TelemetryError> {
        let log = settings::log(&loaded.configuration.main);
        self.telemetry.reload(&log)?;
        let reloaded = ReloadReport {
            changes: self.describe_changes(changes, &loaded),
            restart: changes.restart.iter().map(|one| one.key.clone()).collect(),
        };
        publish(&loaded, &self.loaded.configuration, &self.published);
        self.loaded = loaded;
        Ok(reloaded)
    }

    /// All that would be different: keys and servers of the file, and what other files changed.
    pub(super) fn describe_changes(&self, changes: &ConfigChanges, loaded: &Loaded) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        if !changes.is_empty() {
            lines.extend(changes.to_string().lines().map(str::to_owned));
        }
        if catalog_differs(&self.published.catalog.borrow(), &loaded.catalog) {
            lines.push("metrics: changed".to_owned());
        }
        for old in self.published.targets.file().iter() {
            let Some(new) = loaded.targets.iter().find(|new| new.name == old.name) else {
                continue;
            };
            if old.password != new.password {
                lines.push(format!("server {}: the password changed", new.name));
            }
            let told = changes.changed.iter().any(|server| {
                server.name == new.name
                    && server.changes.iter().any(|one| one.key.starts_with("tls"))
            });
            if old.tls != new.tls && !told {
                lines.push(format!(
                    "server {}: the TLS certificates or keys changed",
                    new.name
                ));
            }
        }
        if lines.is_empty() {
            lines.push("no changes".to_owned());
        }
        lines
    }
}

fn publish(loaded: &Loaded, old: &Configuration, published: &Publishers) {
    let main = &loaded.configuration.main;
    published.catalog.send_if_modified(|catalog| {
        // An equal catalogue is not replaced, so that sessions keep their prepared statements.
        let changed = catalog_differs(catalog, &loaded.catalog);
        if changed {
            catalog.clone_from(&loaded.catalog);
        }
        changed
    });
    published.scrape.send_replace(settings::scrape(main));
    let tls = loaded.metrics_tls.clone();
    let connections = published.port_connections;
    published
        .http
        .send_replace(settings::http(main, tls, connections));
    published
        .management
        .send_replace(settings::management(loaded, connections));
    published.targets.set_file(Arc::clone(&loaded.targets));
    // After the targets: the controller then sees a server of the file that has the name of a
    // resource.
    published.cluster.send_replace(settings::kubernetes(main));
    warn_on_error(title::apply(main.update_process_title, main.metrics));
    if main.backlog != old.main.backlog {
        let listeners = published.listeners.lock();
        for listener in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
            // listen(2) on a listening socket changes the length of its queue.
            let length = i32::try_from(main.backlog).unwrap_or(i32::MAX);
            warn_on_error(rustix::net::listen(listener, length).map_err(Into::into));
        }
    }
}

fn catalog_differs(one: &Catalog, other: &Catalog) -> bool {
    one.metrics != other.metrics || one.families != other.families
}
