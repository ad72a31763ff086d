//! The handle that the edges hold: one task for each target, all asked at once.

mod notices;
mod scrape;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::connection_limiter::ConnectionLimiter;
use super::counters::TargetCounters;
use super::profile::ProfileRequest;
use super::settings::ScrapeSettings;
use super::single_flight::SingleFlight;
use super::target::connect_queue::ConnectQueue;
use super::target::context::{ShutdownDeadline, TargetContext};
use super::target::driver::DriverInputs;
use super::target::task::{TargetTaskParts, run_target};
use super::{Exposition, FamilyOverview, Overview, self_metrics};
use crate::catalog::Catalog;
use crate::connection_limit::DisplacedConnections;
use crate::exposition::SelfMetrics;
use crate::model::TargetErrorKind;
use crate::postgres::ConnectContext;
use crate::shutdown::Shutdown;
use crate::targets::{
    Health, HealthBoard, Origin, Profile, SampleMemory, ServerReport, Target, TargetError,
    TargetList,
};
use crate::telemetry::LogCounters;

/// Asks all targets. Cloning gives another handle on the same scraper.
#[derive(Clone, Debug)]
pub struct Scraper(Arc<ScraperState>);

#[derive(Debug)]
struct ScraperState {
    context: TargetContext,
    logs: Arc<LogCounters>,
    displaced: DisplacedConnections,
    end: watch::Sender<Option<Instant>>,
    /// How often all sessions were to be renewed.
    renewals: watch::Sender<u64>,
    handles: Mutex<Vec<Arc<TargetHandle>>>,
    board: HealthBoard,
    cached: Mutex<Option<(Instant, Exposition)>>,
    /// There are fewer connections than sessions to keep.
    shortage: Mutex<Option<String>>,
    /// Somebody has asked for the metrics.
    asked: watch::Sender<bool>,
    /// Families of a room that scraping knows nothing of.
    more: OnceLock<Arc<dyn SelfMetrics>>,
}

#[derive(Debug)]
struct TargetHandle {
    target: Arc<Target>,
    /// What stays when the target changes, and the session with it.
    worker: Arc<TargetTask>,
}

/// The end of a task that others hold.
#[derive(Debug)]
struct TargetTask {
    health: Health,
    counters: Arc<TargetCounters>,
    single_flight: SingleFlight,
    profiles: mpsc::UnboundedSender<ProfileRequest>,
    target: watch::Sender<Arc<Target>>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl Default for Scraper {
    /// Without targets, queries and limits: it serves the exporter's own families.
    fn default() -> Self {
        let (_, catalog) = watch::channel(Arc::default());
        let (_, settings) = watch::channel(ScrapeSettings::default());
        let displaced = DisplacedConnections::default();
        Self::new(
            catalog,
            settings,
            Semaphore::MAX_PERMITS,
            Arc::default(),
            displaced,
        )
    }
}

impl Scraper {
    /// A scraper without targets.
    ///
    /// `connections` is the most that are open at once, over all targets.
    #[must_use]
    pub fn new(
        catalog: watch::Receiver<Arc<Catalog>>,
        settings: watch::Receiver<ScrapeSettings>,
        connections: usize,
        logs: Arc<LogCounters>,
        displaced: DisplacedConnections,
    ) -> Self {
        let (end, known_end) = watch::channel(None);
        let (renewals, known_renewals) = watch::channel(0);
        let memory = SampleMemory::new(settings.borrow().memory);
        let context = TargetContext {
            counters: Arc::default(),
            memory,
            catalog,
            settings,
            connect: ConnectContext::default(),
            renewals: known_renewals,
            limiter: ConnectionLimiter::new(connections),
            turns: ConnectQueue::default(),
            renewal_turns: ConnectQueue::for_one(),
            end: ShutdownDeadline(known_end),
        };
        Self(Arc::new(ScraperState {
            context,
            logs,
            displaced,
            end,
            renewals,
            handles: Mutex::default(),
            board: HealthBoard::default(),
            cached: Mutex::default(),
            shortage: Mutex::default(),
            asked: watch::Sender::new(false),
            more: OnceLock::new(),
        }))
    }

    /// Whether somebody has asked for the metrics.
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<bool> {
        self.0.asked.subscribe()
    }

    /// Serves these families beside the exporter's own. Only the first call counts.
    pub fn serve_also(&self, families: Arc<dyn SelfMetrics>) {
        let _ = self.0.more.set(families);
    }

    /// Takes the present list over, so that the first scrape finds it. Then [`Self::follow`] it.
    pub fn begin(&self, targets: &watch::Receiver<TargetList>, shutdown: &Shutdown) {
        let list = targets.borrow().clone();
        self.apply_targets(&list, shutdown);
    }

    /// Follows the list until the shutdown: a new target gets a task, one that is gone loses it,
    /// one that did not change keeps its session.
    pub async fn follow(self, mut targets: watch::Receiver<TargetList>, shutdown: Shutdown) {
        loop {
            let list = targets.borrow_and_update().clone();
            self.apply_targets(&list, &shutdown);
            tokio::select! {
                () = shutdown.begun() => break,
                changed = targets.changed() => if changed.is_err() {
                    shutdown.begun().await;
                    break;
                },
            }
        }
        for handle in self.handles() {
            handle.worker.cancel.cancel();
        }
    }

    /// Before the shutdown: scrapes that run are answered at `end` with what is ready by then, and
    /// what the servers still work on is cancelled.
    pub fn end_by(&self, end: Instant) {
        self.0.end.send_replace(Some(end));
    }

    /// Lets every target renew its sessions, one by one and between scrapes: their names may lead
    /// elsewhere by now.
    pub fn renew_sessions(&self) {
        self.0.renewals.send_modify(|count| *count += 1);
    }

    /// How each target is, for those that report it.
    #[must_use]
    pub fn health(&self) -> HealthBoard {
        self.0.board.clone()
    }

    fn apply_targets(&self, list: &TargetList, shutdown: &Shutdown) {
        let old = self.handles();
        let before: HashMap<&str, &Arc<TargetHandle>> = old
            .iter()
            .map(|one| (one.target.name.as_str(), one))
            .collect();
        let new = list
            .iter()
            .map(|target| match before.get(target.name.as_str()) {
                Some(known) if *known.target == **target => Arc::clone(known),
                Some(known) if known.target.shares_session(target) => {
                    known.worker.target.send_replace(Arc::clone(target));
                    info!(
                        server = %target.name,
                        "the settings of the target changed; its session is kept"
                    );
                    Arc::new(TargetHandle {
                        target: Arc::clone(target),
                        worker: Arc::clone(&known.worker),
                    })
                }
                known => self.spawn_target(target, known.copied(), shutdown),
            })
            .collect::<Vec<_>>();
        let kept: HashMap<&str, &Arc<TargetTask>> = new
            .iter()
            .map(|one| (one.target.name.as_str(), &one.worker))
            .collect();
        for gone in &old {
            let still = kept.get(gone.target.name.as_str());
            if !still.is_some_and(|worker| Arc::ptr_eq(worker, &gone.worker)) {
                gone.worker.cancel.cancel();
                info!(server = %gone.target.name, "stopped scraping with the previous settings");
            }
        }
        self.note_shortage(list);
        let health = |one: &Arc<TargetHandle>| (Arc::clone(&one.target), one.worker.health.clone());
        self.0.board.set(new.iter().map(health));
        *self
            .0
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = new;
        *self.0.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn spawn_target(
        &self,
        target: &Arc<Target>,
        before: Option<&Arc<TargetHandle>>,
        shutdown: &Shutdown,
    ) -> Arc<TargetHandle> {
        // Counters of a target that was changed go on: they belong to its name.
        let counters = before
            .map(|one| Arc::clone(&one.worker.counters))
            .unwrap_or_default();
        let health = Health::default();
        let (single_flight, requests) = SingleFlight::new();
        let (profiles, asked) = mpsc::unbounded_channel();
        let (changes, changed) = watch::channel(Arc::clone(target));
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        let task = run_target(TargetTaskParts {
            changes: changed,
            inputs: DriverInputs {
                requests,
                profiles: asked,
            },
            health: health.clone(),
            counters: Arc::clone(&counters),
            context: self.0.context.clone(),
            cancelled: cancel.clone(),
            before: before.map(|one| one.worker.ended.clone()),
            ended: ended.clone(),
        });
        shutdown.spawn("session", task);
        Arc::new(TargetHandle {
            target: Arc::clone(target),
            worker: Arc::new(TargetTask {
                health,
                counters,
                single_flight,
                profiles,
                target: changes,
                cancel,
                ended,
            }),
        })
    }

    fn handles(&self) -> Vec<Arc<TargetHandle>> {
        self.0
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs everything that a server is asked once, one query after the other, and times each.
    /// Scrapes go on meanwhile. `None`: there is no such server here.
    pub async fn profile(&self, server: &str, deadline: Instant) -> Option<Profile> {
        let (reply, profile) = oneshot::channel();
        let address = {
            let handles = self.handles();
            let named = |one: &&Arc<TargetHandle>| one.target.name == server;
            let ours = |one: &&Arc<TargetHandle>| one.target.ownership_term.holds();
            let handle = handles.iter().filter(ours).find(named)?;
            // A task that ends answers nobody.
            let _ = handle
                .worker
                .profiles
                .send(ProfileRequest { deadline, reply });
            handle.target.address.to_string()
        };
        Some(profile.await.unwrap_or_else(|_| Profile {
            trouble: Some(TargetError {
                kind: TargetErrorKind::Pending,
                message: format!(
                    "{address}: the server was changed or removed in the meantime; try again"
                ),
            }),
            address,
            ..Profile::default()
        }))
    }

    fn keep(&self, exposition: &Exposition) {
        let mut cached = self.0.cached.lock().unwrap_or_else(PoisonError::into_inner);
        *cached = Some((Instant::now(), exposition.clone()));
    }

    fn cached(&self, age: Duration) -> Option<Exposition> {
        if age.is_zero()
            || !self
                .handles()
                .iter()
                .all(|one| one.target.ownership_term.holds())
        {
            return None;
        }
        let cached = self.0.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached
            .as_ref()
            .filter(|(at, _)| at.elapsed() < age)
            .map(|(_, exposition)| exposition.clone())
    }

    /// Forgets the collection that is served again, and begins to count at 0.
    pub fn clear(&self) {
        *self.0.cached.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.context.counters.clear();
        self.0.logs.clear();
        self.0.displaced.clear();
        for handle in self.handles() {
            handle.worker.counters.clear();
        }
    }

    /// The servers, as they were last seen; asks none.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerReport> {
        let show = |handle: &Arc<TargetHandle>| {
            let (target, worker) = (&handle.target, &handle.worker);
            let health = worker.health.report();
            ServerReport {
                name: target.name.clone(),
                address: target.address.to_string(),
                origin: match target.origin {
                    Origin::File => "file",
                    Origin::Kubernetes => "kubernetes",
                },
                connections: worker.counters.connections.get(),
                failures: health
                    .last_error
                    .as_ref()
                    .map_or(0, |(trouble, _)| worker.counters.failures_for(trouble.kind)),
                health,
            }
        };
        let ours = |handle: &&Arc<TargetHandle>| handle.target.ownership_term.holds();
        self.handles().iter().filter(ours).map(show).collect()
    }

    /// What the overview page shows; asks no server.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let servers = self.servers();
        let own = self_metrics::FAMILIES
            .iter()
            .map(|(name, kind, help)| FamilyOverview {
                name: (*name).to_owned(),
                kind: *kind,
                help: (*help).to_owned(),
                collector: "pgexporter".to_owned(),
            });
        let more = self.0.more.get();
        let more = more.into_iter().flat_map(|more| more.heads());
        let more = more.map(|head| FamilyOverview {
            name: head.name.to_owned(),
            kind: head.kind,
            help: head.help.to_owned(),
            collector: "pgexporter".to_owned(),
        });
        let catalog = self.0.context.catalog.borrow().clone();
        let listed = catalog.families.iter().map(|family| FamilyOverview {
            name: family.name.clone(),
            kind: family.kind,
            help: family.help.clone(),
            collector: family.collector.clone(),
        });
        let mut families: Vec<FamilyOverview> = own.chain(more).chain(listed).collect();
        families.sort_by(|a, b| a.name.cmp(&b.name));
        let notices = self.notices();
        Overview {
            servers,
            families,
            notices,
        }
    }
}
