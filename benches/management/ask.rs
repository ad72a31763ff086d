//! Whoever asks: the command line as a process of its own, and a bare client within this one.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgexporter::management::{AdminVerb, SOCKET_NAME};

use crate::support::Exporter;

/// Where an exporter's socket is.
pub fn socket(exporter: &Exporter) -> PathBuf {
    exporter.folder().join(SOCKET_NAME)
}

/// Asks through the Unix socket in the id framing; gives the answer's frame and how long it took,
/// from the connection to the end of the answer.
pub fn ask(socket: &PathBuf, verb: AdminVerb) -> io::Result<(Vec<u8>, Duration)> {
    let begin = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&[verb.id(), 0, 0, 0, 0])?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = begin.elapsed();
    if answer.first() == Some(&verb.id()) {
        Ok((answer, took))
    } else {
        Err(io::Error::other("it answers with something else"))
    }
}

/// Runs the command line in the exporter's folder; gives what it printed and how long it took, from
/// the start of the process to its end.
pub fn cli(exporter: &Exporter, arguments: &[&str]) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
        .args(arguments)
        .current_dir(exporter.folder())
        .env_clear()
        .env("HOME", exporter.folder())
        .stdin(Stdio::null())
        .output()
        .expect("it is built");
    let took = begin.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    (output.stdout, took)
}
