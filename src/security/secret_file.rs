//! A file that holds one password and nothing else, as a mounted Secret of Kubernetes does.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Secret;
use super::permissions::open_mode;

/// A password is short; whatever is larger is another file. In bytes.
const LARGEST: usize = 4096;

/// Why a file with a password cannot be used. Never holds the password.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("password_file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "password_file {path} has mode {found:04o}, others can read it: run `chmod 0600 {path}`"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        found: u32,
    },
    /// It is no password.
    #[error("password_file {path} {problem}")]
    NoPassword {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: &'static str,
    },
}

/// Reads a password. A line break at its end is none of it.
///
/// # Errors
/// The file cannot be read, is open to others, is empty, or holds more than a line of text.
pub fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let no_password = |problem| SecretFileError::NoPassword {
        path: path.to_owned(),
        problem,
    };
    // Before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(no_password("is not a plain file"));
    }
    if let Some(found) = open_mode(path) {
        return Err(SecretFileError::Mode {
            path: path.to_owned(),
            found,
        });
    }
    let file = File::open(path).map_err(unreadable)?;
    // As large as it may be, so that no half-filled buffer is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    file.take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| no_password("is not text in UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(no_password("is empty: write the password into it"));
    }
    if bytes.len() > LARGEST || text.contains(['\n', '\r', '\0']) {
        return Err(no_password(
            "holds more than a line: it must hold the password and nothing else",
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_gives_its_line_and_everything_else_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let read = |text: &[u8], mode| {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&path)
                .map(|secret| secret.expose().to_owned())
                .map_err(|error| format!("{error} {error:?}"))
        };
        for text in ["hidden word", "hidden word\n", "hidden word\r\n"] {
            assert_eq!(read(text.as_bytes(), 0o600).unwrap(), "hidden word");
        }
        let long = "x".repeat(LARGEST + 1);
        for (text, mode, part) in [
            (&b"hidden\n\n"[..], 0o600, "more than a line"),
            (b"hidden\nb", 0o600, "more than a line"),
            (b"hidden\0b", 0o600, "more than a line"),
            (long.as_bytes(), 0o600, "more than a line"),
            (b"", 0o600, "is empty"),
            (b"\n", 0o400, "is empty"),
            (b"hidden\xff", 0o600, "UTF-8"),
            (b"hidden", 0o644, "chmod 0600"),
        ] {
            let error = read(text, mode).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(read_secret(&folder.path().join("none")).is_err());
        assert!(read_secret(folder.path()).is_err());
    }
}
