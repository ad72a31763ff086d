//! What a person sees who watches a terminal, and what a pipe gets.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Exporter, Postgres, eventually};
use crate::{cli, command, said};

/// Ends what it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Its lines, as they come.
    fn lines(&mut self) -> mpsc::Receiver<String> {
        let output = BufReader::new(self.0.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        lines
    }
}

fn next(lines: &mpsc::Receiver<String>) -> String {
    let patience = Duration::from_secs(60);
    lines.recv_timeout(patience).expect("a line comes in time")
}

/// The command line on a terminal of its own.
fn on_terminal(exporter: &Exporter, arguments: &str, variables: &[(&str, &str)]) -> Command {
    let mut script = command(exporter);
    let program = script.get_program().to_string_lossy().into_owned();
    let mut terminal = Command::new("script");
    terminal
        .current_dir(exporter.folder())
        .env_clear()
        .env("TERM", "xterm")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().copied())
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{program} -c pgexporter.conf {arguments}"))
        .arg("/dev/null")
        .stdin(Stdio::null());
    script = terminal;
    script
}

fn shown(mut command: Command) -> String {
    let output = command.output().expect("script of util-linux is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An exporter that has scraped a server which is there, and knows of one which is not.
fn watched(server: &Postgres) -> Exporter {
    let exporter = Exporter::builder()
        .server("good", server)
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = u\n")
        .start();
    eventually("both were asked", || {
        exporter.metrics();
        let (_, out, _) = said(&cli(&exporter, &["targets"]));
        out.contains("  yes  ") && out.contains("refused")
    });
    exporter
}

#[test]
fn a_pipe_gets_the_table_once_and_then_what_changes() {
    let server = Postgres::start(17);
    let exporter = watched(&server);
    let watch = |arguments: &[&str]| {
        let child = command(&exporter)
            .args(["-c", "pgexporter.conf"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        Running(child.expect("it is built"))
    };
    let mut status = watch(&["status", "--watch=1"]);
    let lines = status.lines();
    assert!(next(&lines).starts_with("SERVER  ACTIVE  VERSION"));
    let mut first = [next(&lines), next(&lines)];
    first.sort();
    assert!(
        first[0].contains("good") && first[0].contains("  yes  "),
        "{first:?}"
    );
    assert!(
        first[1].contains("nobody") && first[1].contains("  no  "),
        "{first:?}"
    );

    server.stop_fast();
    exporter.metrics();
    let line = next(&lines);
    assert!(
        line.starts_with("good") && line.contains("  no  "),
        "{line}"
    );
    server.start_again();
    let up = next(&lines);
    assert!(up.starts_with("good"), "{up}");

    let mut json = watch(&["-F", "raw", "targets", "-w=1"]);
    let lines = json.lines();
    for _ in 0..2 {
        let document: Value = serde_json::from_str(&next(&lines)).expect("a document a line");
        assert_eq!(document["Response"]["NumberOfServers"], 2);
    }
}

#[test]
fn a_watch_outlives_the_exporter_and_needs_it_to_begin_with() {
    let server = Postgres::start(17);
    let mut exporter = watched(&server);
    let child = command(&exporter)
        .args(["-c", "pgexporter.conf", "targets", "-w=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut watch = Running(child.expect("it is built"));
    let lines = watch.lines();
    assert!(next(&lines).starts_with("SERVER"));
    let errors = BufReader::new(watch.0.stderr.take().expect("a pipe"));
    exporter.signal(rustix::process::Signal::TERM);
    exporter.wait_exit();
    let line = errors.lines().next().expect("a line").expect("text");
    assert!(line.contains("no exporter is running here"), "{line}");
    assert!(watch.0.try_wait().expect("it can be asked").is_none());

    let (status, out, err) = said(&cli(&exporter, &["status", "--watch"]));
    assert_eq!((status, out.as_str()), (3, ""));
    assert!(err.contains("no exporter is running here"), "{err}");
    let (status, _, err) = said(&cli(&exporter, &["status", "--watch=0"]));
    assert_eq!(status, 2, "{err}");
}

#[test]
fn a_terminal_is_redrawn_and_coloured_unless_it_should_not_be() {
    let server = Postgres::start(17);
    let exporter = watched(&server);
    let mut watch = on_terminal(&exporter, "status --watch=1", &[]);
    let mut watch = Running(
        watch
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is there"),
    );
    let lines = watch.lines();
    let mut redrawn = 0;
    let mut red = false;
    while redrawn < 2 {
        let line = next(&lines);
        redrawn += usize::from(line.contains("\x1b[H\x1b[2J") && line.contains("until Ctrl-C"));
        red |= line.contains("\x1b[31mnobody");
    }
    assert!(red);

    let coloured = shown(on_terminal(&exporter, "targets", &[]));
    assert!(coloured.contains("\x1b[1mSERVER\x1b[0m"), "{coloured:?}");
    assert!(coloured.contains("\x1b[32myes\x1b[0m"), "{coloured:?}");
    assert!(coloured.contains("\x1b[31mno\x1b[0m"), "{coloured:?}");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = shown(on_terminal(&exporter, "targets", &[plain]));
        assert!(text.contains("SERVER"), "{text:?}");
        assert!(!text.contains('\x1b'), "{plain:?}: {text:?}");
    }
    let (_, piped, _) = said(&cli(&exporter, &["targets"]));
    assert!(!piped.contains('\x1b'));
}

#[test]
fn a_long_answer_counts_its_seconds_on_a_terminal_and_nowhere_else() {
    let server = Postgres::start(17);
    let exporter = watched(&server);
    server.freeze();
    // The exporter waits for it, and so do we.
    let text = shown(on_terminal(&exporter, "scrape good", &[]));
    server.thaw();
    assert!(text.contains("\r\x1b[Kscrape: 0.5 s "), "{text:?}");
    assert!(text.contains(" s \r\x1b[K"), "it is gone after: {text:?}");
    eventually("it is scraped again", || {
        exporter.metrics();
        said(&cli(&exporter, &["targets"])).1.contains("  yes  ")
    });
    server.freeze();
    let (_, _, err) = said(&cli(&exporter, &["scrape", "good"]));
    server.thaw();
    assert!(err.contains("no answer in time"), "{err}");
    assert!(!err.contains("0.5 s") && !err.contains('\x1b'), "{err:?}");
}
