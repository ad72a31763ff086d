//! While it runs: publishes what was read, serves, reloads on SIGHUP, and ends in order.

use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::admin_service::AdminService;
use super::file_watcher::{FileSnapshot, FileWatcher};
use super::process::descriptors::{self, DescriptorNeeds};
use super::process::detach::DetachedChild;
use super::process::notify;
use super::process::signals::{Signal, Signals};
use super::reload::{ConfigState, Publishers};
use super::{kubernetes, settings, warn_on_error};
use crate::config::KubernetesMode;
use crate::connection_limit::DisplacedConnections;
use crate::exposition::SelfMetrics;
use crate::http::{self, Readiness};
use crate::kubernetes::{ControllerContext, ControllerProgress};
use crate::management::{self, LocalSocket};
use crate::scrape::Scraper;
use crate::security::{Environment, Vault};
use crate::shutdown::Shutdown;
use crate::supervision::{TaskName, TaskPanicked, TaskPanics};
use crate::targets::{Loaded, Publisher, Sources};
use crate::telemetry::Telemetry;

/// Everything that `run` needs.
pub(super) struct RunContext {
    pub sources: Sources,
    pub loaded: Loaded,
    pub telemetry: Telemetry,
    pub signals: Signals,
    pub metrics: Vec<TcpListener>,
    pub health: Vec<TcpListener>,
    pub local: LocalSocket,
    /// Of the remote port; none when it is off.
    pub management: Vec<TcpListener>,
    pub child: Option<DetachedChild>,
    pub panics: TaskPanics,
}

/// Scrapes that run when the shutdown begins are answered within this time.
const SCRAPES: Duration = Duration::from_secs(4);
/// The ports give their answers 5 s, and need a moment to close.
const PORTS: Duration = Duration::from_secs(6);
/// How long sessions may take to cancel their queries and to close.
const SESSIONS: Duration = Duration::from_secs(7);

pub(super) async fn run(running: RunContext) -> anyhow::Result<()> {
    let RunContext {
        sources,
        loaded,
        telemetry,
        mut signals,
        metrics,
        health,
        local,
        management: remote,
        child,
        panics,
    } = running;
    for notice in &loaded.notices {
        warn!("{notice}");
    }
    let main = loaded.configuration.main.clone();
    let main = &main;
    let (catalog, catalog_reader) = watch::channel(Arc::clone(&loaded.catalog));
    let (scrape, scrape_reader) = watch::channel(settings::scrape(main));
    let needs = DescriptorNeeds {
        // The metrics port and the Unix socket are always there.
        ports: 2 + u64::from(main.health.is_some()) + u64::from(main.management.is_some()),
        max_connections: main.max_connections as u64,
        kubernetes: main.kubernetes != KubernetesMode::Off,
    };
    let files = descriptors::open_files();
    if let Some(shortage) = needs.shortage(files) {
        warn!("{shortage}");
    }
    let shares = needs.share(files);
    let tls = loaded.metrics_tls.clone();
    let (http, http_reader) = watch::channel(settings::http(main, tls, shares.port));
    let (cluster, cluster_reader) = watch::channel(settings::kubernetes(main));
    let (management, management_reader) =
        watch::channel(settings::management(&loaded, shares.port));
    let targets = Publisher::new(Arc::clone(&loaded.targets));
    let listeners = metrics
        .iter()
        .chain(&health)
        .chain(&remote)
        .map(TcpListener::try_clone)
        .collect::<Result<Vec<_>, _>>()?;
    let published = Publishers {
        catalog,
        scrape,
        http,
        targets,
        cluster,
        management,
        port_connections: shares.port,
        listeners: Arc::new(Mutex::new(listeners)),
    };
    let (readiness, readiness_reader) = watch::channel(Readiness::default());

    // Sessions end after the ports, when no scrape waits for them any more.
    let (ports, sessions) = (Shutdown::new(), Shutdown::new());
    let displaced = DisplacedConnections::default();
    let scraper = Scraper::new(
        catalog_reader.clone(),
        scrape_reader,
        shares.postgresql,
        telemetry.counters(),
        displaced.clone(),
    );
    let list = published.targets.subscribe();
    scraper.begin(&list, &sessions);
    sessions.spawn_essential(
        "targets",
        TaskName::Targets,
        scraper.clone().follow(list, sessions.clone()),
    );
    let control = ControllerContext {
        settings: cluster_reader,
        catalog: catalog_reader,
        publisher: published.targets.clone(),
        health: scraper.health(),
        scraped: scraper.asked(),
    };
    let (admin, mut asked) = AdminService::new(
        ConfigState {
            sources,
            loaded,
            published,
            telemetry,
        },
        scraper.clone(),
        kubernetes::pod_or_host_name(),
    );
    let started = kubernetes::start_controller(main, control, &ports).await?;
    let mut progress = started.as_ref().map(|started| started.progress.clone());
    let mut families: Vec<Arc<dyn SelfMetrics>> = vec![Arc::new(panics)];
    families.extend(started.map(|started| started.families));
    scraper.serve_also(Arc::new(families));
    http::serve_metrics(
        metrics,
        scraper.clone(),
        http_reader.clone(),
        displaced.clone(),
        &ports,
    )?;
    if !health.is_empty() {
        http::serve_health(
            health,
            readiness_reader,
            http_reader,
            displaced.clone(),
            &ports,
        )?;
    }
    management::serve_local(
        local,
        Arc::clone(&admin),
        open_vault(),
        management_reader.clone(),
        displaced.clone(),
        &ports,
    )?;
    if !remote.is_empty() {
        let (control, vault) = (Arc::clone(&admin), open_vault());
        management::serve_remote(remote, control, vault, management_reader, displaced, &ports)?;
    }
    let mut watcher = FileWatcher::default();
    watcher.set_files(admin.files_to_follow());
    readiness.send_replace(current_readiness(&mut progress));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        metrics = main.metrics,
        servers = admin.servers_of_file(),
        "pgexporter is ready"
    );
    warn_on_error(notify::ready(&systemd_status(admin.servers_of_file())));
    if let Some(child) = child {
        child.ready();
    }

    let mut reload: Option<ReloadTask> = None;
    let mut failure = None;
    let mut again = false;
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            Some(()) = asked.recv() => Signal::Shutdown("asked to"),
            panicked = wait_for_failure(&ports, &sessions) => {
                failure = Some(panicked);
                Signal::Shutdown("a task failed")
            }
            snapshot = finish_reload(&mut reload) => {
                reload = None;
                watcher.follow(snapshot);
                watcher.set_files(admin.files_to_follow());
                warn_on_error(notify::ready(&systemd_status(admin.servers_of_file())));
                if !std::mem::take(&mut again) {
                    continue;
                }
                Signal::Reload
            }
            () = watcher.next_change(), if reload.is_none() && admin.reloads_on_change() => {
                info!("files of the configuration have changed");
                Signal::Reload
            }
            () = wait_for_progress(&mut progress) => {
                readiness.send_replace(current_readiness(&mut progress));
                continue;
            }
        };
        match signal {
            Signal::Shutdown(name) => {
                info!("{name}: shutting down");
                break;
            }
            // A reload that runs may have read the files before they changed, so another one follows.
            Signal::Reload if reload.is_some() => again = true,
            Signal::Reload => {
                warn_on_error(notify::reloading());
                // The snapshot is taken before the files are read, so that a change while they are read
                // is seen as one.
                let snapshot = watcher.snapshot(admin.files_to_follow());
                let admin = Arc::clone(&admin);
                reload = Some(Box::pin(async move {
                    let snapshot = snapshot.await;
                    // What is wrong is in the log.
                    let _ = admin.reload_now().await;
                    snapshot
                }));
            }
        }
    }
    drop(reload);
    warn_on_error(notify::stopping());
    readiness.send_replace(Readiness {
        ready: false,
        reasons: vec!["shutting down".to_owned()],
    });
    // While this clone of the sockets is open, the kernel would accept connections that no task
    // answers.
    admin.close();
    scraper.end_by(Instant::now() + SCRAPES);
    stop_tasks(&ports, PORTS).await;
    stop_tasks(&sessions, SESSIONS).await;
    info!("pgexporter has ended");
    failure.map_or(Ok(()), |panicked| Err(panicked.into()))
}

/// Completes once a task has panicked without which the program does not do its work.
async fn wait_for_failure(ports: &Shutdown, sessions: &Shutdown) -> TaskPanicked {
    tokio::select! {
        panicked = ports.failed() => panicked,
        panicked = sessions.failed() => panicked,
    }
}

/// A reload that runs: ends with the files as they were before they were read.
type ReloadTask = Pin<Box<dyn Future<Output = FileSnapshot> + Send>>;

/// The end of the reload that runs, if one does.
async fn finish_reload(reload: &mut Option<ReloadTask>) -> FileSnapshot {
    match reload {
        Some(reload) => reload.await,
        None => std::future::pending().await,
    }
}

/// Whether the program can do its work: at once, where no cluster has to be read first.
fn current_readiness(progress: &mut Option<watch::Receiver<ControllerProgress>>) -> Readiness {
    match progress {
        Some(progress) => kubernetes::readiness(&progress.borrow_and_update()),
        None => Readiness {
            ready: true,
            reasons: Vec::new(),
        },
    }
}

/// Completes when the controller's progress changes.
async fn wait_for_progress(progress: &mut Option<watch::Receiver<ControllerProgress>>) {
    if let Some(progress) = progress
        && progress.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// For requests that come encrypted.
fn open_vault() -> Arc<Vault> {
    Arc::new(Vault::new(Environment::of_process().home.as_deref()))
}

async fn stop_tasks(tasks: &Shutdown, limit: Duration) {
    tasks.begin();
    if let Err(names) = tasks.finish(limit).await {
        warn!("did not end in time: {}", names.join(", "));
    }
}

fn systemd_status(servers: usize) -> String {
    match servers {
        1 => "1 server".to_owned(),
        servers => format!("{servers} servers"),
    }
}
