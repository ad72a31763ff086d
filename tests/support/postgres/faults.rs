//! What happens to servers in the field: stops, crashes, and machines that hang.

use rustix::process::{Pid, Signal, kill_process};

use super::super::keeper::state;
use super::super::within;
use super::{PATIENCE, Postgres};

impl Postgres {
    /// Ends all sessions and stops, as the administrator does (`pg_ctl stop -m fast`).
    pub fn stop_fast(&self) {
        self.stop(Signal::INT);
    }

    /// Stops as in a crash; it recovers at its next start (`pg_ctl stop -m immediate`).
    pub fn stop_immediate(&self) {
        self.stop(Signal::QUIT);
    }

    /// Starts a stopped server again, on the same port and with the same data.
    #[track_caller]
    pub fn start_again(&self) {
        assert!(self.pid().is_none(), "it was not stopped");
        if let Err(error) = self.launch() {
            panic!("{error}");
        }
    }

    /// Reads `pg_hba.conf` and `postgresql.conf` again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops every process of the server in its tracks: connections stay open, clients may still
    /// connect (the kernel accepts them), and nobody answers.
    pub fn freeze(&self) {
        // The postmaster first, so that no new process escapes.
        self.signal(Signal::STOP);
        let frozen = within(PATIENCE, || {
            let running: Vec<i32> = self
                .processes()
                .into_iter()
                .filter(|process| !matches!(state(*process), Some('T' | 'Z') | None))
                .collect();
            for process in &running {
                send(*process, Signal::STOP);
            }
            running.is_empty()
        });
        assert!(frozen, "PostgreSQL {} does not freeze", self.major);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        for process in self.processes() {
            send(process, Signal::CONT);
        }
    }
}

fn send(process: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}
