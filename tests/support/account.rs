//! Who runs the servers: oneself, or another user when the tests are root, since neither
//! PostgreSQL nor PgBouncer run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Access;

/// The user whom root drops to; `None` when the tests are not root.
#[derive(Clone, Debug)]
pub struct Other {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The user whom root drops to (`postgres` when there is one, else `nobody`).
pub fn other() -> Option<&'static Other> {
    static OTHER: OnceLock<Option<Other>> = OnceLock::new();
    OTHER
        .get_or_init(|| {
            if !rustix::process::geteuid().is_root() {
                return None;
            }
            let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
            let user = ["postgres", "nobody"]
                .iter()
                .find_map(|name| {
                    let line = users
                        .lines()
                        .find(|line| line.split(':').next() == Some(name))?;
                    let mut fields = line.split(':').skip(2);
                    Some(Other {
                        name: (*name).to_owned(),
                        uid: fields.next()?.parse().ok()?,
                        gid: fields.next()?.parse().ok()?,
                    })
                })
                .expect("root needs a user `postgres` or `nobody` to run the servers");
            Some(user)
        })
        .as_ref()
}

/// The user's name at the operating system who runs the servers.
pub fn name() -> String {
    match other() {
        Some(other) => other.name.clone(),
        None => {
            let output = Command::new("id").arg("-un").output().expect("`id` runs");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
    }
}

/// A command that runs as that user.
pub fn command(program: &Path) -> Command {
    match other() {
        None => Command::new(program),
        Some(other) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", other.uid))
                .arg(format!("--regid={}", other.gid))
                .args(["--clear-groups", "--"])
                .arg(program);
            command
        }
    }
}

/// Gives a file or folder to that user.
pub fn own(path: &Path) -> std::io::Result<()> {
    match other() {
        None => Ok(()),
        Some(other) => chown(path, Some(other.uid), Some(other.gid)),
    }
}

/// Whether that user may reach what lies in `folder`.
pub fn reaches(folder: &Path) -> bool {
    other().is_none()
        || folder.ancestors().all(|part| {
            part.metadata()
                .is_ok_and(|found| found.permissions().mode() & 0o005 == 0o005)
        })
}

/// Where temporary folders go: reachable for that user, and short, since the path of a Unix
/// socket holds 107 bytes at most.
pub fn temporary() -> PathBuf {
    let wished = std::env::temp_dir();
    if wished.as_os_str().len() < 50 && wished.is_absolute() && reaches(&wished) {
        return wished;
    }
    PathBuf::from("/tmp")
}

/// Where data folders go: into memory where there is plenty. A data folder has a thousand files,
/// and ext4 needs most of a second to make so many soon after as many were removed.
pub fn roomy_memory() -> PathBuf {
    const PLENTY: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    if free >= PLENTY && reaches(memory) && rustix::fs::access(memory, Access::WRITE_OK).is_ok() {
        return memory.to_path_buf();
    }
    temporary()
}
