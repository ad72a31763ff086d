//! TLS, both sides.
//!
//! In go PEM texts or files and how strict to be; out come rustls configurations, and words for
//! people when a handshake fails. The crypto provider is named at each configuration, so nothing
//! depends on a default of the process. TLS 1.2 and 1.3.

mod binding;
mod client;
mod explain;
mod listener;
mod pem;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use binding::server_end_point;
pub use client::{ClientTls, TlsMode};
pub use explain::explain_tls;
pub use listener::{ListenerFiles, ListenerTls};

/// Why TLS cannot be set up. Never holds a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in a file is wrong.
    #[error("{path}: {source}")]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<TlsError>,
    },
    /// PEM of another kind than needed.
    #[error("expected a {wanted}, but found {found}")]
    Lacks {
        /// What must be in it.
        wanted: &'static str,
        /// What was found.
        found: String,
    },
    /// Damaged PEM.
    #[error("damaged PEM: {0}")]
    Damaged(&'static str),
    /// A key with a passphrase.
    #[error(
        "the private key is encrypted, and its passphrase cannot be entered here: decrypt it with \
         `openssl pkey -in KEY -out NEW_KEY`, and give the new file mode 0600"
    )]
    EncryptedKey,
    /// A key of a kind that is not supported.
    #[error(
        "the private key cannot be used ({0}): RSA of 2048 bits and more, ECDSA P-256 and P-384, \
         and Ed25519 are supported"
    )]
    UnsupportedKey(String),
    /// Key and certificate do not fit.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// A certificate that cannot be read.
    #[error("the certificate cannot be used: {0}")]
    BadCertificate(String),
    /// One of certificate and key is missing.
    #[error("a certificate needs its private key and a key its certificate: only the {0} is given")]
    Half(&'static str),
    /// No authorities at all.
    #[error(
        "no certificate authority is given and the system has none: give the authority that \
         issued the server's certificate (tls_ca_file), or install the package ca-certificates"
    )]
    NoAuthorities,
    /// A host that cannot stand in a certificate.
    #[error("'{0}' is neither a DNS name nor an address that a certificate could be for")]
    BadName(String),
    /// Anything else that rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// The one crypto provider of the program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn in_file<T>(path: &Path, result: Result<T, TlsError>) -> Result<T, TlsError> {
    result.map_err(|source| TlsError::InFile {
        path: path.to_owned(),
        source: Box::new(source),
    })
}
