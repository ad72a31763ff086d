//! Core dumps: a file with all that the memory holds, passwords among it. Off unless asked for.

use std::fs;
use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What the kernel does with a core dump: a name of a file, or a program after `|`.
const PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// Forbids core dumps for this process and those that it starts; the hard limit stays, so that
/// [`allow`] can take it back. To be called before anything secret is read.
///
/// The limit alone does not keep the kernel from handing a dump to a program, where the system is
/// set so. There the process is made not dumpable as well; other users' and its own tools can then
/// not look into it, root's can.
pub fn forbid() {
    let maximum = getrlimit(Resource::Core).maximum;
    let none = Rlimit {
        current: Some(0),
        maximum,
    };
    // A process may always lower its soft limit.
    let _ = setrlimit(Resource::Core, none);
    if fs::read(PATTERN).is_ok_and(|pattern| pattern.first() == Some(&b'|')) {
        // Never refused to a process for itself.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
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
    setrlimit(Resource::Core, all)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}
