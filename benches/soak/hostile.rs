//! Peers that let the exporter in, or nearly, and then do what no PostgreSQL does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Stop;

/// What one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Announces a message of 64 MiB after login, and sends five bytes of it.
    Announces,
    /// Sends notices at login without an end.
    Floods,
    /// Answers each query with rows without an end.
    Rows,
    /// Refuses the login with a text of 60 MB.
    Refuses,
}

pub const MANNERS: [Manner; 4] = [
    Manner::Announces,
    Manner::Floods,
    Manner::Rows,
    Manner::Refuses,
];

/// A listener of that manner.
pub struct Hostile {
    pub manner: Manner,
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Hostile {
    pub fn start(manner: Manner, stop: &Stop) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("it can be polled");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, stop) = (Arc::clone(&connections), stop.clone());
        thread::spawn(move || {
            while !stop.is_over() {
                match listener.accept() {
                    Ok((stream, _)) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let stop = stop.clone();
                        // An error is the exporter's end of it.
                        thread::spawn(move || serve(stream, manner, &stop).ok());
                    }
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Self {
            manner,
            port,
            connections,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often it was connected to.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, manner: Manner, stop: &Stop) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut first = [0; 8];
    stream.read_exact(&mut first)?;
    if first[4..] == [4, 210, 22, 47] {
        stream.write_all(b"N")?;
        stream.read_exact(&mut first)?;
    }
    let length = u32::from_be_bytes([first[0], first[1], first[2], first[3]]) as usize;
    stream.read_exact(&mut vec![0; length.clamp(8, 10_000) - 8])?;
    match manner {
        Manner::Refuses => {
            let mut body = b"SFATAL\0C28000\0M".to_vec();
            body.resize(60_000_000, b'x');
            body.extend_from_slice(b"\0\0");
            return stream.write_all(&message(b'E', &body));
        }
        Manner::Floods => {
            let notice = message(
                b'N',
                &[&b"SNOTICE\0C00000\0M"[..], &[b'y'; 8000], b"\0\0"].concat(),
            );
            return without_end(&mut stream, &notice, stop);
        }
        Manner::Announces | Manner::Rows => {}
    }
    let mut hello = message(b'R', &[0, 0, 0, 0]);
    for (name, value) in [
        ("server_version", "17.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
    ] {
        hello.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    hello.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
    hello.extend(message(b'Z', b"I"));
    stream.write_all(&hello)?;
    let mut some = [0; 65_536];
    let _ = stream.read(&mut some)?;
    if manner == Manner::Rows {
        let row = message(b'D', &[&[0, 1, 0, 0, 31, 64][..], &[b'z'; 8000]].concat());
        return without_end(&mut stream, &row, stop);
    }
    stream.write_all(&[b'D', 4, 0, 0, 0])?;
    while stream.read(&mut some)? > 0 && !stop.is_over() {}
    Ok(())
}

/// At most 2 GB or ten seconds of it, so that the machine has something left for the others.
fn without_end(stream: &mut TcpStream, message: &[u8], stop: &Stop) -> std::io::Result<()> {
    let many = message.repeat(64);
    let end = Instant::now() + Duration::from_secs(10);
    for _ in 0..4_000 {
        if stop.is_over() || Instant::now() > end {
            break;
        }
        stream.write_all(&many)?;
    }
    Ok(())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("it is short");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}
