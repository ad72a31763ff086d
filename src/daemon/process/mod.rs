//! The daemon as a process of its system: small things that the main loop calls in turn.
//!
//! | at | call |
//! | --- | --- |
//! | the very start | [`allocator::tune`], [`detach::child`]: is this the background process of `-d`? |
//! | arguments say `-d`, and it is not | [`detach::parent`], then exit |
//! | configuration is read | [`limits::raise`], [`limits::huge_pages`], [`title::apply`], [`pidfile::Pidfile::create`], [`signals::Signals::listen`] |
//! | all ports listen | [`notify::ready`], [`detach::DetachedChild::ready`] |
//! | start failed | [`detach::DetachedChild::failed`] |
//! | SIGHUP | [`notify::reloading`], reload, [`notify::ready`] |
//! | shutdown | [`notify::stopping`], …, drop the [`pidfile::Pidfile`] |
//!
//! In go settings; out come changes of this process, files, and messages to systemd. Only Linux is
//! spoken to.

pub mod allocator;
pub(in crate::daemon) mod descriptors;
pub mod detach;
pub mod limits;
pub mod memory;
pub mod notify;
pub mod pidfile;
pub mod signals;
pub mod title;

/// What tests of this room need: the test program again, as another process.
#[cfg(test)]
mod again {
    use std::process::Command;

    /// The name of the variable that tells a test to be the other process.
    pub(super) const MARK: &str = "PGEXPORTER_TEST_PROCESS";

    /// Runs the one test `name` of this program, with `MARK` set to `mark`.
    pub(super) fn command(name: &str, mark: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "-q", "--nocapture", "--test-threads=2", name])
            .env(MARK, mark);
        command
    }

    /// What this process should be, if it is the other one.
    pub(super) fn mark() -> Option<String> {
        std::env::var(MARK).ok()
    }
}
