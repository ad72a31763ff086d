//! Servers that are not what they were taken for: they ask for the password in the clear, for less
//! than they asked for before, and write what steers a terminal.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;

/// What a server answers to a login, and what it is sent. Ends with the test.
struct FakeServer {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl FakeServer {
    /// Offers SCRAM, and wants so many rounds that a client would compute for an hour.
    fn of_rounds() -> Self {
        Self::start(message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
    }

    /// Speaks no TLS, answers each startup packet with `answer`, and remembers all that it is sent.
    fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().take(10_000) {
                let (answer, all) = (answer.clone(), Arc::clone(&all));
                thread::spawn(move || serve(stream.unwrap(), &answer, &all));
            }
        });
        Self { port, heard }
    }

    fn section(&self, name: &str, more: &str) -> String {
        let port = self.port;
        format!("[{name}]\nhost = 127.0.0.1\nport = {port}\nuser = alice\n{more}\n")
    }

    fn has_heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    }
}

fn serve(mut stream: TcpStream, answer: &[u8], all: &Mutex<Vec<u8>>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut head = [0; 8];
    loop {
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        // SSLRequest.
        if head[4..] == [4, 210, 22, 47] {
            if stream.write_all(b"N").is_err() {
                return;
            }
            continue;
        }
        let mut rest = vec![0; length.clamp(8, 10_000) - 8];
        if stream.read_exact(&mut rest).is_err() || stream.write_all(answer).is_err() {
            return;
        }
        break;
    }
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        // The client's first message in SCRAM: the server adds to its nonce.
        let text = String::from_utf8_lossy(&piece[..read]);
        if let Some((_, nonce)) = text.split_once(",r=") {
            let first = format!("\0\0\0\u{b}r={nonce}more,s=c2FsdA==,i=2147483647");
            if stream.write_all(&message(b'R', first.as_bytes())).is_err() {
                return;
            }
        }
        all.lock().unwrap().extend_from_slice(&piece[..read]);
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// AuthenticationCleartextPassword.
fn clear() -> Vec<u8> {
    message(b'R', &[0, 0, 0, 3])
}

#[test]
fn who_stands_between_is_not_given_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let md5 = [&[0, 0, 0, 5][..], b"salt"].concat();
    let (trying, plain, only_scram) = (
        FakeServer::start(clear()),
        FakeServer::start(clear()),
        FakeServer::start(message(b'R', &md5)),
    );
    // In one write with what a server says before it asks.
    let chatty = FakeServer::start([message(b'N', b"SNOTICE\0\0"), clear()].concat());
    let sections = [
        trying.section("trying", ""),
        plain.section("plain", "tls = off"),
        only_scram.section("only_scram", "require_auth = scram-sha-256"),
        chatty.section("chatty", ""),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    let reason = "authentication_failed";
    all_are_refused(
        &exporter,
        &[
            ("trying", reason, "certificate was not verified"),
            ("plain", reason, "certificate was not verified"),
            (
                "only_scram",
                reason,
                "require_auth takes scram-sha-256 alone",
            ),
            ("chatty", reason, "certificate was not verified"),
        ],
    );
    for server in [&trying, &plain, &only_scram, &chatty] {
        assert!(!server.has_heard(SECRET));
        assert!(!server.has_heard("md5"));
    }
}

/// Lets alice in by another way from now on, and ends her sessions.
fn ask_by(server: &Postgres, method: &str) {
    let path = server.data_dir().join("pg_hba.conf");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [kind @ ("host" | "hostssl"), all, "alice", address, _] => {
                    format!("{kind} {all} alice {address} {method}")
                }
                _ => line.to_owned(),
            },
        )
        .collect();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    server.reload();
    eventually("the file counts", || {
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_hba_file_rules \
             WHERE 'alice' = ANY (user_name) AND type <> 'local' AND auth_method = '{method}'"
        );
        server.value(&sql) == "t"
    });
    server
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice'");
}

/// Waits until `strict` is refused for asking for less than before.
#[track_caller]
fn refused_as_less(exporter: &Exporter) {
    let told = support::within(Duration::from_secs(30), || {
        let samples = exporter.metrics();
        let page = exporter.get("/").body;
        !is_active(&samples, "strict")
            && reasons(&samples, "strict").contains(&"authentication_failed".to_owned())
            && page.contains("has used scram-sha-256 before")
    });
    assert!(told, "{}", exporter.log());
}

#[test]
fn a_server_that_has_used_scram_is_not_let_off_with_less() {
    let folder = tempfile::tempdir().unwrap();
    let server = server("scram-sha-256");
    let sections = [
        section("strict", "127.0.0.1", &server, ""),
        section(
            "named",
            "127.0.0.1",
            &server,
            "require_auth = scram-sha-256, none, md5",
        ),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    all_log_in(&exporter, &["strict", "named"]);
    ask_by(&server, "trust");
    refused_as_less(&exporter);
    all_log_in(&exporter, &["named"]);

    server.execute(&format!(
        "SET password_encryption = md5; ALTER ROLE alice PASSWORD '{SECRET}'"
    ));
    ask_by(&server, "md5");
    all_log_in(&exporter, &["named"]);
    refused_as_less(&exporter);
    // A session that ends and comes again is no news.
    server
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice'");
    all_log_in(&exporter, &["named"]);
    let log = exporter.log();
    let weak = log
        .lines()
        .filter(|line| line.contains("md5, which is weak"));
    assert_eq!(weak.count(), 1, "{log}");

    server.execute(&format!(
        "SET password_encryption = 'scram-sha-256'; ALTER ROLE alice PASSWORD '{SECRET}'"
    ));
    ask_by(&server, "scram-sha-256");
    all_log_in(&exporter, &["strict", "named"]);
}

#[test]
fn a_server_does_not_keep_the_exporter_busy_with_rounds_of_scram() {
    let folder = tempfile::tempdir().unwrap();
    let (greedy, healthy) = (FakeServer::of_rounds(), server("scram-sha-256"));
    let sections = [
        greedy.section("greedy", ""),
        section("healthy", "127.0.0.1", &healthy, ""),
    ];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    all_are_refused(
        &exporter,
        &[("greedy", "authentication_failed", "SCRAM iterations")],
    );
    all_log_in(&exporter, &["healthy"]);
}

#[test]
fn a_list_that_is_wrong_is_told_with_what_is_allowed() {
    let refused = Exporter::builder()
        .section("[s]\nhost = 127.0.0.1\nport = 1\nuser = u\nrequire_auth = scram, hunter2\n")
        .try_start()
        .unwrap_err();
    assert!(
        refused.log.contains("require_auth: allowed are none"),
        "{}",
        refused.log
    );
    assert!(!refused.log.contains("hunter2"), "{}", refused.log);
}

/// An ErrorResponse of a login that is refused.
fn error(text: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C28P01\0M{text}\0H{text}\0\0");
    message(b'E', fields.as_bytes())
}

#[test]
fn what_a_server_writes_is_cut_and_steers_no_terminal() {
    let unsafe_characters = [
        '\u{1b}', '\u{9b}', '\u{7f}', '\u{202e}', '\u{2066}', '\u{200f}',
    ];
    let nasty = format!(
        "{}\r\nFATAL forged: line",
        unsafe_characters.iter().collect::<String>()
    );
    let (forging, long) = (
        FakeServer::start(error(&nasty)),
        FakeServer::start(error(&"é\u{9b}".repeat(5_000))),
    );
    let sections = [forging.section("forging", ""), long.section("long", "")];
    for format in ["text", "json"] {
        let exporter = sections
            .iter()
            .fold(Exporter::builder(), |builder, text| builder.section(text))
            .set(&format!("log_format = {format}"))
            .start();
        all_are_refused(
            &exporter,
            &[
                ("forging", "authentication_failed", "forged"),
                ("long", "authentication_failed", "…"),
            ],
        );
        let mut shown = vec![exporter.log(), exporter.get("/").body];
        for arguments in [
            &["status", "details"][..],
            &["-F", "json", "status", "details"],
            &["-F", "raw", "status", "details"],
            &["targets"],
            &["check"],
            &["scrape", "forging"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_pgexporter-cli"))
                .current_dir(exporter.folder())
                .args(["-c", "pgexporter.conf"])
                .args(arguments)
                .output()
                .unwrap();
            shown.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into());
        }
        for text in shown {
            let found = text.chars().find(|c| unsafe_characters.contains(c));
            assert_eq!(found, None, "{format}: {text}");
            assert!(
                !text.lines().any(|line| line.starts_with("FATAL forged")),
                "{text}"
            );
            // Message and hint, and what we say beside them.
            let longest = text.lines().map(str::len).max().unwrap_or(0);
            assert!(longest < 12_000, "{format}: a line of {longest} bytes");
        }
    }
}

/// A login that is let in, and what comes in the same packet.
fn let_in(more: &[&[u8]]) -> Vec<u8> {
    let parts = [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0017.2\0"),
        message(b'S', b"server_encoding\0UTF8\0"),
        message(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]),
        message(b'Z', b"I"),
    ];
    [parts.concat(), more.concat()].concat()
}

#[test]
fn what_a_server_sends_with_the_end_of_a_login_is_heard_or_refused() {
    let fields = b"SFATAL\0VFATAL\0C57P01\0Mwe are closed on mondays\0\0";
    let closing = FakeServer::start(let_in(&[&message(b'E', fields)]));
    // The answer to a query that nobody has sent yet.
    let answer = [message(b'C', b"SET\0"), message(b'Z', b"I")].concat();
    let hasty = FakeServer::start(let_in(&[&answer]));
    let exporter = Exporter::builder()
        .section(&closing.section("closing", ""))
        .section(&hasty.section("hasty", ""))
        .start();
    all_are_refused(
        &exporter,
        &[
            ("closing", "not_ready", "we are closed on mondays"),
            ("hasty", "unrequested_data", "answer without a request"),
        ],
    );
}
