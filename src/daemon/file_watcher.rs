//! Notices changed files among those that a reload reads. They are polled, as inotify does not work
//! for all: a mounted ConfigMap changes by a link that is replaced, and a network share reports no
//! changes that other machines make.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::blocking::BlockingPool;

/// How often the files are polled.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Identifies a version of a file: device, inode, size and time of change. `None` for a file that is
/// not there.
type FileStamp = Option<(u64, u64, u64, i64, i64)>;

/// How long a snapshot may take; after that the files are read without one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The files of the running program, as they were when they were read.
#[derive(Debug)]
pub(super) struct FileWatcher {
    files: Vec<PathBuf>,
    /// `None` until they were polled for the first time.
    seen: Option<Vec<FileStamp>>,
    /// One thread. A disk that does not answer blocks it, and with it only the next poll.
    disk: BlockingPool,
}

impl Default for FileWatcher {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            seen: None,
            disk: BlockingPool::new("files", 1, 1),
        }
    }
}

/// The files as they were at one moment.
#[derive(Debug)]
pub(super) struct FileSnapshot {
    files: Vec<PathBuf>,
    seen: Option<Vec<FileStamp>>,
}

impl FileWatcher {
    /// Takes a snapshot of the files, for [`Self::follow`].
    pub(super) fn snapshot(
        &self,
        files: Vec<PathBuf>,
    ) -> impl Future<Output = FileSnapshot> + use<> {
        let disk = self.disk.clone();
        async move {
            let looked = timeout(PATIENCE, read_stamps(&disk, files.clone())).await;
            let seen = looked.ok().flatten();
            FileSnapshot { files, seen }
        }
    }

    /// Compares with this snapshot from now on.
    pub(super) fn follow(&mut self, look: FileSnapshot) {
        self.files = look.files;
        self.seen = look.seen;
    }

    /// Sets the list of files. A list that differs is polled anew before changes are noticed.
    pub(super) fn set_files(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            self.files = files;
            self.seen = None;
        }
    }

    /// Waits until a file has changed and nothing changed for a while after it, so that a file in
    /// the middle of being written is not read. Waits forever when there are no files. Cancel safe.
    pub(super) async fn next_change(&mut self) {
        let mut now = loop {
            match &self.seen {
                Some(seen) => break seen.clone(),
                None => self.seen = read_stamps(&self.disk, self.files.clone()).await,
            }
            if self.seen.is_none() {
                sleep(POLL_INTERVAL).await;
            }
        };
        loop {
            sleep(POLL_INTERVAL).await;
            // The disk may be slow.
            let Some(found) = read_stamps(&self.disk, self.files.clone()).await else {
                continue;
            };
            if found != now {
                debug!("a file of the configuration has changed");
                now = found;
            } else if self.seen.as_ref() != Some(&now) {
                self.seen = Some(now);
                return;
            }
        }
    }
}

async fn read_stamps(disk: &BlockingPool, files: Vec<PathBuf>) -> Option<Vec<FileStamp>> {
    disk.run(move || stamps(&files)).await.ok()
}

/// The files and, for folders, what lies in them.
fn stamps(files: &[PathBuf]) -> Vec<FileStamp> {
    let mut stamps = Vec::with_capacity(files.len());
    for path in files {
        stamps.push(stamp(path));
        let Ok(folder) = fs::read_dir(path) else {
            continue;
        };
        let mut inside: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        stamps.extend(inside.iter().map(|path| stamp(path)));
    }
    stamps
}

fn stamp(path: &Path) -> FileStamp {
    let about = fs::metadata(path).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.size(),
        about.ctime(),
        about.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_file_a_folder_and_a_replaced_link_are_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("metrics")).unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("conf"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/conf", at("conf")).unwrap();
        let mut watcher = FileWatcher::default();
        let look = watcher.snapshot(vec![at("conf"), at("metrics"), at("none")]);
        let look = look.await;
        watcher.follow(look);
        let seen = async |watcher: &mut FileWatcher| {
            tokio::time::timeout(Duration::from_secs(20), watcher.next_change())
                .await
                .is_ok()
        };

        // As the kubelet does it.
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(seen(&mut watcher).await);
        fs::write(at("metrics").join("a.yaml"), "a").unwrap();
        assert!(seen(&mut watcher).await);
        fs::write(at("none"), "now").unwrap();
        assert!(seen(&mut watcher).await);
        fs::remove_file(at("conf")).unwrap();
        assert!(seen(&mut watcher).await);
        fs::write(at("beside"), "x").unwrap();
        let quiet = tokio::time::timeout(3 * POLL_INTERVAL, watcher.next_change()).await;
        assert!(quiet.is_err(), "a file that nobody reads was seen");
    }
}
