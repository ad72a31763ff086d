//! A line that counts the seconds of an answer that takes long, for a person who watches.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The line. It appears after [`FIRST`], and is erased when this is dropped.
#[derive(Debug)]
pub(super) struct ProgressLine {
    end: Option<Sender<()>>,
    shown: Option<JoinHandle<()>>,
}

/// A shorter wait shows nothing.
const FIRST: Duration = Duration::from_millis(500);
const EACH: Duration = Duration::from_millis(200);

impl ProgressLine {
    /// Begins to count. Shows nothing where the standard error is no terminal.
    pub(super) fn show(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                end: None,
                shown: None,
            };
        }
        let (end, ended) = mpsc::channel();
        let what = what.to_owned();
        let shown = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut wait = FIRST;
            let mut shown = false;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                (shown, wait) = (true, EACH);
                let seconds = begun.elapsed().as_secs_f64();
                write_line(&format!("\r\x1b[K{what}: {seconds:.1} s "));
            }
            if shown {
                write_line("\r\x1b[K");
            }
        });
        Self {
            end: Some(end),
            shown: Some(shown),
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(shown) = self.shown.take() {
            let _ = shown.join();
        }
    }
}

fn write_line(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
