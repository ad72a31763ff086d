//! How the C library's allocator gives memory back.
//!
//! That of glibc keeps what was freed: each thread has an arena of its own, and after a large block
//! was freed once, blocks up to 32 MiB come from arenas, which shrink at their upper end alone
//! (mallopt(3), `M_MMAP_THRESHOLD`). After a peak of 160 MB some 20 MB stayed. With a fixed
//! threshold every block above it is the kernel's again as soon as it is freed.
//!
//! glibc reads this from its environment, before the program's first instruction: so the program
//! starts itself once more, in the same process.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The variable that glibc reads (ld.so(8), "Environment").
const VARIABLE: &str = "GLIBC_TUNABLES";
/// Blocks of 64 KiB and more come from the kernel one by one; what is free at the end of an arena
/// goes back from the same size on; and two arenas are enough for so few allocations.
const TUNABLES: &str = "glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536:\
                        glibc.malloc.mmap_max=65536:glibc.malloc.arena_max=2";

/// Makes sure that the process runs with them. Where it cannot, it goes on without.
pub fn tune() {
    let present = std::env::var_os(VARIABLE);
    let Some(wanted) = wanted_value(present.as_deref()) else {
        return;
    };
    if !cfg!(target_env = "gnu") {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // Returns only when it failed, and then nothing is different.
    let _ = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, wanted)
        .exec();
}

/// The variable as it should be; `None` when it is so, or whoever started the program has chosen
/// otherwise.
fn wanted_value(present: Option<&OsStr>) -> Option<OsString> {
    let present = match present {
        None => return Some(TUNABLES.into()),
        Some(present) if present.is_empty() => return Some(TUNABLES.into()),
        Some(present) => present,
    };
    let chosen = present
        .to_str()
        .is_none_or(|text| text.contains("glibc.malloc."));
    (!chosen).then(|| {
        let mut both = present.to_owned();
        both.push(":");
        both.push(TUNABLES);
        both
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_by_hand_stays_and_all_else_is_kept() {
        let of = |text: &str| wanted_value(Some(text.as_ref()));
        assert_eq!(wanted_value(None), Some(TUNABLES.into()));
        assert_eq!(of(""), Some(TUNABLES.into()));
        assert_eq!(of(TUNABLES), None);
        assert_eq!(of("glibc.malloc.arena_max=1"), None);
        let other = "glibc.rtld.optional_static_tls=512";
        assert_eq!(of(other), Some(format!("{other}:{TUNABLES}").into()));
    }
}
