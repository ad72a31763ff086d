//! Reading everything that the running state is made of: all of it, or an error and nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::arguments::Arguments;
use crate::catalog::{self, Catalog};
use crate::config::{self, Configuration, Main};
use crate::http;
use crate::scrape::ScrapeSettings;
use crate::security::tls::{ListenerFiles, ListenerTls};
use crate::security::{Environment, PasswordSources, Vault};
use crate::targets::{self, TargetList};
use crate::telemetry::LogSettings;

/// Everything that was read, checked and ready to be published.
pub(super) struct State {
    pub configuration: Configuration,
    pub catalog: Arc<Catalog>,
    pub targets: TargetList,
    pub scrape: ScrapeSettings,
    pub http: Arc<http::Settings>,
    /// What a person should know, one line each.
    pub notices: Vec<String>,
}

/// The users file where none is named: as the C program finds it.
const USERS_FILE: &str = "pgexporter_users.conf";

/// Reads the configuration file alone.
pub(super) fn read_configuration(
    arguments: &Arguments,
) -> Result<(Configuration, Vec<String>), config::ConfigErrors> {
    let path = config::find(
        arguments.config.as_deref(),
        arguments.directory.as_deref(),
        |name| std::env::var_os(name),
    )?;
    let loaded = config::load(&path)?;
    Ok((loaded.configuration, loaded.notices))
}

/// Reads all other files that `configuration` names.
pub(super) fn read_state(
    arguments: &Arguments,
    mut configuration: Configuration,
    mut notices: Vec<String>,
) -> anyhow::Result<State> {
    if !arguments.collectors.is_empty() {
        configuration
            .main
            .collectors
            .clone_from(&arguments.collectors);
    }
    let main = &configuration.main;
    let own: Vec<PathBuf> = [
        main.metrics_path.clone(),
        arguments.yaml.clone(),
        arguments.json.clone(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let catalog = Arc::new(catalog::load(&own)?);
    notices.extend(unknown_collectors(&catalog, main));
    let passwords = read_passwords(arguments, &configuration.path)?;
    notices.extend(passwords.warnings().iter().cloned());
    let targets = targets::from_file(&configuration, &passwords)?;
    for target in &targets {
        target
            .tls
            .config()
            .with_context(|| format!("server {}", target.name))?;
    }
    let http = Arc::new(http_settings(main)?);
    Ok(State {
        scrape: ScrapeSettings {
            interval: main.collector_interval,
            query_text: main.query_text_length,
            cache_age: main.metrics_cache_max_age,
            cache_size: main.metrics_cache_max_size,
        },
        http,
        catalog,
        targets: Arc::new(targets),
        configuration,
        notices,
    })
}

fn read_passwords(arguments: &Arguments, configuration: &Path) -> anyhow::Result<PasswordSources> {
    let environment = Environment::of_process();
    let vault = Vault::new(environment.home.as_deref());
    let beside = configuration.parent().map(|folder| folder.join(USERS_FILE));
    let users = arguments
        .users
        .clone()
        .or(beside.filter(|path| path.exists()));
    Ok(PasswordSources::load(
        users.as_deref(),
        &vault,
        &environment,
    )?)
}

fn http_settings(main: &Main) -> anyhow::Result<http::Settings> {
    let files = &main.metrics_tls_files;
    let tls = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let files = ListenerFiles {
                certificate: cert.clone(),
                key: key.clone(),
                client_ca: files.ca.clone(),
            };
            let tls = ListenerTls::load(files, &["http/1.1"]).context("metrics over TLS")?;
            Some(Arc::new(tls))
        }
        _ => None,
    };
    Ok(http::Settings {
        blocking_timeout: main.blocking_timeout,
        openmetrics: main.openmetrics,
        nodelay: main.nodelay,
        keep_alive: main.keep_alive,
        tls,
        ..http::Settings::default()
    })
}

/// A name that no metric has runs nothing or excludes nothing, which nobody means.
fn unknown_collectors(catalog: &Catalog, main: &Main) -> Vec<String> {
    let known = |name: &String| {
        catalog
            .metrics
            .iter()
            .any(|metric| metric.collector == *name)
    };
    let lists = [
        ("collectors", &main.collectors),
        ("exclude_collectors", &main.exclude_collectors),
    ];
    lists
        .iter()
        .flat_map(|(key, list)| list.iter().map(move |name| (key, name)))
        .filter(|(_, name)| !known(name))
        .map(|(key, name)| format!("{key}: there is no collector {name}"))
        .collect()
}

/// Settings of the log.
pub(super) fn log_settings(main: &Main) -> LogSettings {
    LogSettings {
        log_type: main.log_type,
        level: main.log_level,
        path: main.log_path.clone(),
        rotation_age: main.log_rotation_age,
        rotation_size: main.log_rotation_size,
        line_prefix: main.log_line_prefix.clone(),
        mode: main.log_mode,
        format: main.log_format,
    }
}
