//! Everything that is read before servers are scraped: `pgexporter.conf` and all files that it or
//! the command line names. All of it, or all that is wrong with it and nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, TargetConfigError};
use super::load_errors::{ConfigNotice, LoadError, LoadErrors};
use super::ports;
use super::{ClientTls, TargetList};
use crate::catalog::{self, Catalog, SETTINGS};
use crate::config::{self, Configuration, Main, Server};
use crate::security::tls::ListenerTls;
use crate::security::{AdminVerifiers, Environment, PasswordSources, Vault};

/// The users file where none is named: as the C program finds it.
const USERS_FILE: &str = "pgexporter_users.conf";

/// Which files to read, beside those that `pgexporter.conf` names.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `pgexporter.conf`, of `-c`.
    pub config: Option<PathBuf>,
    /// The folder of the configuration, of `-D`.
    pub directory: Option<PathBuf>,
    /// The users file, of `-u`; without it the one beside `pgexporter.conf`, if there is one.
    pub users: Option<PathBuf>,
    /// The admins file or folder, of `-A`; without it the one beside `pgexporter.conf`.
    pub admins: Option<PathBuf>,
    /// More metrics, of `-Y` and `-J`: files or folders.
    pub metrics: Vec<PathBuf>,
    /// Only these collectors, of `-C`; empty is what the file says.
    pub collectors: Vec<String>,
}

/// Everything that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    /// What `pgexporter.conf` says, with the collectors of the command line.
    pub configuration: Configuration,
    /// The built-in metrics and the user's own.
    pub catalog: Arc<Catalog>,
    /// The servers, ready to be connected to.
    pub targets: TargetList,
    /// Where the servers' passwords came from.
    pub passwords: Arc<PasswordSources>,
    /// TLS of the metrics port; `None` is plain HTTP.
    pub metrics_tls: Option<Arc<ListenerTls>>,
    /// TLS of the management port; `None` is without.
    pub management_tls: Option<Arc<ListenerTls>>,
    /// Who may log in over the management port.
    pub admin_verifiers: Arc<AdminVerifiers>,
    /// What a person should know, one line each.
    pub notices: Vec<ConfigNotice>,
}

impl Sources {
    /// Reads `pgexporter.conf` alone.
    ///
    /// # Errors
    /// All that is wrong with it, each with its line.
    pub fn configuration(&self) -> Result<config::LoadedConfiguration, LoadErrors> {
        let path = config::find(self.config.as_deref(), self.directory.as_deref(), |name| {
            std::env::var_os(name)
        })?;
        let mut loaded = config::load(&path)?;
        if !self.collectors.is_empty() {
            let main = &mut loaded.configuration.main;
            main.collectors.clone_from(&self.collectors);
        }
        Ok(loaded)
    }

    /// Reads all other files.
    ///
    /// # Errors
    /// All that is wrong with any of them.
    pub fn load(&self, read: config::LoadedConfiguration) -> Result<Loaded, LoadErrors> {
        self.read(read, None)
    }

    /// Reads those of the other files whose keys are not as they were, and takes all else from what
    /// was read before: one changed value must not bring along what somebody is about to write.
    ///
    /// # Errors
    /// All that is wrong with any of them.
    pub fn adapt(
        &self,
        read: config::LoadedConfiguration,
        before: &Loaded,
    ) -> Result<Loaded, LoadErrors> {
        self.read(read, Some(before))
    }

    fn read(
        &self,
        read: config::LoadedConfiguration,
        before: Option<&Loaded>,
    ) -> Result<Loaded, LoadErrors> {
        let config::LoadedConfiguration {
            configuration,
            notices,
        } = read;
        let mut notices: Vec<ConfigNotice> = notices.into_iter().map(Into::into).collect();
        let mut problems = Vec::new();
        let main = &configuration.main;
        let before_if = |same: fn(&Main, &Main) -> bool| {
            before.filter(|before| same(&before.configuration.main, main))
        };
        let catalog = match before_if(|old, new| old.metrics_path == new.metrics_path) {
            Some(before) => Arc::clone(&before.catalog),
            None => self.catalog(main).unwrap_or_else(|problem| {
                problems.push(problem);
                Arc::default()
            }),
        };
        if problems.is_empty() {
            notices.extend(unknown_collectors(&catalog, main));
        }
        let admin_verifiers = match before {
            Some(before) => Some(Arc::clone(&before.admin_verifiers)),
            None => ports::admin_verifiers(
                self.admins.as_deref(),
                &configuration.path,
                main,
                &mut notices,
            )
            .map_err(|error| problems.push(error.into()))
            .ok(),
        };
        let passwords = match before {
            Some(before) => Ok(Arc::clone(&before.passwords)),
            None => self.passwords(&configuration.path).map(Arc::new),
        };
        let mut targets = Vec::new();
        let passwords = passwords.unwrap_or_else(|problem| {
            problems.push(problem);
            Arc::default()
        });
        notices.extend(passwords.warnings().iter().cloned().map(Into::into));
        let known = |server: &Server| before.and_then(|before| before.tls_of(server));
        for target in file::from_file(&configuration, &passwords, known) {
            let checked = target.and_then(|target| {
                let tls = target.tls.config().map(|_| ());
                tls.map_err(|error| TargetConfigError::new(&target.name, error))?;
                Ok(target)
            });
            match checked {
                Ok(target) => targets.push(Arc::new(target)),
                Err(problem) => problems.push(problem.into()),
            }
        }
        let metrics_tls = match before_if(|old, new| old.metrics_tls_files == new.metrics_tls_files)
        {
            Some(before) => before.metrics_tls.clone(),
            None => ports::metrics(main).unwrap_or_else(|source| {
                let port = "metrics";
                problems.push(LoadError::PortTls { port, source });
                None
            }),
        };
        let same = |old: &Main, new: &Main| old.tls_files == new.tls_files && old.tls == new.tls;
        let management_tls = match before_if(same) {
            Some(before) => before.management_tls.clone(),
            None => ports::management(main).unwrap_or_else(|source| {
                let port = "management";
                problems.push(LoadError::PortTls { port, source });
                None
            }),
        };
        let admin_verifiers = match admin_verifiers {
            Some(admin_verifiers) if problems.is_empty() => admin_verifiers,
            _ => return Err(LoadErrors { problems }),
        };
        Ok(Loaded {
            configuration,
            catalog,
            targets: Arc::new(targets),
            passwords,
            metrics_tls,
            management_tls,
            admin_verifiers,
            notices,
        })
    }

    fn catalog(&self, main: &Main) -> Result<Arc<Catalog>, LoadError> {
        let own: Vec<PathBuf> = main
            .metrics_path
            .iter()
            .chain(&self.metrics)
            .cloned()
            .collect();
        Ok(Arc::new(catalog::load(&own)?))
    }

    /// The files and folders that a reload reads, whether they are there or not.
    #[must_use]
    pub fn files(&self, configuration: &Configuration) -> Vec<PathBuf> {
        let environment = Environment::of_process();
        let main = &configuration.main;
        let mut files = vec![configuration.path.clone()];
        files.extend(self.users_file_or_its_place(&configuration.path));
        files.extend(environment.libpq_password_file());
        files.push(ports::admins_place(
            self.admins.as_deref(),
            &configuration.path,
        ));
        files.extend(main.metrics_path.iter().chain(&self.metrics).cloned());
        let tls = configuration.servers.iter().map(|server| &server.tls_files);
        for tls in tls.chain([&main.metrics_tls_files, &main.tls_files]) {
            files.extend(
                [&tls.cert, &tls.key, &tls.ca]
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        let servers = configuration.servers.iter();
        files.extend(servers.filter_map(|server| server.password_file.clone()));
        files
    }

    /// The users file: the one that is named, else the one beside `pgexporter.conf`, if it is there.
    #[must_use]
    pub fn users_file(&self, configuration: &Path) -> Option<PathBuf> {
        self.users_file_or_its_place(configuration)
            .filter(|path| self.users.is_some() || path.exists())
    }

    /// The admins file or folder: the one that is named, else the one beside `pgexporter.conf`, if
    /// it is there.
    #[must_use]
    pub fn admins_file(&self, configuration: &Path) -> Option<PathBuf> {
        let place = ports::admins_place(self.admins.as_deref(), configuration);
        (self.admins.is_some() || place.exists()).then_some(place)
    }

    /// The users file that is named, else the one that would lie beside the configuration.
    fn users_file_or_its_place(&self, configuration: &Path) -> Option<PathBuf> {
        let beside = || configuration.parent().map(|folder| folder.join(USERS_FILE));
        self.users.clone().or_else(beside)
    }

    fn passwords(&self, configuration: &Path) -> Result<PasswordSources, LoadError> {
        let environment = Environment::of_process();
        let vault = Vault::new(environment.home.as_deref());
        let users = self.users_file(configuration);
        Ok(PasswordSources::load(
            users.as_deref(),
            &vault,
            &environment,
        )?)
    }
}

impl Loaded {
    /// What was read from a section's files, where the section is as it was.
    fn tls_of(&self, server: &Server) -> Option<ClientTls> {
        let section = &self.configuration.servers;
        let same = section.iter().any(|known| {
            known.name == server.name
                && known.tls == server.tls
                && known.tls_files == server.tls_files
        });
        let target = self.targets.iter().find(|known| known.name == server.name);
        target.filter(|_| same).map(|target| target.tls.clone())
    }
}

/// A name that no metric has runs nothing or excludes nothing, which nobody means.
fn unknown_collectors(catalog: &Catalog, main: &Main) -> Vec<ConfigNotice> {
    let known = |name: &String| {
        let mut all = catalog.metrics.iter();
        name == SETTINGS || all.any(|metric| metric.collector == *name)
    };
    let lists = [
        ("collectors", &main.collectors),
        ("exclude_collectors", &main.exclude_collectors),
    ];
    lists
        .iter()
        .flat_map(|(key, list)| list.iter().map(move |name| (key, name)))
        .filter(|(_, name)| !known(name))
        .map(|(key, name)| ConfigNotice::about(key, format!("there is no collector {name}")))
        .collect()
}
