//! A TCP proxy in the place of a name that is moved, or of a Service of several servers: new
//! connections go where the test says, and those that are there stay where they are.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Passes each connection on to the next of some ports of this machine. Dropping it takes no more.
#[derive(Debug)]
pub struct Switch {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In turn; each connection takes the first and puts it behind.
    targets: Mutex<Vec<u16>>,
    over: AtomicBool,
}

impl Switch {
    /// Leads to these ports in turn, on a free port of 127.0.0.1.
    pub fn to(targets: &[u16]) -> Self {
        Self::at("127.0.0.1", 0, targets)
    }

    /// Leads to these ports in turn, from that address; port 0 is a free one.
    pub fn at(address: &str, port: u16, targets: &[u16]) -> Self {
        let listener = TcpListener::bind((address, port)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("it can be polled");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let switch = Self { port, state };
        switch.lead_to(targets);
        thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) => {
                        let mut targets = shared.targets.lock().expect("no panic");
                        let target = targets.remove(0);
                        targets.push(target);
                        drop(targets);
                        pass(near, target);
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        switch
    }

    /// From now on new connections go to these ports in turn.
    pub fn lead_to(&self, targets: &[u16]) {
        *self.state.targets.lock().expect("no panic") = targets.to_vec();
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

fn pass(near: TcpStream, target: u16) {
    let _ = near.set_nonblocking(false);
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else {
        return;
    };
    let pair = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    for (mut from, mut to) in [(pair(&near), pair(&far)), (far, near)] {
        thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
