//! Whether a file with a secret is open to others.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// The mode of a file that others can read; `None` when it is private, or not there.
///
/// A mounted Secret of Kubernetes belongs to root and is mounted read-only; its mode is not the
/// user's to mend, and the pod holds nobody else.
pub(super) fn open_mode(path: &Path) -> Option<u32> {
    let about = fs::metadata(path).ok()?;
    let mode = about.mode() & 0o7777;
    let by_root = about.uid() == 0;
    // Root's file may be readable by a group, as with PostgreSQL.
    let allowed = if by_root { 0o740 } else { 0o700 };
    if mode & 0o777 & !allowed == 0 {
        return None;
    }
    let read_only = rustix::fs::statvfs(path)
        .is_ok_and(|volume| volume.f_flag.contains(StatVfsMountFlags::RDONLY));
    (!(by_root && read_only)).then_some(mode)
}
