//! What Prometheus does: one kept connection, and a scrape that is read to its end.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A client of a metrics port.
pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// Used again each time; the first `filled` bytes count.
    body: Vec<u8>,
    filled: usize,
}

/// One answer.
pub struct Scrape {
    pub took: Duration,
    /// Of the body as it came, in bytes.
    pub size: usize,
}

impl Client {
    /// Connects. `path` is asked for each time; `encoding` is accepted, when one is given.
    pub fn new(port: u16, path: &str, encoding: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let accept = encoding.map_or(String::new(), |name| format!("Accept-Encoding: {name}\r\n"));
        Ok(Self {
            stream,
            request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n").into_bytes(),
            body: vec![0; 64 * 1024],
            filled: 0,
        })
    }

    /// Asks once.
    pub fn scrape(&mut self) -> io::Result<Scrape> {
        let begin = Instant::now();
        self.stream.write_all(&self.request)?;
        self.filled = 0;
        let head = loop {
            if let Some(at) = find(&self.body[..self.filled], b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(&self.body[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(io::Error::other(text));
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse::<usize>().ok());
        match length {
            Some(length) => {
                while self.filled < head + length {
                    self.more()?;
                }
                self.body.copy_within(head..head + length, 0);
                self.filled = length;
            }
            None => self.chunks(head)?,
        }
        Ok(Scrape {
            took: begin.elapsed(),
            size: self.filled,
        })
    }

    /// The body of the last answer.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.filled]).into_owned()
    }

    /// How many samples it holds.
    pub fn samples(&self) -> usize {
        self.body[..self.filled]
            .split(|byte| *byte == b'\n')
            .filter(|line| line.first().is_some_and(|first| *first != b'#'))
            .count()
    }

    /// Joins the chunks (RFC 9112, section 7.1) in place.
    fn chunks(&mut self, head: usize) -> io::Result<()> {
        let (mut from, mut to) = (head, 0);
        loop {
            let line = loop {
                if let Some(at) = find(&self.body[from..self.filled], b"\r\n") {
                    break from + at;
                }
                self.more()?;
            };
            let digits = String::from_utf8_lossy(&self.body[from..line]).into_owned();
            let size = usize::from_str_radix(digits.trim(), 16)
                .map_err(|_| io::Error::other(format!("no chunk size: {digits}")))?;
            while self.filled < line + 2 + size + 2 {
                self.more()?;
            }
            self.body.copy_within(line + 2..line + 2 + size, to);
            to += size;
            from = line + 2 + size + 2;
            if size == 0 {
                self.filled = to;
                return Ok(());
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        if self.filled == self.body.len() {
            self.body.resize(self.filled * 2, 0);
        }
        let read = self.stream.read(&mut self.body[self.filled..])?;
        self.filled += read;
        if read == 0 {
            return Err(io::Error::other("the connection was closed"));
        }
        Ok(())
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
