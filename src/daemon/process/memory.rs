//! How much memory this process may have: the limit of its cgroup, as the kernel tells it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted (version 2, and version 1's folder of controllers).
const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 says so much where there is no limit: the largest number, rounded to pages.
const UNLIMITED: u64 = 1 << 62;

/// What the samples of all servers may take, in bytes: as `total_bytes_limit` says, or half of what
/// the process may have. `None` is no limit.
#[must_use]
pub fn samples(total_bytes_limit: u64) -> Option<usize> {
    let limit = match total_bytes_limit {
        0 => limit()? / 2,
        given => given,
    };
    usize::try_from(limit).ok()
}

/// The memory limit of this process's cgroup, in bytes; `None` without one, or where there are no
/// cgroups.
#[must_use]
pub fn limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    of_cgroups(&own, Path::new(ROOT))
}

/// The lowest of the limits that `/proc/self/cgroup` (cgroups(7)) leads to below `root`.
fn of_cgroups(own: &str, root: &Path) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.is_empty() {
            return lowest(root, path, "memory.max");
        }
        let memory = controllers.split(',').any(|one| one == "memory");
        memory
            .then(|| lowest(&root.join("memory"), path, "memory.limit_in_bytes"))
            .flatten()
    });
    limits.min()
}

/// The lowest limit of a cgroup and those above it. In a container the path may be one of the host,
/// of which only the container's own part is mounted; then that is the root.
fn lowest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let path = PathBuf::from(path.trim_start_matches('/'));
    let limits = path.ancestors().filter_map(|folder| {
        let text = fs::read_to_string(root.join(folder).join(file)).ok()?;
        // `max` is no number.
        let limit: u64 = text.trim().parse().ok()?;
        (limit < UNLIMITED).then_some(limit)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_above_a_process_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let find = |own: &str| of_cgroups(own, root.path());
        assert_eq!(find("0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(find("0::/a/b\n"), Some(1000));
        write("a/b/memory.max", "500\n");
        assert_eq!(find("0::/a/b\n"), Some(500));
        let old = "9:name=systemd:/\n4:cpu,memory:/kube/pod\n0::/elsewhere\n";
        assert_eq!(find(old), None);
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(find(old), None);
        // Of the host's path nothing is mounted.
        write("memory/memory.limit_in_bytes", "134217728\n");
        assert_eq!(find(old), Some(134_217_728));
        write("memory/kube/pod/memory.limit_in_bytes", "7\n");
        assert_eq!(find(old), Some(7));
        assert_eq!(find("nonsense\n::\n4:memory\n"), None);
    }

    #[test]
    fn a_given_limit_of_samples_counts_and_else_half_of_the_cgroups() {
        assert_eq!(samples(17), Some(17));
        assert_eq!(
            samples(0),
            limit().and_then(|limit| usize::try_from(limit / 2).ok())
        );
    }
}
