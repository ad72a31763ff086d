//! A TCP proxy that a test cuts and mends: meanwhile nothing gets through and nobody is told, as
//! when a network is partitioned.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How soon threads notice that the proxy was cut, mended or dropped.
const LOOK: Duration = Duration::from_millis(20);

/// Passes connections on to a port of this machine. Dropping it ends all of them.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    over: AtomicBool,
}

impl Proxy {
    /// A proxy on a free port of 127.0.0.1.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("it can be polled");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                if shared.is_cut() {
                    thread::sleep(LOOK);
                    continue;
                }
                // Who comes while it is cut waits in the queue of the socket.
                match listener.accept() {
                    Ok((near, _)) => pass(near, target, &shared),
                    Err(_) => thread::sleep(LOOK),
                }
            }
        });
        Self { port, state }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing gets through from now on.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// Everything gets through again; what was held back as well.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

fn pass(near: TcpStream, target: u16, state: &Arc<State>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else {
        return;
    };
    let pair = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (near_too, far_too) = (pair(&near), pair(&far));
    for (from, to) in [(near, far), (far_too, near_too)] {
        let state = Arc::clone(state);
        thread::spawn(move || pump(from, to, &state));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    let _ = from.set_nonblocking(false);
    let _ = from.set_read_timeout(Some(LOOK));
    while !state.over.load(Ordering::Relaxed) {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        while state.is_cut() && !state.over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
