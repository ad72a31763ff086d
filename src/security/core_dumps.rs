//! Core dumps: a file with all that the memory holds, passwords among it. Off unless asked for.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the kernel does with a core dump: a name of a file, or a program after `|`.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// The soft limit, in bytes, with which no core dump is made.
///
/// A file needs room for a page at least. A program that takes core dumps is started whatever the
/// limit is, but for one byte: that is the limit of such programs themselves, by which the kernel
/// knows that it must not start one for another (Linux, `fs/coredump.c`).
fn none(pattern: &[u8]) -> u64 {
    match pattern.first() {
        Some(b'|') => 1,
        _ => 0,
    }
}

/// Forbids core dumps for this process and those that it starts; the hard limit stays, so that
/// [`allow`] can take it back. To be called before anything secret is read.
pub fn forbid() {
    let maximum = getrlimit(Resource::Core).maximum;
    let wanted = none(&fs::read(PATTERN).unwrap_or_default());
    let limit = Rlimit {
        current: Some(maximum.map_or(wanted, |maximum| wanted.min(maximum))),
        maximum,
    };
    // A process may always lower its soft limit.
    let _ = setrlimit(Resource::Core, limit);
}

/// Allows core dumps up to the hard limit of their size, `ulimit -Hc`. Whether and where one is
/// written, the system decides.
///
/// # Errors
/// The system refused.
pub fn allow() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Core, all)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_file_nor_a_program_is_given_a_core_dump() {
        assert_eq!(none(b"core\n"), 0);
        assert_eq!(none(b"/var/cores/%e\n"), 0);
        assert_eq!(none(b"|/usr/lib/systemd/systemd-coredump %P\n"), 1);
        assert_eq!(none(b""), 0);
    }
}
