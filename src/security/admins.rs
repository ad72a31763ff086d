//! Who may manage the exporter from afar: an admins file of the vault, or a folder with a file for
//! each admin, as Kubernetes mounts a Secret.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Secret;
use super::users::{UsersFile, check_name};
use super::vault::Vault;
use super::vault_error::VaultError;

/// A password of a mounted Secret is not longer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Where the admins come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSource {
    path: PathBuf,
}

/// What tells one version of the source from another.
pub type AdminStamp = Vec<(PathBuf, u64, u64, u64, i64, i64)>;

impl AdminSource {
    /// A file or a folder.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads names and passwords.
    ///
    /// # Errors
    /// The file or the master key is missing or wrong; in a folder, a file whose name is no user's
    /// or that holds no password. All of them are named.
    pub fn read(&self, vault: &Vault) -> Result<HashMap<String, Secret>, VaultError> {
        if self.path.is_dir() {
            self.read_folder()
        } else {
            UsersFile::read(&self.path)?.passwords(vault)
        }
    }

    /// Looks whether anything was changed, without reading it.
    #[must_use]
    pub fn stamp(&self) -> AdminStamp {
        let mut files = self.files().unwrap_or_default();
        files.push(self.path.clone());
        files
            .into_iter()
            .filter_map(|path| {
                // Follows links: Kubernetes renews a mounted Secret by turning one.
                let about = fs::metadata(&path).ok()?;
                Some((
                    path,
                    about.dev(),
                    about.ino(),
                    about.size(),
                    about.mtime(),
                    about.mtime_nsec(),
                ))
            })
            .collect()
    }

    fn read_folder(&self) -> Result<HashMap<String, Secret>, VaultError> {
        let files = self
            .files()
            .map_err(|e| VaultError::io("read", &self.path, e))?;
        let mut admins = HashMap::new();
        let mut problems = Vec::new();
        for path in files {
            match read_file(&path) {
                Ok((name, password)) => {
                    admins.insert(name, password);
                }
                Err(problem) => problems.push(format!("{}: {problem}", path.display())),
            }
        }
        match problems.is_empty() {
            true => Ok(admins),
            false => Err(VaultError::Users(problems)),
        }
    }

    /// The files of a folder; `..data` and the like are how a mounted Secret is turned.
    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        if !self.path.is_dir() {
            return Ok(Vec::new());
        }
        let mut files: Vec<PathBuf> = fs::read_dir(&self.path)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default();
                !name.as_encoded_bytes().starts_with(b".") && !path.is_dir()
            })
            .collect();
        files.sort();
        Ok(files)
    }
}

fn read_file(path: &Path) -> Result<(String, Secret), String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or("its name is not UTF-8")?;
    check_name(name).map_err(|error| error.to_string())?;
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if about.len() > LONGEST {
        return Err("it is too long to be a password".to_owned());
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| error.to_string())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "the password is not UTF-8 text")?;
    // An editor ends the last line; nobody means that as part of the password.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.contains(['\0', '\n']) {
        return Err("it holds no password: one line with nothing but the password".to_owned());
    }
    Ok((name.to_owned(), Secret::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mounted_secret_is_read_and_its_renewal_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // As the kubelet lays it: a link to the newest version, and links through it.
        let version = |name: &str, password: &str| {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("anna"), password).unwrap();
            let _ = fs::remove_file(path("..data"));
            symlink(name, path("..data")).unwrap();
        };
        version("..2026_01", "first\n");
        symlink("..data/anna", path("anna")).unwrap();
        let source = AdminSource::new(folder.path());
        let vault = Vault::new(None);
        let read = || source.read(&vault).unwrap();
        assert_eq!(read().len(), 1);
        assert_eq!(read()["anna"].expose(), "first");
        let stamp = source.stamp();
        assert_eq!(source.stamp(), stamp);
        version("..2026_02", "second");
        assert_ne!(source.stamp(), stamp);
        assert_eq!(read()["anna"].expose(), "second");
    }

    #[test]
    fn files_without_a_password_are_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("empty", ""), ("two", "hunter2\nhunter3"), ("a:b", "x")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let error = AdminSource::new(folder.path())
            .read(&Vault::new(None))
            .unwrap_err()
            .to_string();
        assert_eq!(error.lines().count(), 3, "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}
