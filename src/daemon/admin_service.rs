//! Runs the commands of administrators. Owns the running configuration, which is replaced as a whole
//! or not at all.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::admin_settings::{apply_setting, report_settings};
use super::reload::{ConfigState, FILES, Listeners};
use crate::blocking::BlockingPool;
use crate::management::{
    AdminApi, AdminApiError, CheckReport, ReloadReport, SetOutcome, SettingReport,
};
use crate::scrape::Scraper;
use crate::targets::{Profile, ServerReport};

/// The service that signals and the management listeners call.
pub(super) struct AdminService {
    /// Locked while files are read, which may take long; so only threads of `files` wait for the lock.
    /// `None` once the shutdown has begun.
    state: Mutex<Option<ConfigState>>,
    /// A copy of what commands need that must not wait for a disk.
    summary: Mutex<ConfigSummary>,
    listeners: Listeners,
    /// One thread that reads files, for one request after the other.
    files: BlockingPool,
    /// When the thread of `files` began its present request; `None` while it has none.
    reading: Mutex<Option<Instant>>,
    ending: CancellationToken,
    scraper: Scraper,
    /// Who scrapes: the pod, or the host.
    owner: String,
    shutdown: mpsc::UnboundedSender<()>,
}

/// How long a scrape that an administrator asks for may take; the command lines wait longer.
const PROFILE: Duration = Duration::from_secs(60);

/// Requests that read files and wait for each other.
const WAITING: usize = 32;

/// A summary of the files that were read last.
#[derive(Clone, Debug, Default)]
struct ConfigSummary {
    servers: usize,
    reloads_on_change: bool,
    /// All that a reload reads.
    files: Vec<PathBuf>,
    /// The files that `conf ls` shows: what each is, and its path.
    shown: Vec<(&'static str, String)>,
}

impl ConfigSummary {
    /// May look for files.
    fn from_state(state: &ConfigState) -> Self {
        let (sources, configuration) = (&state.sources, &state.loaded.configuration);
        let main = ("MainConfiguration", Some(configuration.path.clone()));
        let users = sources.users_file(&configuration.path);
        let admins = sources.admins_file(&configuration.path);
        let all = [
            main,
            ("UsersConfiguration", users),
            ("AdminsConfiguration", admins),
        ];
        let shown = all.into_iter().filter_map(|(what, path)| {
            let path = path?;
            let path = std::path::absolute(&path).unwrap_or(path);
            Some((what, path.display().to_string()))
        });
        Self {
            servers: configuration.servers.len(),
            reloads_on_change: configuration.main.reload_on_change,
            files: sources.files(configuration),
            shown: shown.collect(),
        }
    }
}

impl AdminService {
    /// A service that owns the state. The receiver gets a message when a shutdown is requested.
    pub(super) fn new(
        state: ConfigState,
        scraper: Scraper,
        owner: String,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<()>) {
        let (shutdown, asked) = mpsc::unbounded_channel();
        let service = Self {
            summary: Mutex::new(ConfigSummary::from_state(&state)),
            listeners: Arc::clone(&state.published.listeners),
            files: BlockingPool::new("configuration", 1, WAITING),
            reading: Mutex::default(),
            ending: CancellationToken::new(),
            state: Mutex::new(Some(state)),
            scraper,
            owner,
            shutdown,
        };
        (Arc::new(service), asked)
    }

    /// Closes the listening sockets and drops the state, so that nothing is published any more. Does
    /// not wait for a reload that hangs on a disk: that one drops the state itself.
    pub(super) fn close(&self) {
        self.ending.cancel();
        let listeners = self.listeners.lock();
        listeners.unwrap_or_else(PoisonError::into_inner).clear();
        if let Ok(mut state) = self.state.try_lock() {
            *state = None;
        }
    }

    /// How many servers the file has.
    pub(super) fn servers_of_file(&self) -> usize {
        self.summary().servers
    }

    /// The files that a reload reads.
    pub(super) fn files_to_follow(&self) -> Vec<PathBuf> {
        self.summary().files.clone()
    }

    /// Whether a changed file starts a reload.
    pub(super) fn reloads_on_change(&self) -> bool {
        self.summary().reloads_on_change
    }

    /// Reloads the configuration on the thread of `files`, as disks may be slow.
    pub(super) async fn reload_now(self: &Arc<Self>) -> Result<ReloadReport, AdminApiError> {
        let reloaded = self
            .run_on_state(|state, wanted| state.reload(wanted))
            .await;
        let reloaded = reloaded.unwrap_or_else(|problem| {
            error!("reload refused, nothing was changed: {problem}");
            Err(problem)
        });
        if reloaded.is_ok() {
            // The names of servers may resolve to other addresses by now.
            self.scraper.renew_sessions();
        }
        reloaded
    }

    /// Runs blocking work on the state. The flag that the work gets becomes false when the caller has
    /// given up: work that ends later must not change a configuration after its caller was told that
    /// the change failed.
    ///
    /// # Errors
    /// It took too long, or the exporter ends.
    async fn run_on_state<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut ConfigState, &AtomicBool) -> T + Send + 'static,
    ) -> Result<T, AdminApiError> {
        // Requests do not queue behind one that waits for a disk which does not answer.
        if self.reading().is_some_and(|since| since.elapsed() >= FILES) {
            return Err(AdminApiError::TooSlow(FILES));
        }
        let wanted = Arc::new(AtomicBool::new(true));
        let _until_dropped = CancelOnDrop(Arc::clone(&wanted));
        let this = Arc::clone(self);
        let done = self.files.run(move || {
            *this.reading() = Some(Instant::now());
            let mut state = this.state();
            let done = match state.as_mut() {
                Some(state) if wanted.load(Ordering::Acquire) => {
                    let done = work(state, &wanted);
                    let summary = ConfigSummary::from_state(state);
                    *this.summary() = summary;
                    Some(done)
                }
                _ => None,
            };
            *this.reading() = None;
            done
        });
        tokio::select! {
            done = timeout(FILES, done) => match done {
                Ok(done) => done?.ok_or(AdminApiError::ShuttingDown),
                Err(_) => Err(AdminApiError::TooSlow(FILES)),
            },
            () = self.ending.cancelled() => Err(AdminApiError::ShuttingDown),
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<ConfigState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(&self) -> MutexGuard<'_, ConfigSummary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the flag to false when it is dropped, which happens when the caller stops waiting.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl AdminApi for Arc<AdminService> {
    fn servers(&self) -> Vec<ServerReport> {
        self.scraper.servers()
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn notices(&self) -> Vec<String> {
        self.scraper.notices()
    }

    fn shutdown(&self) {
        // The receiver is gone when the shutdown has begun already.
        let _ = self.shutdown.send(());
    }

    async fn reload(&self) -> Result<ReloadReport, AdminApiError> {
        self.reload_now().await
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        self.summary().shown.clone()
    }

    async fn settings(&self, key: Option<&str>) -> Result<Vec<SettingReport>, AdminApiError> {
        let key = key.map(str::to_owned);
        self.run_on_state(move |state, _| report_settings(state, key.as_deref()))
            .await?
    }

    async fn set(&self, key: &str, value: &str) -> Result<SetOutcome, AdminApiError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run_on_state(move |state, wanted| apply_setting(state, &key, &value, wanted))
            .await?
    }

    fn clear(&self) {
        self.scraper.clear();
    }

    async fn scrape(&self, server: &str) -> Result<Profile, AdminApiError> {
        let profile = self.scraper.profile(server, Instant::now() + PROFILE).await;
        profile.ok_or_else(|| AdminApiError::UnknownServer(server.to_owned()))
    }

    async fn check(&self) -> CheckReport {
        let mut report = CheckReport::default();
        // Reads all files as a reload would, and publishes nothing.
        let read = self.run_on_state(|state, _| {
            let (loaded, changes) = state.read_changes()?;
            let changes = state.describe_changes(&changes, &loaded);
            Ok::<_, AdminApiError>((changes, loaded.notices))
        });
        match read.await.flatten() {
            Ok((changes, notices)) => {
                report.changes = changes;
                report.notices = notices.iter().map(ToString::to_string).collect();
            }
            Err(error) => report.problems = error.lines(),
        }
        report.servers = self.servers();
        for server in &report.servers {
            if let Some(trouble) = &server.health.trouble {
                let problem = format!("server {}: {}", server.name, trouble.message);
                report.problems.push(problem);
            }
        }
        report
    }
}
