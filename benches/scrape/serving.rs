//! The least that serving takes: a server that has the body in memory, and sends it in chunks over
//! a kept connection, as the exporter does.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::client::Client;

/// What the exporter sends at once.
const CHUNK: usize = 16 * 1024;

/// A client that asks such a server, in a thread of its own, for this body.
pub fn of_body(body: &[u8]) -> io::Result<Client> {
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in body.chunks(CHUNK) {
        answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            // Ends with the client.
            let _ = serve(stream, &answer);
        }
    });
    Client::new(port, "/metrics", None)
}

/// A request fits into one read.
fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 1024];
    while stream.read(&mut request)? > 0 {
        stream.write_all(answer)?;
    }
    Ok(())
}
