//! What the system lets this process have: open files, large pages.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

use crate::config::HugePage;

/// What the system refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// A soft limit could not be raised.
    #[error("cannot raise the limit of {what} to {hard}: {source}")]
    Raise {
        /// What is limited.
        what: &'static str,
        /// The hard limit, or "unlimited".
        hard: String,
        /// What the system said.
        source: io::Error,
    },
    /// `hugepage = on`, and the system gives none.
    #[error(
        "hugepage = on, but {} says '{setting}'; write 'madvise' or 'always' into it, or set hugepage = try",
        path.display()
    )]
    NoHugePages {
        /// Where the system says so.
        path: PathBuf,
        /// What it says.
        setting: String,
    },
    /// `hugepage` could not be set for this process.
    #[error("cannot set hugepage for this process: {0}; set hugepage = try")]
    HugePages(io::Error),
}

/// Raises the soft limit of open files to the hard one. Returns how many files may be open now;
/// `None` is without limit.
///
/// # Errors
/// The system refused; the process can run on with the limits it has.
pub fn raise() -> Result<Option<u64>, LimitsError> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let new = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, new) {
        Ok(()) => Ok(maximum),
        Err(error) => Err(LimitsError::Raise {
            what: "open files (RLIMIT_NOFILE)",
            hard: maximum.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string()),
            source: error.into(),
        }),
    }
}

const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Transparent huge pages for the memory of this process, as the key `hugepage` says.
///
/// * `off`: none, whatever the system's setting is.
/// * `try`: as the system's setting is.
/// * `on`: as the system's setting is, and an error when that is `never`.
///
/// # Errors
/// With `on`, the system gives none. With `on` and `off`, the system refused the setting.
pub fn huge_pages(wanted: HugePage) -> Result<(), LimitsError> {
    match wanted {
        HugePage::Try => return Ok(()),
        HugePage::Off => {}
        HugePage::On => {
            // A kernel without the file has no such pages.
            let setting = fs::read_to_string(ENABLED).unwrap_or_else(|error| error.to_string());
            if !gives_huge_pages(&setting) {
                return Err(LimitsError::NoHugePages {
                    path: PathBuf::from(ENABLED),
                    setting: setting.trim().to_owned(),
                });
            }
        }
    }
    // The kernel keeps this for the whole address space, so that any thread may say it.
    disable_transparent_huge_pages(wanted == HugePage::Off)
        .map_err(|error| LimitsError::HugePages(error.into()))
}

/// The setting in force stands in brackets: `always [madvise] never`.
fn gives_huge_pages(setting: &str) -> bool {
    setting.contains("[always]") || setting.contains("[madvise]")
}

#[cfg(test)]
mod tests {
    use super::super::again;
    use super::*;
    use std::process::Stdio;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        if again::mark().is_some() {
            let low = |resource, current| {
                let maximum = getrlimit(resource).maximum;
                let current = Some(current);
                setrlimit(resource, Rlimit { current, maximum }).unwrap();
            };
            low(Resource::Nofile, 64);
            let files = raise().unwrap();
            let now = getrlimit(Resource::Nofile);
            assert_eq!(now.current, now.maximum);
            assert_eq!(files, getrlimit(Resource::Nofile).current);
            return;
        }
        let name = "daemon::process::limits::tests::the_soft_limit_becomes_the_hard_one";
        let status = again::command(name, "limits")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn huge_pages_are_refused_when_the_system_gives_none() {
        assert!(gives_huge_pages("[always] madvise never\n"));
        assert!(gives_huge_pages("always [madvise] never\n"));
        assert!(!gives_huge_pages("always madvise [never]\n"));
        assert!(!gives_huge_pages("No such file or directory (os error 2)"));
    }

    #[test]
    fn off_takes_huge_pages_from_this_process_and_on_gives_them_back() {
        let enabled = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            status
                .lines()
                .find_map(|line| line.strip_prefix("THP_enabled:"))
                .map(|value| value.trim() == "1")
        };
        // Kernels before 5.0 do not tell.
        let Some(before) = enabled() else { return };
        huge_pages(HugePage::Off).unwrap();
        assert_eq!(enabled(), Some(false));
        huge_pages(HugePage::Try).unwrap();
        assert_eq!(enabled(), Some(false));
        match huge_pages(HugePage::On) {
            Ok(()) => assert_eq!(enabled(), Some(true)),
            Err(error) => assert!(error.to_string().contains("hugepage = try"), "{error}"),
        }
        disable_transparent_huge_pages(!before).unwrap();
    }
}
