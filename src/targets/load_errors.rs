//! What is wrong with the files that are read before servers are scraped, and what a person should
//! know of them.

use std::fmt;

use super::file::TargetConfigError;
use crate::catalog::CatalogError;
use crate::config::{ConfigErrors, Problem};
use crate::security::VaultError;
use crate::security::tls::TlsError;

/// What a person should know of the files: nothing that keeps the exporter from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNotice {
    /// The key of the main section whose value it is about, where it is about one.
    pub key: Option<&'static str>,
    text: String,
}

impl ConfigNotice {
    pub(super) fn about(key: &'static str, text: String) -> Self {
        Self {
            key: Some(key),
            text,
        }
    }
}

impl From<String> for ConfigNotice {
    fn from(text: String) -> Self {
        Self { key: None, text }
    }
}

impl fmt::Display for ConfigNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// What is wrong with a file. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `pgexporter.conf`.
    #[error(transparent)]
    Configuration(#[from] Problem),
    /// The user's own metrics.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The users or the admins, or the key that they are encrypted with.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file that a server's section names.
    #[error(transparent)]
    Target(#[from] TargetConfigError),
    /// A file that a port's TLS needs.
    #[error("TLS of the {port} port: {source}")]
    PortTls {
        /// Which port.
        port: &'static str,
        /// Which file, and what to do.
        source: TlsError,
    },
}

/// All that is wrong with the files, one line each.
#[derive(Debug, thiserror::Error)]
pub struct LoadErrors {
    /// At least one.
    pub problems: Vec<LoadError>,
}

impl LoadErrors {
    /// The problems in words.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.problems.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl From<ConfigErrors> for LoadErrors {
    fn from(errors: ConfigErrors) -> Self {
        Self {
            problems: errors.problems.into_iter().map(LoadError::from).collect(),
        }
    }
}
