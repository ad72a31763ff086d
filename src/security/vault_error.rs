//! What can be wrong with the vault, and with what is encrypted with its key.

use std::io;
use std::path::{Path, PathBuf};

/// Why the vault could not be read or written. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no home directory.
    #[error("no home directory is known for the master key: set HOME or PGEXPORTER_HOME")]
    NoHome,
    /// There is no master key.
    #[error("there is no master key {0}: create it with `pgexporter-admin master-key`")]
    NoMasterKey(PathBuf),
    /// There is one already.
    #[error(
        "the master key {0} already exists, and is never overwritten because the passwords are \
         encrypted with it; move it away to start over"
    )]
    MasterKeyExists(PathBuf),
    /// Others can read it.
    #[error(
        "{path} has mode {found:04o}, it must have {wanted:04o}: run `chmod {wanted:04o} {path}`"
    )]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        found: u32,
        /// The widest mode it may have.
        wanted: u32,
    },
    /// Not what it should be.
    #[error("{path} is not {wanted}")]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file or folder cannot be read, made or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file's text is wrong.
    #[error("{path}:{line}: {problem}")]
    BadMasterKey {
        /// The key file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// The master password is too weak.
    #[error(
        "the master password must have at least 8 characters with an upper case letter, a lower \
         case letter, a digit and a special character"
    )]
    WeakPassword,
    /// The system gave no random bytes.
    #[error("the operating system did not provide random bytes: {0}")]
    NoRandomness(String),
    /// A blob cannot be decrypted.
    #[error("it was encrypted with another master key, or was altered")]
    WrongKey,
    /// A blob is no blob.
    #[error("it is too short to be an encrypted value")]
    TooShort,
    /// Another program changes the file.
    #[error("{0} is being changed by another program; try again when it is done")]
    Busy(PathBuf),
    /// Lines of a users file are wrong, all of them at once.
    #[error("{}", .0.join("\n"))]
    Users(Vec<String>),
}

impl VaultError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        VaultError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
