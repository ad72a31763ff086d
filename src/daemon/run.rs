//! While it runs: publishes what was read, serves, reloads on SIGHUP, and ends in order.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::arguments::Arguments;
use super::process::detach::Child;
use super::process::signals::{Signal, Signals};
use super::process::{notify, title};
use super::reload::{State, log_settings, read_configuration, read_state};
use crate::catalog::Catalog;
use crate::config::{self, Configuration};
use crate::http::{self, Readiness};
use crate::scrape::{ScrapeSettings, Scraper};
use crate::shutdown::Shutdown;
use crate::targets::TargetList;
use crate::telemetry::Telemetry;

/// Everything that `run` takes over.
pub(super) struct Running {
    pub arguments: Arguments,
    pub state: State,
    pub telemetry: Telemetry,
    pub metrics: Vec<TcpListener>,
    pub health: Vec<TcpListener>,
    pub child: Option<Child>,
}

/// In-flight scrapes have 5 s; the rest is for sessions to say goodbye.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// Where a reload publishes. One writer, and readers of snapshots.
struct Published {
    catalog: watch::Sender<Arc<Catalog>>,
    scrape: watch::Sender<ScrapeSettings>,
    http: watch::Sender<Arc<http::Settings>>,
    targets: watch::Sender<TargetList>,
}

pub(super) async fn run(running: Running) -> anyhow::Result<()> {
    let Running {
        arguments,
        state,
        telemetry,
        metrics,
        health,
        child,
    } = running;
    let mut signals = Signals::listen()?;
    let shutdown = Shutdown::new();
    for notice in &state.notices {
        warn!("{notice}");
    }
    let mut configuration = state.configuration;
    let (catalog, catalog_reader) = watch::channel(state.catalog);
    let (scrape, scrape_reader) = watch::channel(state.scrape);
    let (http, http_reader) = watch::channel(state.http);
    let (targets, targets_reader) = watch::channel(state.targets);
    let published = Published {
        catalog,
        scrape,
        http,
        targets,
    };
    let (readiness, readiness_reader) = watch::channel(Readiness::default());

    let scraper = Scraper::new(
        catalog_reader,
        scrape_reader,
        configuration.main.max_connections,
        telemetry.counters(),
    );
    shutdown.spawn(
        "targets",
        scraper.clone().follow(targets_reader, shutdown.clone()),
    );
    http::serve_metrics(metrics, scraper, http_reader.clone(), &shutdown)?;
    if !health.is_empty() {
        http::serve_health(health, readiness_reader, http_reader, &shutdown)?;
    }
    readiness.send_replace(Readiness {
        ready: true,
        reasons: Vec::new(),
    });
    info!(
        version = env!("CARGO_PKG_VERSION"),
        metrics = configuration.main.metrics,
        servers = configuration.servers.len(),
        "pgexporter is ready"
    );
    tell(notify::ready(&format!(
        "{} servers",
        configuration.servers.len()
    )));
    if let Some(child) = child {
        child.ready();
    }

    loop {
        let signal = signals.next().await;
        match signal {
            Signal::Shutdown(name) => {
                info!("{name}: shutting down");
                break;
            }
            Signal::Reload => {
                tell(notify::reloading());
                configuration = reload(&arguments, configuration, &published, &telemetry);
                tell(notify::ready(&format!(
                    "{} servers",
                    configuration.servers.len()
                )));
            }
        }
    }
    tell(notify::stopping());
    readiness.send_replace(Readiness {
        ready: false,
        reasons: vec!["shutting down".to_owned()],
    });
    shutdown.begin();
    if let Err(names) = shutdown.finish(SHUTDOWN).await {
        warn!("did not end in time: {}", names.join(", "));
    }
    info!("pgexporter has ended");
    Ok(())
}

/// Reads everything again. All of it is published, or nothing and the reasons are told.
fn reload(
    arguments: &Arguments,
    old: Configuration,
    published: &Published,
    telemetry: &Telemetry,
) -> Configuration {
    let read = read_configuration(arguments)
        .map_err(anyhow::Error::from)
        .and_then(|(new, notices)| {
            let changes = config::compare(&old, &new);
            let merged = config::merge(&old, &new);
            telemetry.reload(&log_settings(&merged.main))?;
            read_state(arguments, merged, notices).map(|state| (state, changes))
        });
    let (state, changes) = match read {
        Ok(read) => read,
        Err(problem) => {
            // What was taken over for the log goes back with the rest.
            let _ = telemetry.reload(&log_settings(&old.main));
            error!("reload refused, nothing was changed: {problem:#}");
            return old;
        }
    };
    for notice in &state.notices {
        warn!("{notice}");
    }
    published.catalog.send_if_modified(|catalog| {
        // A catalogue that reads the same keeps what sessions hold prepared for it.
        let changed =
            catalog.metrics != state.catalog.metrics || catalog.families != state.catalog.families;
        if changed {
            *catalog = state.catalog;
        }
        changed
    });
    published.scrape.send_replace(state.scrape);
    published.http.send_replace(state.http);
    published.targets.send_replace(state.targets);
    let main = &state.configuration.main;
    tell(title::apply(main.update_process_title, main.metrics));
    info!("reloaded: {changes}");
    state.configuration
}

/// Systemd may not listen any more; the program goes on without it.
fn tell(result: std::io::Result<()>) {
    if let Err(error) = result {
        warn!("telling systemd or the system failed: {error}");
    }
}
