//! Users files: `name:base64(blob)` a line, `#` begins a comment, at most one line a name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Secret;
use super::atomic_write::WriteLock;
use super::encryption::KeySize;
use super::vault::Vault;
use super::vault_error::VaultError;

/// A users file as it stands on the disk, comments and all. It is read without the master key.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    lines: Vec<UsersLine>,
}

#[derive(Debug)]
enum UsersLine {
    /// Comments and empty lines, kept as they are.
    Other(String),
    User {
        name: String,
        blob: Vec<u8>,
    },
}

impl UsersFile {
    /// A file with nobody in it, to be written to `path`.
    #[must_use]
    pub fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lines: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or lines are wrong: then all of them are named.
    pub fn read(path: &Path) -> Result<Self, VaultError> {
        let text = fs::read_to_string(path).map_err(|e| VaultError::io("read", path, e))?;
        Self::parse(path, &text)
    }

    /// Changes the file on the disk: whole or not at all, and one writer after the other. With
    /// `create`, a file that is not there is begun.
    ///
    /// # Errors
    /// It cannot be read or written, another program holds it for 30 s, or `change` fails; then
    /// the file stays as it was.
    pub fn change<T>(
        path: &Path,
        create: bool,
        change: impl FnOnce(&mut Self) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let lock = WriteLock::acquire(path)?;
        let mut file = match Self::read(path) {
            Err(VaultError::Io { source, .. })
                if create && source.kind() == io::ErrorKind::NotFound =>
            {
                Self::empty(path)
            }
            other => other?,
        };
        let outcome = change(&mut file)?;
        lock.replace(file.text().as_bytes())?;
        Ok(outcome)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Lines are wrong: all of them are named.
    pub fn parse(path: &Path, text: &str) -> Result<Self, VaultError> {
        let mut lines = Vec::new();
        let mut names = HashSet::new();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                lines.push(UsersLine::Other(line.to_owned()));
                continue;
            }
            let mut wrong = |problem: &str| {
                problems.push(format!("{}:{}: {problem}", path.display(), number + 1));
            };
            // Nothing of the line itself is shown: it may be a password in the clear.
            let Some((name, blob)) = line.split_once(':') else {
                wrong(
                    "this is not `name:encrypted password`; add users with `pgexporter-admin user add`",
                );
                continue;
            };
            if let Err(problem) = check_name(name) {
                wrong(&problem.to_string());
                continue;
            }
            let Ok(blob) = STANDARD.decode(blob.trim()) else {
                wrong(
                    "the password in this line is not encrypted; remove the line and run \
                     `pgexporter-admin user add`",
                );
                continue;
            };
            if !names.insert(name.to_owned()) {
                wrong("this user has a line already; remove one of them");
                continue;
            }
            lines.push(UsersLine::User {
                name: name.to_owned(),
                blob,
            });
        }
        if problems.is_empty() {
            Ok(Self {
                path: path.to_owned(),
                lines,
            })
        } else {
            Err(VaultError::Users(problems))
        }
    }

    /// The names in it, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            UsersLine::User { name, .. } => Some(name.as_str()),
            UsersLine::Other(_) => None,
        })
    }

    /// Whether the name is in it.
    #[must_use]
    pub fn contains(&self, wanted: &str) -> bool {
        self.names().any(|name| name == wanted)
    }

    /// Adds a user, or gives one a new password. Check the name with [`check_name`].
    ///
    /// # Errors
    /// The master key cannot be read.
    pub fn set(
        &mut self,
        wanted: &str,
        password: &Secret,
        vault: &Vault,
    ) -> Result<(), VaultError> {
        let new = vault
            .key()?
            .encrypt(password.expose().as_bytes(), KeySize::Aes256)?;
        for line in &mut self.lines {
            if let UsersLine::User { name, blob } = line
                && name == wanted
            {
                *blob = new;
                return Ok(());
            }
        }
        self.lines.push(UsersLine::User {
            name: wanted.to_owned(),
            blob: new,
        });
        Ok(())
    }

    /// Removes a user; false when there is none of that name.
    pub fn remove(&mut self, wanted: &str) -> bool {
        let before = self.lines.len();
        self.lines
            .retain(|line| !matches!(line, UsersLine::User { name, .. } if name == wanted));
        self.lines.len() < before
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                UsersLine::Other(other) => text.push_str(other),
                UsersLine::User { name, blob } => {
                    text.push_str(name);
                    text.push(':');
                    STANDARD.encode_string(blob, &mut text);
                }
            }
            text.push('\n');
        }
        text
    }

    /// Decrypts all passwords. The master key is needed only if there is anybody in the file.
    ///
    /// # Errors
    /// The master key cannot be read, or passwords cannot be decrypted: then all of them are
    /// named.
    pub fn passwords(&self, vault: &Vault) -> Result<HashMap<String, Secret>, VaultError> {
        let mut passwords = HashMap::new();
        let mut problems = Vec::new();
        let mut key = None;
        for (number, line) in self.lines.iter().enumerate() {
            let UsersLine::User { name, blob } = line else {
                continue;
            };
            let key = match &key {
                Some(key) => key,
                None => key.insert(vault.key()?),
            };
            let plain = key.decrypt(blob, KeySize::Aes256).and_then(|plain| {
                let text = std::str::from_utf8(&plain).map_err(|_| VaultError::WrongKey)?;
                Ok(Zeroizing::new(text.to_owned()))
            });
            match plain {
                Ok(mut plain) => {
                    passwords.insert(name.clone(), Secret::new(std::mem::take(&mut *plain)));
                }
                // The name is not repeated: in a file that is another than was meant it may be
                // half a password.
                Err(error) => problems.push(format!(
                    "{}:{}: the password in this line cannot be decrypted with {}: {error}; give \
                     it anew with `pgexporter-admin -f {} user edit`",
                    self.path.display(),
                    number + 1,
                    vault.key_path()?.display(),
                    self.path.display(),
                )),
            }
        }
        if problems.is_empty() {
            Ok(passwords)
        } else {
            Err(VaultError::Users(problems))
        }
    }
}

/// What is wrong with a user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum UserNameError {
    #[error("the user's name is empty")]
    Empty,
    #[error("a user's name cannot hold a colon, which ends it in the users file")]
    Colon,
    #[error("a user's name cannot begin with #, which begins a comment in the users file")]
    Comment,
    #[error("a user's name cannot begin or end with a space, nor hold a control character")]
    Space,
}

/// Says what is wrong with a name that could not be found again in a users file.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), UserNameError> {
    if name.is_empty() {
        Err(UserNameError::Empty)
    } else if name.contains(':') {
        Err(UserNameError::Colon)
    } else if name.starts_with('#') {
        Err(UserNameError::Comment)
    } else if name.trim() != name || name.chars().any(char::is_control) {
        Err(UserNameError::Space)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Some(home.path()));
        vault
            .create_key(&Secret::new("Sup3r-s3cret master!".to_owned()))
            .unwrap();
        (home, vault)
    }

    #[test]
    fn a_file_is_written_as_it_was_read_but_for_the_changed_user() {
        let (_home, vault) = vault();
        let path = Path::new("users.conf");
        let mut file = UsersFile::parse(path, "# who\n\n  a:AAAA  \r\nb:BBBB\n").unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b"]);
        let long = Secret::new("token-".repeat(1400));
        file.set("b", &long, &vault).unwrap();
        file.set("c d", &Secret::new("x".to_owned()), &vault)
            .unwrap();
        assert!(file.remove("a"));
        assert!(!file.remove("a"));
        let text = file.text();
        assert!(text.starts_with("# who\n\nb:"), "{text}");
        let passwords = UsersFile::parse(path, &text)
            .unwrap()
            .passwords(&vault)
            .unwrap();
        assert_eq!(passwords.len(), 2);
        assert_eq!(passwords["b"], long);
        assert_eq!(passwords["c d"].expose(), "x");
    }

    #[test]
    fn all_wrong_lines_are_named_at_once_and_none_is_shown() {
        let text = "a:hunter2 \njust-hunter2\n:AAAA\n#\nhunter2:AAAA\nhunter2:BBBB\n";
        let error = UsersFile::parse(Path::new("/etc/u.conf"), text).unwrap_err();
        let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
        for (line, start) in lines.iter().zip([
            "/etc/u.conf:1: ",
            "/etc/u.conf:2: ",
            "/etc/u.conf:3: ",
            "/etc/u.conf:6: ",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(lines.len(), 4);
        assert!(!format!("{error}{error:?}").contains("hunter2"));
    }

    #[test]
    fn passwords_of_another_master_key_are_named_with_what_to_do() {
        let (_old_home, old) = vault();
        let (_home, new) = vault();
        let mut file = UsersFile::empty(Path::new("u.conf"));
        file.set("a", &Secret::new("secret-word".to_owned()), &old)
            .unwrap();
        file.set("b", &Secret::new("good".to_owned()), &new)
            .unwrap();
        let error = file.passwords(&new).unwrap_err().to_string();
        assert!(
            error.starts_with("u.conf:1: the password in this line cannot be decrypted"),
            "{error}"
        );
        assert!(
            error.contains("pgexporter-admin -f u.conf user edit"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn a_file_without_users_needs_no_master_key() {
        let file = UsersFile::parse(Path::new("u.conf"), "# nobody\n").unwrap();
        assert!(file.passwords(&Vault::new(None)).unwrap().is_empty());
    }
}
