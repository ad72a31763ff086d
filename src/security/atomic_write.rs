//! Changes a file so that a reader, a crash or a second writer never finds half of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::vault::write_whole;
use super::vault_error::VaultError;

/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The right to change a file, held against all who ask for it the same way. Taken for the file
/// `DIR/NAME` by locking `DIR/.NAME.lock` (flock), which is gone afterwards; the kernel gives it
/// back when its holder dies.
pub(super) struct WriteLock {
    /// The file itself, links followed: a rename would replace a link instead of what it names.
    target: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl WriteLock {
    /// Waits up to 30 s for the lock.
    pub(super) fn acquire(path: &Path) -> Result<Self, VaultError> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(e) => return Err(VaultError::io("read", path, e)),
        };
        let lock = hidden_sibling(&target, "lock")?;
        let end = Instant::now() + PATIENCE;
        loop {
            let held = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&lock)
                .map_err(|e| VaultError::io("create", &lock, e))?;
            match held.try_lock() {
                // The one before us removed the file that we hold if the name is of another now.
                Ok(()) if is_same_file(&held, &lock) => {
                    return Ok(Self {
                        target,
                        lock,
                        _held: held,
                    });
                }
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) if Instant::now() < end => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(fs::TryLockError::WouldBlock) => return Err(VaultError::Busy(target)),
                Err(fs::TryLockError::Error(e)) => return Err(VaultError::io("lock", &lock, e)),
            }
        }
    }

    /// Puts a new file of mode 0600 in place of the old one, with the owner of the old.
    pub(super) fn replace(&self, text: &[u8]) -> Result<(), VaultError> {
        let temporary = hidden_sibling(&self.target, "tmp")?;
        // Left by one that died while it held the lock that we hold now.
        let _ = fs::remove_file(&temporary);
        let done = write_whole(&temporary, text)
            .map_err(|e| VaultError::io("write", &temporary, e))
            .and_then(|()| self.keep_owner(&temporary))
            .and_then(|()| {
                fs::rename(&temporary, &self.target)
                    .map_err(|e| VaultError::io("replace", &self.target, e))
            });
        if done.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        done?;
        let folder = folder_of(&self.target);
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| VaultError::io("flush", folder, e))
    }

    /// Else the daemon could not read its file any more after root changed it.
    fn keep_owner(&self, temporary: &Path) -> Result<(), VaultError> {
        let (Ok(old), Ok(new)) = (fs::metadata(&self.target), fs::metadata(temporary)) else {
            return Ok(());
        };
        if (old.uid(), old.gid()) == (new.uid(), new.gid()) {
            return Ok(());
        }
        match chown(temporary, Some(old.uid()), Some(old.gid())) {
            Err(e) if old.uid() != new.uid() => {
                Err(VaultError::io("keep the owner of", &self.target, e))
            }
            // Mode 0600 gives the group nothing anyway.
            _ => Ok(()),
        }
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn hidden_sibling(path: &Path, ending: &str) -> Result<PathBuf, VaultError> {
    let name = path.file_name().ok_or_else(|| VaultError::WrongKind {
        path: path.to_owned(),
        wanted: "a file",
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    Ok(path.with_file_name(hidden))
}

fn is_same_file(held: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (held.metadata(), fs::metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}
