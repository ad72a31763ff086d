//! The one who carries out what administrators ask: holds the running configuration, and changes
//! it whole or not at all.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::reload::State;
use crate::config::{self, SetError};
use crate::management::{
    Change, CheckReport, CheckedServer, Control, LastError, Reloaded, ScrapeReport, ScrapedQuery,
    Server, Setting,
};
use crate::scrape::{Profile, ProfiledQuery, Scraper, ServerOverview};

/// Handed to the signals and to the management listeners.
pub(super) struct Steward {
    /// `None` once the shutdown has begun.
    state: Mutex<Option<State>>,
    scraper: Scraper,
    /// Who scrapes: the pod, or the host.
    owner: String,
    shutdown: mpsc::UnboundedSender<()>,
}

/// How long a scrape that an administrator asks for may take; the command lines wait longer.
const PROFILE: Duration = Duration::from_secs(60);

/// What is said to whoever comes while the exporter ends.
const ENDING: &str = "the exporter is shutting down";

impl Steward {
    /// Takes the state over. The receiver hears when a shutdown is asked for.
    pub(super) fn new(
        state: State,
        scraper: Scraper,
        owner: String,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<()>) {
        let (shutdown, asked) = mpsc::unbounded_channel();
        let steward = Self {
            state: Mutex::new(Some(state)),
            scraper,
            owner,
            shutdown,
        };
        (Arc::new(steward), asked)
    }

    /// Lets go of all that is published: nothing changes any more.
    pub(super) fn close(&self) {
        *self.state() = None;
    }

    /// How many servers the file has.
    pub(super) fn servers_of_file(&self) -> usize {
        let state = self.state();
        state
            .as_ref()
            .map_or(0, |state| state.loaded.configuration.servers.len())
    }

    /// The files that a reload reads.
    pub(super) fn files_to_follow(&self) -> Vec<PathBuf> {
        let files = |state: &State| state.sources.files(&state.loaded.configuration);
        self.state().as_ref().map_or_else(Vec::new, files)
    }

    /// Whether a changed file is taken over without being told.
    pub(super) fn reloads_on_change(&self) -> bool {
        let wanted = |state: &State| state.loaded.configuration.main.reload_on_change;
        self.state().as_ref().is_some_and(wanted)
    }

    /// Reads everything again; beside the other tasks, for it waits for disks.
    pub(super) async fn reload_now(self: &Arc<Self>) -> Result<Reloaded, Vec<String>> {
        self.work(|state| state.reload())
            .await
            .unwrap_or_else(|| Err(vec![ENDING.to_owned()]))
    }

    /// Runs work that may block. `None`: the exporter ends.
    async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let this = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || this.state().as_mut().map(work));
        task.await.ok().flatten()
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, server: ServerOverview) -> Server {
        let health = server.health;
        let words = |trouble: crate::targets::Trouble| (trouble.reason.as_str(), trouble.message);
        Server {
            name: server.name,
            active: health.active,
            origin: server.origin,
            address: server.address,
            owner: self.owner.clone(),
            version: health.version,
            role: health.role,
            last_scrape: health.last_scrape,
            duration: health.duration,
            samples: health.samples,
            connections: server.connections,
            pooled: health.pooled,
            denied: health.denied,
            trouble: health.trouble.map(words),
            last_error: health.last_error.map(|(trouble, at)| LastError {
                reason: trouble.reason.as_str(),
                message: trouble.message,
                at,
                count: server.failures,
            }),
        }
    }
}

impl Control for Arc<Steward> {
    fn servers(&self) -> Vec<Server> {
        let servers = self.scraper.servers().into_iter();
        servers.map(|server| self.show(server)).collect()
    }

    fn notices(&self) -> Vec<String> {
        self.scraper.notices()
    }

    fn shutdown(&self) {
        // Nobody hears it when the shutdown has begun already.
        let _ = self.shutdown.send(());
    }

    async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        self.reload_now().await
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        let state = self.state();
        let Some(state) = state.as_ref() else {
            return Vec::new();
        };
        let sources = &state.sources;
        let mut files = vec![("MainConfiguration", state.loaded.configuration.path.clone())];
        files.extend(
            sources
                .users_file(&state.loaded.configuration.path)
                .map(|path| ("UsersConfiguration", path)),
        );
        files.extend(
            sources
                .admins_file(&state.loaded.configuration.path)
                .map(|path| ("AdminsConfiguration", path)),
        );
        let shown = |(what, path): (&'static str, std::path::PathBuf)| {
            let path = std::path::absolute(&path).unwrap_or(path);
            (what, path.display().to_string())
        };
        files.into_iter().map(shown).collect()
    }

    async fn settings(&self, key: Option<&str>) -> Result<Vec<Setting>, String> {
        let key = key.map(str::to_owned);
        self.work(move |state| settings(state, key.as_deref()))
            .await
            .unwrap_or_else(|| Err(ENDING.to_owned()))
    }

    async fn set(&self, key: &str, value: &str) -> Change {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.work(move |state| set(state, &key, &value))
            .await
            .unwrap_or_else(|| Change::Failed(vec![ENDING.to_owned()]))
    }

    fn clear(&self) {
        self.scraper.clear();
    }

    async fn scrape(&self, server: &str) -> Result<ScrapeReport, String> {
        let profile = self.scraper.profile(server, Instant::now() + PROFILE).await;
        match profile {
            Some(profile) => Ok(scraped(server, profile)),
            None => Err(format!(
                "Unknown server '{server}'; `targets` lists those of this exporter"
            )),
        }
    }

    async fn check(&self) -> CheckReport {
        let mut report = CheckReport::default();
        // Read as a reload would, and not published.
        let read = self.work(|state| match state.read() {
            Ok((loaded, changes)) => Ok((state.report(&changes, &loaded), loaded.notices)),
            Err(problems) => Err(problems),
        });
        match read.await {
            Some(Ok((changes, notices))) => (report.changes, report.notices) = (changes, notices),
            Some(Err(problems)) => report.problems = problems,
            None => report.problems.push(ENDING.to_owned()),
        }
        for server in self.servers() {
            if let Some((_, message)) = &server.trouble {
                report
                    .problems
                    .push(format!("server {}: {message}", server.name));
            }
            report.servers.push(CheckedServer {
                name: server.name,
                trouble: server.trouble,
                denied: server.denied,
            });
        }
        report
    }
}

fn scraped(server: &str, profile: Profile) -> ScrapeReport {
    let query = |one: ProfiledQuery| ScrapedQuery {
        collector: one.collector,
        tag: one.tag,
        database: one.database,
        interval: one.interval,
        duration: one.duration,
        samples: one.samples,
        outcome: one.outcome,
        message: one.message,
    };
    ScrapeReport {
        name: server.to_owned(),
        address: profile.address,
        duration: profile.duration,
        round_trip: profile.round_trip,
        queries: profile.queries.into_iter().map(query).collect(),
        trouble: profile
            .trouble
            .map(|trouble| (trouble.reason.as_str(), trouble.message)),
    }
}

fn settings(state: &State, key: Option<&str>) -> Result<Vec<Setting>, String> {
    let running = &state.loaded.configuration;
    // A file that is wrong now is no reason to hide what runs.
    let file = state.sources.configuration().ok();
    let setting = |key: String, value: String| {
        let file = file
            .as_ref()
            .and_then(|file| config::get(&file.configuration, &key))
            .filter(|other| *other != value);
        Setting {
            number: number(&key, &value),
            running: value,
            file,
            key,
        }
    };
    match key {
        None => Ok(config::values(running)
            .into_iter()
            .map(|(key, value)| setting(key, value))
            .collect()),
        Some(key) => match config::get(running, key) {
            Some(value) => Ok(vec![setting(key.to_owned(), value)]),
            None => Err(format!(
                "Unknown configuration key '{key}'; `conf get` without a key lists them"
            )),
        },
    }
}

/// The numbers that the C program has for words.
fn number(key: &str, value: &str) -> Option<u32> {
    let words: &[&str] = match key.rsplit('.').next()? {
        "log_type" => &["console", "file", "syslog"],
        "log_level" => &["", "debug5", "debug", "info", "warn", "error", "fatal"],
        "log_mode" => &["create", "append"],
        "hugepage" => &["off", "try", "on"],
        "update_process_title" => &["never", "strict", "minimal", "verbose"],
        _ => return None,
    };
    let at = words.iter().position(|word| *word == value)?;
    u32::try_from(at).ok()
}

fn set(state: &mut State, key: &str, value: &str) -> Change {
    let old = &state.loaded.configuration;
    let read = match config::set(old, key, value) {
        Ok(read) => read,
        Err(SetError::UnknownKey(message)) => return Change::UnknownKey(message),
        Err(SetError::UnknownServer(server)) => return Change::UnknownServer(server),
        Err(SetError::Invalid(message)) => return Change::Invalid(message),
    };
    let shown = |configuration| config::get(configuration, key).unwrap_or_default();
    let current = shown(old);
    let changes = config::compare(old, &read.configuration);
    if changes.is_empty() {
        return Change::Same { current };
    }
    if !changes.restart.is_empty() {
        return Change::Restart { current };
    }
    let new = shown(&read.configuration);
    let mut notices = Vec::new();
    let done = state
        .sources
        .adapt(read, &state.loaded)
        .map_err(|errors| errors.problems)
        .and_then(|loaded| {
            let of_key = |notice: &&String| notice.starts_with(&format!("{key}: "));
            notices = loaded.notices.iter().filter(of_key).cloned().collect();
            state.take_over(loaded, &changes)
        });
    match done {
        Ok(reloaded) => {
            info!("changed: {}", reloaded.changes.join("; "));
            Change::Applied {
                old: current,
                new,
                notices,
            }
        }
        Err(problems) => Change::Failed(problems),
    }
}
