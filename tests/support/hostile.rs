//! A server that does not wish us well: it takes connections as PostgreSQL does, and then does
//! what a test tells it. Also a relay to a real server, which adds what the real one never says.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A listening server. Dropping it closes its connections and ends its threads.
#[derive(Debug)]
pub struct Hostile {
    port: u16,
    shared: Arc<Listening>,
}

#[derive(Debug, Default)]
struct Listening {
    stop: AtomicBool,
    connections: AtomicUsize,
    /// Those that are open, to close them with the server.
    streams: Mutex<HashMap<usize, TcpStream>>,
}

/// A connection whose startup packet has been read.
#[derive(Debug)]
pub struct Guest {
    stream: TcpStream,
    /// How many connections there were before it.
    pub number: usize,
    /// The startup packet, as it came.
    pub startup: Vec<u8>,
}

impl Hostile {
    /// Talks to each connection in a thread of its own, after it has refused TLS and read the
    /// startup packet. Requests to cancel are read and closed. The connection ends with `talk`.
    pub fn start(talk: impl Fn(&mut Guest) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Listening::default());
        let (of_thread, talk) = (Arc::clone(&shared), Arc::new(talk));
        thread::spawn(move || {
            for (at, stream) in listener.incoming().enumerate() {
                if of_thread.stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Ok(kept) = stream.try_clone() {
                    of_thread.streams.lock().expect("no panic").insert(at, kept);
                }
                let (shared, talk) = (Arc::clone(&of_thread), Arc::clone(&talk));
                thread::spawn(move || {
                    let _ = attend(stream, &shared, &*talk);
                    shared.streams.lock().expect("no panic").remove(&at);
                });
            }
        });
        Self { port, shared }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A section of the exporter's configuration for it.
    pub fn section(&self, name: &str, user: &str) -> String {
        format!(
            "[{name}]\nhost = 127.0.0.1\nport = {}\nuser = {user}\n",
            self.port
        )
    }

    /// How many logins were begun.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for stream in self.shared.streams.lock().expect("no panic").values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The listener looks at the flag with the next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;

fn attend(
    mut stream: TcpStream,
    shared: &Listening,
    talk: &(dyn Fn(&mut Guest) -> io::Result<()> + Send + Sync),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut packet = vec![0; u32::from_be_bytes(length).saturating_sub(4).min(10_000) as usize];
        stream.read_exact(&mut packet)?;
        let code = packet.first_chunk::<4>().copied().map(u32::from_be_bytes);
        match code {
            Some(SSL_REQUEST) => stream.write_all(b"N")?,
            Some(CANCEL_REQUEST) | None => return Ok(()),
            Some(_) => {
                let mut guest = Guest {
                    stream,
                    number: shared.connections.fetch_add(1, Ordering::AcqRel),
                    startup: [&length[..], &packet].concat(),
                };
                return talk(&mut guest);
            }
        }
    }
}

/// A message: type, length, body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Type and length alone, of a body of so many bytes.
pub fn header(kind: u8, body: usize) -> Vec<u8> {
    let length = u32::try_from(body + 4).expect("it fits");
    [&[kind][..], &length.to_be_bytes()].concat()
}

impl Guest {
    /// Lets it in without asking for a password, and is ready for queries.
    pub fn log_in(&mut self) -> io::Result<()> {
        let mut answer = message(b'R', &0_u32.to_be_bytes());
        for (name, value) in [
            ("server_version", "17.5"),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
        ] {
            answer.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
        }
        answer.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
        answer.extend(message(b'Z', b"I"));
        self.send(&answer)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends the piece again and again, so many bytes in all at most.
    pub fn flood(&mut self, piece: &[u8], bytes: usize) -> io::Result<()> {
        let many = piece.repeat((64 * 1024 / piece.len()).max(1));
        let mut sent = 0;
        while sent < bytes {
            self.send(&many)?;
            sent += many.len();
        }
        Ok(())
    }

    /// Reads and forgets until the peer closes.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        let mut scratch = [0; 4096];
        while self.stream.read(&mut scratch)? > 0 {}
        Ok(())
    }

    /// Passes everything on to a real server at that port, in both directions, until one of them
    /// closes. Before each message of the server `add` may put bytes of its own; it is told the
    /// message's type and body, and whether the login is over.
    pub fn relay(
        &mut self,
        port: u16,
        mut add: impl FnMut(u8, &[u8], bool) -> Option<Vec<u8>>,
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_nodelay(true)?;
        server.write_all(&self.startup)?;
        let (mut from, mut to) = (self.stream.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut server = io::BufReader::with_capacity(64 * 1024, server);
        let mut out = io::BufWriter::with_capacity(64 * 1024, self.stream.try_clone()?);
        let mut ready = false;
        loop {
            if server.buffer().is_empty() {
                out.flush()?;
            }
            let mut head = [0; 5];
            server.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
            server.read_exact(&mut body)?;
            if let Some(bytes) = add(kind, &body, ready) {
                out.write_all(&bytes)?;
            }
            ready |= kind == b'Z';
            out.write_all(&head)?;
            out.write_all(&body)?;
        }
    }

    /// Does nothing for a while, unless the peer closes.
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(time))?;
        let mut byte = [0];
        let read = self.stream.peek(&mut byte);
        self.stream.set_read_timeout(None)?;
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
