//! Password files as libpq reads them (PostgreSQL documentation, "The Password File").

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Secret;

/// Folders that a libpq was built to look for sockets in: upstream's, and that of Linux packages.
/// A socket there goes by the host name `localhost`.
const DEFAULT_SOCKET_FOLDERS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// So much room is made at once for a file, in bytes.
const LARGEST_RESERVED: usize = 1 << 20;

/// Who logs in, and where.
#[derive(Clone, Copy, Debug)]
pub struct PasswordRequest<'a> {
    /// The role.
    pub user: &'a str,
    /// Host name, address, or a socket's folder (begins with `/`).
    pub host: &'a str,
    /// Port, also for the socket's name.
    pub port: u16,
    /// The database.
    pub database: &'a str,
}

/// Why a password file is left aside. Never fatal, as in libpq.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It cannot be read.
    #[error("the password file {path} is ignored, because it cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder, a pipe or the like.
    #[error("the password file {0} is ignored, because it is not a regular file")]
    NotAFile(PathBuf),
    /// Others can read it.
    #[error(
        "the password file {path} is ignored, because it has mode {found:04o} and others can read \
         it; run `chmod 0600 {path}`"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        found: u32,
    },
}

/// The text of a password file.
pub struct PasswordFile(Zeroizing<String>);

impl PasswordFile {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// It is there but cannot be used.
    pub fn read(path: &Path) -> Result<Option<Self>, PasswordFileError> {
        let unreadable = |source| PasswordFileError::Unreadable {
            path: path.to_owned(),
            source,
        };
        // Before it is opened: opening a pipe would wait for its writer.
        match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(about) if !about.is_file() => {
                return Err(PasswordFileError::NotAFile(path.to_owned()));
            }
            other => other.map_err(unreadable)?,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if found & 0o077 != 0 {
            return Err(PasswordFileError::Mode {
                path: path.to_owned(),
                found,
            });
        }
        // As large as the file, so that no half-filled buffer is left behind by growing.
        let size = file.metadata().map_err(unreadable)?.len();
        let size = usize::try_from(size).unwrap_or(0).min(LARGEST_RESERVED);
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Some(Self(Zeroizing::new(
            String::from_utf8_lossy(&bytes).into_owned(),
        ))))
    }

    /// The password of the first line that matches.
    #[must_use]
    pub fn find(&self, login: &PasswordRequest<'_>) -> Option<Secret> {
        let port = login.port.to_string();
        let localhost = login.host.is_empty()
            || DEFAULT_SOCKET_FOLDERS.contains(&login.host.trim_end_matches('/'));
        self.0
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| {
                let fields = [
                    if localhost { "localhost" } else { login.host },
                    &port,
                    login.database,
                    login.user,
                ];
                let rest = fields
                    .iter()
                    .try_fold(line, |rest, field| strip_field(rest, field))?;
                Some(Secret::new(unescape(rest)))
            })
    }
}

/// What follows the field and its colon, if the field matches.
fn strip_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut rest = line;
    for c in wanted.chars() {
        rest = rest.strip_prefix('\\').unwrap_or(rest).strip_prefix(c)?;
    }
    rest.strip_prefix(':')
}

/// A backslash stands for the character after it; one at the end is dropped.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, login: PasswordRequest<'_>) -> Option<String> {
        PasswordFile(Zeroizing::new(text.to_owned()))
            .find(&login)
            .map(|secret| secret.expose().to_owned())
    }

    const LOGIN: PasswordRequest<'static> = PasswordRequest {
        user: "monitor",
        host: "db1",
        port: 5432,
        database: "postgres",
    };

    #[test]
    fn the_first_line_that_matches_gives_the_password() {
        for (text, password) in [
            ("db1:5432:postgres:monitor:a", Some("a")),
            ("*:*:*:*:a", Some("a")),
            (
                "db2:5432:postgres:monitor:a\n*:*:*:monitor:b\n*:*:*:*:c",
                Some("b"),
            ),
            ("db1:5433:postgres:monitor:a", None),
            ("db1:5432:shop:monitor:a", None),
            ("db1:5432:postgres:other:a", None),
            ("db1:5432:postgres:monitors:a", None),
            ("db:5432:postgres:monitor:a", None),
            ("#db1:5432:postgres:monitor:a\n", None),
            ("\n\ndb1:5432:postgres:monitor:a\r\n", Some("a")),
            ("db1:5432:postgres:monitor", None),
            ("db1:5432:postgres:monitor:", Some("")),
            ("db1:5432:postgres:monitor:a:b", Some("a:b")),
            (r"db1:5432:postgres:monitor:a\:b\\c", Some(r"a:b\c")),
            (r"db1:5432:postgres:monitor:a\", Some("a")),
            (r"d\b1:5432:postgres:monitor:a", Some("a")),
            ("db1:54*:postgres:monitor:a", None),
        ] {
            assert_eq!(found(text, LOGIN).as_deref(), password, "{text:?}");
        }
    }

    #[test]
    fn colons_and_backslashes_in_fields_are_written_with_a_backslash() {
        let login = PasswordRequest {
            user: r"a:b\c",
            host: "::1",
            ..LOGIN
        };
        assert_eq!(
            found(r"\:\:1:5432:postgres:a\:b\\c:ok", login).as_deref(),
            Some("ok")
        );
        assert_eq!(found(r"::1:5432:postgres:a\:b\\c:no", LOGIN), None);
    }

    #[test]
    fn a_socket_in_the_default_folder_goes_by_localhost_and_any_other_by_its_path() {
        for (host, text, matches) in [
            ("/var/run/postgresql", "localhost:*:*:*:a", true),
            ("/tmp", "localhost:*:*:*:a", true),
            ("/srv/pg", "localhost:*:*:*:a", false),
            ("/srv/pg", "/srv/pg:*:*:*:a", true),
        ] {
            let login = PasswordRequest { host, ..LOGIN };
            assert_eq!(found(text, login).is_some(), matches, "{host} {text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_a_missing_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pgpass");
        assert!(PasswordFile::read(&path).unwrap().is_none());
        fs::write(&path, "*:*:*:*:hidden-word\n").unwrap();
        for (mode, usable) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match PasswordFile::read(&path) {
                Ok(file) => {
                    assert!(usable, "{mode:o}");
                    assert_eq!(file.unwrap().find(&LOGIN).unwrap().expose(), "hidden-word");
                }
                Err(error) => {
                    assert!(!usable, "{mode:o}");
                    assert!(error.to_string().contains("chmod 0600"), "{error}");
                    assert!(!format!("{error:?}").contains("hidden-word"));
                }
            }
        }
        assert!(matches!(
            PasswordFile::read(folder.path()),
            Err(PasswordFileError::NotAFile(_))
        ));
    }
}
