//! `-d`: to run in the background.
//!
//! Nothing is forked, which is not safe in Rust: the program starts itself again with the same
//! arguments and a variable that marks the second one, the child. The child leaves the session of
//! the terminal, works with standard input, output and error at `/dev/null`, and reports once how
//! its start went. The parent waits for that, so that its exit status tells a script the truth.
//! The working folder stays: relative paths mean the same with and without `-d`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getppid, setsid};
use rustix::stdio::dup2_stdout;

/// Holds the process number of the parent, so that it marks the child only, not the child's own.
const MARK: &str = "PGEXPORTER_DETACHED_BY";
/// Lines of a report; all other lines are not for the parent.
const READY: &str = "READY";
const ERROR: &str = "ERROR";
/// How long a child that reported an error, or hung up, may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often the parent looks for that.
const LOOK: Duration = Duration::from_millis(10);

/// Why there is no process in the background.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The program could not be started again.
    #[error("cannot start in the background: {0}; start without -d")]
    Start(io::Error),
    /// The child's start failed. This is its own message.
    #[error("{0}")]
    Failed(String),
    /// The child ended and said nothing.
    #[error("the background process ended before it was ready ({0}); start without -d to see why")]
    Ended(ExitStatus),
    /// The child said nothing in time, and was killed.
    #[error(
        "the background process was not ready within {} s and was stopped; start without -d to see why",
        _0.as_secs()
    )]
    Timeout(Duration),
    /// The child could not leave the session of its parent.
    #[error("cannot leave the terminal: {0}; start without -d")]
    Leave(io::Error),
}

/// Starts this program again in the background and waits until it is ready, for at most `limit`.
/// Returns its process number; the caller then exits with 0.
///
/// # Errors
/// The child's start failed; the caller prints the error and exits with 1. No child is left behind.
pub fn parent(limit: Duration) -> Result<u32, DetachError> {
    let program = std::env::current_exe().map_err(DetachError::Start)?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    spawn_child(command, limit)
}

/// Whether this process is the child that [`parent`] started; if so, it has left the terminal when
/// this returns. To be called first, before threads and files.
///
/// # Errors
/// The system refused.
pub fn child() -> Result<Option<DetachedChild>, DetachError> {
    let parent = getppid().map(|pid| pid.as_raw_pid().to_string());
    if parent.is_none() || parent != std::env::var(MARK).ok() {
        return Ok(None);
    }
    // The parent gave the pipe of the report as standard output: the only way to hand over a
    // descriptor without unsafe code. It becomes an ordinary one before anybody prints.
    let report = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(DetachError::Leave)?;
    let child = DetachedChild {
        report: File::from(report),
    };
    match detach_from_terminal() {
        Ok(()) => Ok(Some(child)),
        Err(error) => {
            let error = DetachError::Leave(error);
            child.failed(&error.to_string());
            Err(error)
        }
    }
}

fn detach_from_terminal() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(null)?;
    setsid()?;
    Ok(())
}

/// The child's end of the report. Dropping it without a report tells the parent that the start
/// failed.
#[derive(Debug)]
pub struct DetachedChild {
    report: File,
}

impl DetachedChild {
    /// The start is done: the parent may exit with 0.
    pub fn ready(self) {
        self.send_report(&format!("\n{READY}\n"));
    }

    /// The start failed: the parent prints `message` and exits with 1. The caller exits.
    pub fn failed(self, message: &str) {
        self.send_report(&format!("\n{ERROR}\n{message}"));
    }

    fn send_report(mut self, text: &str) {
        // An error is ignored: the parent was ended.
        let _ = self.report.write_all(text.as_bytes());
    }
}

enum ChildReport {
    Ready,
    Failed(String),
    Nothing,
}

fn spawn_child(mut command: Command, limit: Duration) -> Result<u32, DetachError> {
    let until = Instant::now() + limit;
    let mut child = command
        .env(MARK, process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(DetachError::Start)?;
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        // A thread, because a pipe has no deadline. It ends with the child at the latest.
        thread::spawn(move || {
            let _ = sender.send(read_report(BufReader::new(pipe)));
        });
    }
    match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(ChildReport::Ready) => Ok(child.id()),
        Ok(ChildReport::Failed(message)) => {
            // The child ends before the error is shown, so that the next start does not find its pidfile.
            stop_child(&mut child).map_err(DetachError::Start)?;
            Err(DetachError::Failed(message))
        }
        Ok(ChildReport::Nothing) | Err(RecvTimeoutError::Disconnected) => {
            let status = stop_child(&mut child).map_err(DetachError::Start)?;
            Err(DetachError::Ended(status))
        }
        Err(RecvTimeoutError::Timeout) => {
            child.kill().map_err(DetachError::Start)?;
            child.wait().map_err(DetachError::Start)?;
            Err(DetachError::Timeout(limit))
        }
    }
}

fn read_report(mut pipe: impl BufRead) -> ChildReport {
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return ChildReport::Nothing,
            Ok(_) => {}
        }
        let word = line.strip_suffix(b"\n").unwrap_or(&line);
        if word == READY.as_bytes() {
            return ChildReport::Ready;
        }
        if word == ERROR.as_bytes() {
            let mut message = Vec::new();
            let _ = pipe.read_to_end(&mut message);
            return ChildReport::Failed(String::from_utf8_lossy(&message).trim_end().to_owned());
        }
    }
}

/// Waits for a child that is about to end, and ends it if it does not.
fn stop_child(child: &mut process::Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::super::again;
    use super::*;
    use rustix::process::{Pid, Signal, getsid, kill_process};
    use std::fs;

    const BODY: &str =
        "daemon::process::detach::tests::a_child_that_is_ready_lives_on_without_a_terminal";
    const LIMIT: Duration = Duration::from_secs(30);

    /// What the other process does.
    fn be_the_child(mark: &str) {
        let child = child().unwrap().expect("this is the child");
        match mark {
            "ready" => {
                println!("nobody reads this");
                child.ready();
                thread::sleep(LIMIT);
            }
            "fails" => {
                child.failed("cannot listen on port 5002:\nAddress already in use\n");
                process::exit(1);
            }
            "dies" => process::exit(7),
            "hangs" => {
                thread::sleep(2 * LIMIT);
                child.ready();
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_child_that_is_ready_lives_on_without_a_terminal() {
        if let Some(mark) = again::mark() {
            return be_the_child(&mark);
        }
        let number = spawn_child(again::command(BODY, "ready"), LIMIT).unwrap();
        let pid = Pid::from_raw(i32::try_from(number).unwrap()).unwrap();
        let session = getsid(Some(pid)).unwrap();
        let streams: Vec<_> = (0..3)
            .map(|fd| fs::read_link(format!("/proc/{number}/fd/{fd}")).unwrap())
            .collect();
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(session, pid);
        for stream in streams {
            assert_eq!(stream, std::path::Path::new("/dev/null"));
        }
    }

    #[test]
    fn a_child_whose_start_fails_says_why() {
        let error = spawn_child(again::command(BODY, "fails"), LIMIT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot listen on port 5002:\nAddress already in use"
        );
    }

    #[test]
    fn a_child_that_dies_at_start_is_told_with_its_status() {
        let error = spawn_child(again::command(BODY, "dies"), LIMIT).unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }

    #[test]
    fn a_child_that_is_never_ready_is_stopped() {
        let limit = Duration::from_millis(300);
        let begun = Instant::now();
        let error = spawn_child(again::command(BODY, "hangs"), limit).unwrap_err();
        assert!(matches!(error, DetachError::Timeout(_)), "{error}");
        assert!(begun.elapsed() < LIMIT);
    }

    #[test]
    fn a_process_that_nobody_detached_is_no_child() {
        assert!(child().unwrap().is_none());
    }
}
