//! The file with the number of the process, which also keeps a second instance from starting.
//!
//! The lock on the file (flock(2)) is what counts; the number in it is for people and scripts. A
//! file whose process is gone, however it went, is replaced. The file appears under its name with
//! its number in it and locked, never empty.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

/// Rounds against another instance that starts or ends at the same moment.
const ROUNDS: u32 = 20;
/// A process number is shorter.
const LONGEST: u64 = 32;

/// Why there is no pidfile.
#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    /// Another process has it.
    #[error(
        "the pidfile {} belongs to the running process {}; stop that one, or give this one its own pidfile",
        path.display(),
        pid.map_or_else(|| "(number unknown)".to_owned(), |pid| pid.to_string())
    )]
    Held {
        /// `pidfile`.
        path: PathBuf,
        /// The other process.
        pid: Option<u32>,
    },
    /// The file holds something else than a number: better not to write over it.
    #[error(
        "{} is not a pidfile, because it does not contain a process number; choose another pidfile",
        path.display()
    )]
    NotAPidfile {
        /// `pidfile`.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error(
        "cannot write the pidfile {}: {source}; make its folder writable or choose another pidfile",
        path.display()
    )]
    Io {
        /// `pidfile`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The pidfile of this process. Dropping it removes the file, if it is still this one's.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    /// Held for its lock.
    file: File,
}

impl Pidfile {
    /// Writes and locks the file, which stays locked until this is dropped or the process ends.
    ///
    /// # Errors
    /// A running process has the file: it is locked, or it is unlocked and holds the number of a
    /// process called `pgexporter…`, as the C program leaves it. Or the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, PidfileError> {
        let failed = |source| PidfileError::Io {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(failed)?;
        for _ in 0..ROUNDS {
            let made = match File::open(&path) {
                Ok(old) => replace(&path, &old)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    create_at(&path, RenameFlags::NOREPLACE).map_err(failed)?
                }
                Err(error) => return Err(failed(error)),
            };
            if let Some(file) = made {
                return Ok(Self { path, file });
            }
        }
        Err(PidfileError::Held { path, pid: None })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            // The process ends: there is nobody left to tell, and a file that stays is replaced.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes the place of a file that is there. `None`: it changed meanwhile, look again.
fn replace(path: &Path, old: &File) -> Result<Option<File>, PidfileError> {
    let failed = |source| PidfileError::Io {
        path: path.to_owned(),
        source,
    };
    let held = |pid| PidfileError::Held {
        path: path.to_owned(),
        pid,
    };
    let mut text = String::new();
    let read = old.take(LONGEST).read_to_string(&mut text);
    let pid = text.trim().parse::<u32>().ok();
    match flock(old, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(held(pid)),
        Err(error) => return Err(failed(error.into())),
    }
    // While this lock is held, nobody else comes as far as here.
    if !is_at(old, path) {
        return Ok(None);
    }
    match read {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(failed(error)),
        Ok(_) if pid.is_some() || text.trim().is_empty() => {}
        _ => {
            return Err(PidfileError::NotAPidfile {
                path: path.to_owned(),
            });
        }
    }
    if let Some(pid) = pid.filter(|pid| is_other_instance(*pid)) {
        return Err(held(Some(pid)));
    }
    create_at(path, RenameFlags::empty()).map_err(failed)
}

/// Makes a file beside, complete and locked, and gives it the name. `None`: with `NOREPLACE`, the
/// name was taken meanwhile.
fn create_at(path: &Path, flags: RenameFlags) -> io::Result<Option<File>> {
    let pid = std::process::id();
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{pid}"));
    let beside = PathBuf::from(beside);
    let outcome = write(&beside, pid).and_then(|file| {
        match renameat_with(CWD, &beside, CWD, path, flags) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::EXIST) => Ok(None),
            // Some file systems cannot refuse to replace.
            Err(Errno::INVAL) => fs::rename(&beside, path).map(|()| Some(file)),
            Err(error) => Err(error.into()),
        }
    });
    if !matches!(outcome, Ok(Some(_))) {
        let _ = fs::remove_file(&beside);
    }
    outcome
}

fn write(path: &Path, pid: u32) -> io::Result<File> {
    // One that a process of the same number left behind, perhaps for somebody to follow.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    file.write_all(format!("{pid}\n").as_bytes())?;
    file.sync_all()?;
    Ok(file)
}

/// Whether `path` names this very file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// Whether a process of this number runs, is called as this program is, and is not this one: in a
/// container, the instance before often had the same number.
fn is_other_instance(pid: u32) -> bool {
    pid != std::process::id()
        && fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.starts_with("pgexporter"))
}

#[cfg(test)]
mod tests {
    use super::super::again;
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    /// A process that has the pidfile, or only is alive when `mark` is no path, until it is killed.
    fn other(mark: &str) -> Child {
        let name = "daemon::process::pidfile::tests::a_second_instance_is_told_who_has_the_file";
        let mut child = again::command(name, mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().ends_with("has it")));
        child
    }

    fn be_the_other(mark: &str) {
        let _held = mark
            .starts_with('/')
            .then(|| Pidfile::create(Path::new(mark)).unwrap());
        println!("\nhas it");
        let _ = io::stdin().read(&mut [0]);
    }

    #[test]
    fn the_file_holds_the_number_and_is_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        assert_eq!(entries(folder.path()), 1);
        drop(pidfile);
        assert_eq!(entries(folder.path()), 0);
    }

    #[test]
    fn a_second_instance_is_told_who_has_the_file() {
        if let Some(mark) = again::mark() {
            return be_the_other(&mark);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let mut child = other(path.to_str().unwrap());
        let error = Pidfile::create(&path).unwrap_err();
        let pid = child.id();
        assert!(matches!(error, PidfileError::Held { pid: Some(p), .. } if p == pid));
        assert!(
            error.to_string().contains(&format!("process {pid}")),
            "{error}"
        );

        // Killed, it leaves its file behind; that is no hindrance.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(path.exists());
        let _ours = Pidfile::create(&path).unwrap();
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn a_file_without_lock_belongs_to_its_process_while_that_runs_and_is_a_pgexporter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let mut child = other("alive");
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        let error = Pidfile::create(&path).unwrap_err();
        assert!(matches!(error, PidfileError::Held { pid: Some(p), .. } if p == child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(Pidfile::create(&path).unwrap());

        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(&path, sleeper.id().to_string()).unwrap();
        let taken = Pidfile::create(&path);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        taken.unwrap();
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        for content in [&b"root:x:0:0\n"[..], b"12 34", b"\xff\xfe"] {
            fs::write(&path, content).unwrap();
            let error = Pidfile::create(&path).unwrap_err();
            assert!(matches!(error, PidfileError::NotAPidfile { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::write(&path, "").unwrap();
        Pidfile::create(&path).unwrap();
    }

    #[test]
    fn a_file_that_became_another_ones_is_left_alone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let pidfile = Pidfile::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(pidfile);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn of_many_that_start_at_once_exactly_one_gets_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pid");
        let program = std::env::current_exe().unwrap();
        for stale in [false, true] {
            if stale {
                fs::write(&path, "999999999\n").unwrap();
            }
            let mut children: Vec<Child> = (0..8)
                .map(|_| {
                    Command::new(&program)
                        .args(["--exact", "-q", "--nocapture"])
                        .arg("daemon::process::pidfile::tests::a_second_instance_is_told_who_has_the_file")
                        .env(again::MARK, &path)
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::null())
                        .spawn()
                        .unwrap()
                })
                .collect();
            // Those that lost end by themselves and say nothing; the one that won waits.
            let mut won = 0;
            for child in &mut children {
                let mut said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
                won += u32::from(said.any(|line| line.is_ok_and(|line| line == "has it")));
            }
            for child in &mut children {
                let _ = child.kill();
                child.wait().unwrap();
            }
            assert_eq!(won, 1, "stale: {stale}");
            fs::remove_file(&path).unwrap();
            assert_eq!(entries(folder.path()), 0);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Pidfile::create(Path::new("/no/such/folder/x.pid")).unwrap_err();
        assert!(
            error.to_string().contains("/no/such/folder/x.pid"),
            "{error}"
        );
    }
}
