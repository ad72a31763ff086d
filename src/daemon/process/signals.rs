//! Signals as a stream: what the daemon is asked to do.
//!
//! SIGABRT is left alone: it ends the process, with a core dump where `core_dumps` allows one. SIGPIPE is ignored by the runtime
//! of Rust: a client that hung up is an error of a write.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT or SIGALRM: shut down in order. Holds the signal's name for the log.
    Shutdown(&'static str),
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    alarm: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Begins to listen: from now on these signals do not end the process, for as long as it lives.
    /// Needs a tokio runtime around it.
    ///
    /// # Errors
    /// The system refused a handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            alarm: unix::signal(SignalKind::alarm())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal; a shutdown goes before a reload that came with it. Signals of the
    /// same name that come before this is called again are one. May be dropped without loss.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Shutdown("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Shutdown("SIGINT"),
            _ = self.alarm.recv() => Signal::Shutdown("SIGALRM"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};
    use std::time::Duration;

    #[tokio::test]
    async fn each_signal_asks_for_its_own() {
        let mut signals = Signals::listen().unwrap();
        for (number, expected) in [
            (Number::TERM, Signal::Shutdown("SIGTERM")),
            (Number::INT, Signal::Shutdown("SIGINT")),
            (Number::ALARM, Signal::Shutdown("SIGALRM")),
            (Number::HUP, Signal::Reload),
        ] {
            kill_process(getpid(), number).unwrap();
            let got = tokio::time::timeout(Duration::from_secs(10), signals.next()).await;
            assert_eq!(got.unwrap(), expected);
        }
    }
}
