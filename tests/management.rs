//! Management: the real exporter, asked through its sockets by the real command line, by hand-made
//! bytes, and by libpq.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "management/afar.rs"]
mod afar;
#[path = "management/commands.rs"]
mod commands;
#[path = "management/hostile.rs"]
mod hostile;
#[path = "management/local.rs"]
mod local;
#[path = "management/marker.rs"]
mod marker;
#[path = "management/remote.rs"]
mod remote;
#[path = "management/scrape.rs"]
mod scrape;
#[path = "management/watching.rs"]
mod watching;
#[path = "management/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use support::exporter::ExporterBuilder;
use support::{Exporter, eventually};

/// How long an answer may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// An exporter of a server that nobody runs: management needs none.
fn lonely() -> ExporterBuilder {
    Exporter::builder().section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
}

/// Where its management socket is.
fn socket(exporter: &Exporter) -> PathBuf {
    exporter.folder().join(".s.pgexporter")
}

/// The command line, as the user of the exporter runs it.
fn command(exporter: &Exporter) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"));
    command
        .current_dir(exporter.folder())
        .env_clear()
        .env("HOME", exporter.folder())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs the command line with `-c FILE` before the arguments.
fn cli(exporter: &Exporter, arguments: &[&str]) -> Output {
    command(exporter)
        .args(["-c", "pgexporter.conf"])
        .args(arguments)
        .output()
        .expect("it is built")
}

/// Status, output and errors.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Runs the command line with `-F json`; gives its status and its document.
#[track_caller]
fn json(exporter: &Exporter, arguments: &[&str]) -> (i32, Value) {
    let output = cli(exporter, &[&["-F", "json"], arguments].concat());
    let (status, out, err) = said(&output);
    match serde_json::from_str(&out) {
        Ok(document) => (status, document),
        Err(error) => panic!("{arguments:?}: {error}: {out}{err}"),
    }
}

/// Sends bytes to the Unix socket, says that no more come, and gives all that comes back.
fn raw(exporter: &Exporter, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket(exporter)).expect("the exporter listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // An exporter that refuses need not read all of it.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes");
    answer
}

/// A frame of the id framing.
fn id_frame(id: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[id], &length[..], payload].concat()
}

/// A frame of the JSON framing.
fn json_frame(compression: u8, encryption: u8, document: &[u8]) -> Vec<u8> {
    let length = u32::try_from(document.len()).unwrap().to_be_bytes();
    [&[compression, encryption], &length[..], document].concat()
}

/// The document of an answer of the plain JSON framing, or of the id framing.
#[track_caller]
fn document(answer: &[u8]) -> Value {
    let head = if answer.first().is_some_and(|first| *first >= 16) {
        1
    } else {
        2
    };
    let length = u32::from_be_bytes(answer[head..head + 4].try_into().unwrap());
    let document = &answer[head + 4..];
    assert_eq!(document.len(), length as usize, "one whole frame");
    serde_json::from_slice(document).expect("JSON")
}

/// Whether it still answers, which is the least that holds after whatever came in.
#[track_caller]
fn assert_alive(exporter: &Exporter) {
    let answer = raw(exporter, &id_frame(16, b""));
    assert_eq!(answer.first(), Some(&16), "{}", exporter.log());
    assert_eq!(document(&answer)["Outcome"]["Status"], true);
}

/// Waits for a line of the log that holds all of `parts`.
#[track_caller]
fn eventually_logged(exporter: &Exporter, parts: &[&str]) {
    eventually(&format!("the log has {parts:?}"), || {
        exporter
            .log()
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    });
}
