//! A client that sends any bytes, where the ordinary one sends UTF-8 alone. It speaks what it needs
//! of the protocol: startup, simple query ("Frontend/Backend Protocol" in PostgreSQL's manual).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::support::Postgres;

pub(crate) struct Raw(UnixStream);

impl Raw {
    /// A session as superuser over the Unix socket.
    pub(crate) fn open(server: &Postgres, database: &str, encoding: &str) -> Self {
        let path = server
            .socket_dir()
            .join(format!(".s.PGSQL.{}", server.port()));
        let mut session = Self(UnixStream::connect(path).expect("it listens"));
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in [
            "user",
            "postgres",
            "database",
            database,
            "client_encoding",
            encoding,
        ] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        body.push(0);
        session.send(&[], &body);
        session.wait();
        session
    }

    /// Runs one statement.
    pub(crate) fn execute(&mut self, sql: &[u8]) {
        self.begin(sql);
        self.wait();
    }

    /// Sends one statement, and does not wait for it.
    pub(crate) fn begin(&mut self, sql: &[u8]) {
        self.send(b"Q", &[sql, b"\0"].concat());
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("short");
        let message = [kind, &length.to_be_bytes(), body].concat();
        self.0.write_all(&message).expect("the server reads");
    }

    /// Reads up to `ReadyForQuery`.
    fn wait(&mut self) {
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("the server answers");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).expect("the server answers");
            match head[0] {
                b'E' => panic!("{}", String::from_utf8_lossy(&body)),
                b'Z' => return,
                _ => {}
            }
        }
    }
}
