//! A cgroup with a memory limit, for root on Linux: what a container's limit is to the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::within;

/// A cgroup, removed with the value. Its processes must have ended by then.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    version: u8,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Cgroup {
    /// One whose processes may have so many bytes of memory together.
    ///
    /// # Errors
    /// Why there can be none: who is not root may not make one.
    pub fn with_memory(bytes: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let name = format!(
            "pgexporter-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let of_memory = |line: &&str| {
            let mut parts = line.split(':');
            parts
                .nth(1)
                .is_some_and(|all| all.split(',').any(|one| one == "memory"))
        };
        let (folder, version) = match own.lines().find(of_memory) {
            Some(line) => {
                let path = line.splitn(3, ':').nth(2).unwrap_or_default();
                let root = Path::new("/sys/fs/cgroup/memory");
                let below = root.join(path.trim_start_matches('/'));
                let parent = if below.is_dir() {
                    below
                } else {
                    root.to_owned()
                };
                (parent.join(name), 1)
            }
            None => {
                let root = Path::new("/sys/fs/cgroup");
                // Only below a group without processes of its own can there be limits.
                let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
                (root.join(name), 2)
            }
        };
        let group = Self { folder, version };
        let done = fs::create_dir(&group.folder).and_then(|()| {
            group.write(["memory.limit_in_bytes", "memory.max"], &bytes.to_string())
        });
        // Swap would hide that the limit was reached; not every kernel counts it.
        let _ = group.write(
            ["memory.memsw.limit_in_bytes", "memory.swap.max"],
            &if version == 1 {
                bytes.to_string()
            } else {
                "0".to_owned()
            },
        );
        done.map(|()| group)
            .map_err(|error| format!("no cgroup can be made: {error}"))
    }

    fn file(&self, names: [&str; 2]) -> PathBuf {
        self.folder.join(names[usize::from(self.version - 1)])
    }

    fn write(&self, names: [&str; 2], text: &str) -> std::io::Result<()> {
        fs::write(self.file(names), text)
    }

    /// Where the number of a process is written to put it here.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most memory that its processes ever had, in bytes.
    pub fn peak(&self) -> u64 {
        let text = fs::read_to_string(self.file(["memory.max_usage_in_bytes", "memory.peak"]));
        text.ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_default()
    }

    /// How many processes the kernel killed, because the group had reached its limit.
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.file(["memory.oom_control", "memory.events"]));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.trim().parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to let go of a process that has ended.
        within(Duration::from_secs(5), || {
            fs::remove_dir(&self.folder).is_ok() || !self.folder.exists()
        });
    }
}
