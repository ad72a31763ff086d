//! Reload: everything is read again, and published at once or not at all.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::process::title;
use super::{settings, tell};
use crate::catalog::Catalog;
use crate::config::{self, Changes, Configuration};
use crate::http;
use crate::scrape::ScrapeSettings;
use crate::targets::{LoadErrors, Loaded, Sources, TargetList};
use crate::telemetry::Telemetry;

/// Where what was read is published. One writer, and readers of snapshots.
pub(super) struct Published {
    pub catalog: watch::Sender<Arc<Catalog>>,
    pub scrape: watch::Sender<ScrapeSettings>,
    pub http: watch::Sender<Arc<http::Settings>>,
    pub targets: watch::Sender<TargetList>,
    /// The listening sockets once more, for `backlog`.
    pub listeners: Vec<TcpListener>,
}

/// Reads everything again; returns the configuration to go on with, which is `old` when anything
/// is wrong.
pub(super) fn reload(
    sources: &Sources,
    old: Configuration,
    published: &Published,
    telemetry: &Telemetry,
) -> Configuration {
    let (loaded, changes) = match read(sources, &old) {
        Ok(read) => read,
        Err(errors) => {
            for problem in &errors.problems {
                error!("{problem}");
            }
            error!(
                errors = errors.problems.len(),
                "reload refused, nothing was changed"
            );
            return old;
        }
    };
    if let Err(error) = telemetry.reload(&settings::log(&loaded.configuration.main)) {
        error!("{error}");
        error!(errors = 1, "reload refused, nothing was changed");
        return old;
    }
    for notice in &loaded.notices {
        warn!("{notice}");
    }
    let report = report(&changes, &loaded, published);
    publish(&loaded, &old, published);
    info!("reloaded: {report}");
    if !changes.restart.is_empty() {
        let keys: Vec<&str> = changes.restart.iter().map(|one| one.key.as_str()).collect();
        warn!("a restart is needed for {}", keys.join(", "));
    }
    loaded.configuration
}

fn read(sources: &Sources, old: &Configuration) -> Result<(Loaded, Changes), LoadErrors> {
    let mut read = sources.configuration()?;
    let changes = config::compare(old, &read.configuration);
    read.configuration = config::merge(old, &read.configuration);
    Ok((sources.load(read)?, changes))
}

fn publish(loaded: &Loaded, old: &Configuration, published: &Published) {
    let main = &loaded.configuration.main;
    published.catalog.send_if_modified(|catalog| {
        // A catalogue that reads the same keeps what sessions hold prepared for it.
        let changed = differs(catalog, &loaded.catalog);
        if changed {
            catalog.clone_from(&loaded.catalog);
        }
        changed
    });
    published.scrape.send_replace(settings::scrape(main));
    let tls = loaded.metrics_tls.clone();
    published.http.send_replace(settings::http(main, tls));
    published.targets.send_replace(Arc::clone(&loaded.targets));
    tell(title::apply(main.update_process_title, main.metrics));
    if main.backlog != old.main.backlog {
        for listener in &published.listeners {
            // Asked again, listen(2) takes the new length over.
            let length = i32::try_from(main.backlog).unwrap_or(i32::MAX);
            tell(rustix::net::listen(listener, length).map_err(Into::into));
        }
    }
}

fn differs(one: &Catalog, other: &Catalog) -> bool {
    one.metrics != other.metrics || one.families != other.families
}

/// All that is different, in one line: keys and servers of the file, and what other files changed.
fn report(changes: &Changes, loaded: &Loaded, published: &Published) -> String {
    let mut lines: Vec<String> = Vec::new();
    if !changes.is_empty() {
        lines.extend(changes.to_string().lines().map(str::to_owned));
    }
    if differs(&published.catalog.borrow(), &loaded.catalog) {
        lines.push("metrics: changed".to_owned());
    }
    for old in published.targets.borrow().iter() {
        let Some(new) = loaded.targets.iter().find(|new| new.name == old.name) else {
            continue;
        };
        if old.password != new.password {
            lines.push(format!("server {}: its password is another", new.name));
        }
        let told = changes.changed.iter().any(|server| {
            server.name == new.name && server.changes.iter().any(|one| one.key.starts_with("tls"))
        });
        if old.tls != new.tls && !told {
            lines.push(format!("server {}: its certificates are others", new.name));
        }
    }
    if lines.is_empty() {
        lines.push("nothing is different".to_owned());
    }
    lines.join("; ")
}
