//! The management port: SCRAM, TLS, and who gets in.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;

use crate::support::certificates::Authority;
use crate::support::exporter::ExporterBuilder;
use crate::support::{Exporter, downloads, eventually, within};
use crate::{PATIENCE, assert_alive, command, eventually_logged, lonely, said};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// An exporter with the management port, and an admin `anna` in a folder as a mounted Secret is.
pub(crate) fn remote() -> ExporterBuilder {
    lonely()
        .set("management = {management}")
        .file("admins/anna", &format!("{PASSWORD}\n"))
        .argument("-A")
        .argument("{dir}/admins")
}

/// The same with TLS, by an authority of the test.
fn secured(authority: &Authority, names: &[&str]) -> ExporterBuilder {
    let identity = authority.server(names);
    remote()
        .set("tls = on")
        .set("tls_cert_file = {dir}/tls.crt")
        .set("tls_key_file = {dir}/tls.key")
        .file("tls.crt", &identity.certificate)
        .file("tls.key", &identity.key)
}

/// The command line, over TCP as `anna`.
pub(crate) fn over_tcp(exporter: &Exporter, password: &str, arguments: &[&str]) -> Output {
    as_user(exporter, "anna", password, arguments)
}

fn as_user(exporter: &Exporter, user: &str, password: &str, arguments: &[&str]) -> Output {
    let port = exporter.port("management").to_string();
    command(exporter)
        .env("PGPASSWORD", password)
        .args(["-h", "127.0.0.1", "-p", &port, "-U", user])
        .args(arguments)
        .output()
        .expect("it is built")
}

#[test]
fn an_admin_gets_in_with_the_password_and_nobody_else() {
    let exporter = remote().start();
    let (status, out, err) = said(&over_tcp(&exporter, PASSWORD, &["ping"]));
    assert_eq!(status, 0, "{out}{err}{}", exporter.log());
    let (status, out, _) = said(&over_tcp(&exporter, PASSWORD, &["-F", "json", "status"]));
    assert_eq!(status, 0);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["Response"]["NumberOfServers"], 1);
    eventually_logged(&exporter, &["logged in", "anna"]);

    // Packed as well, as the C program would.
    for method in ["gz", "zstd", "lz4", "bz2"] {
        let packed = over_tcp(&exporter, PASSWORD, &["-C", method, "ping"]);
        let (status, _, err) = said(&packed);
        assert_eq!(status, 0, "{method}: {err}");
    }

    let (status, _, wrong) = said(&over_tcp(&exporter, "hunter2 of anna", &["ping"]));
    assert_eq!(status, 3);
    assert!(
        wrong.contains("password authentication failed for user"),
        "{wrong}"
    );
    let (status, _, unknown) = said(&as_user(&exporter, "emma", "hunter2 of emma", &["ping"]));
    assert_eq!((status, unknown), (3, wrong.replace("anna", "emma")));

    let (status, _, err) = said(&over_tcp(&exporter, PASSWORD, &["conf", "reload"]));
    assert_eq!(status, 1);
    assert!(err.contains("only available on the local socket"), "{err}");
    let changed = over_tcp(&exporter, PASSWORD, &["conf", "set", "log_level", "debug"]);
    assert_eq!(said(&changed).0, 0);
    let log = exporter.log();
    assert!(!log.contains("hunter2") && !log.contains("horse"), "{log}");
}

#[test]
fn what_a_login_lacks_is_said() {
    let exporter = remote().start();
    let port = exporter.port("management").to_string();
    let run = |arguments: &[&str]| said(&command(&exporter).args(arguments).output().unwrap());
    let (status, _, err) = run(&["-h", "127.0.0.1", "-U", "anna", "ping"]);
    assert!(status == 2 && err.contains("-p PORT"), "{err}");
    let (status, _, err) = run(&["-p", &port, "ping"]);
    assert!(status == 2 && err.contains("-U NAME"), "{err}");
    let (status, _, err) = run(&["-h", "127.0.0.1", "-p", "1", "-U", "a", "-P", "b", "ping"]);
    assert!(status == 3 && err.contains("127.0.0.1:1"), "{err}");
    // What answers is something else.
    let metrics = exporter.port("metrics").to_string();
    let (status, _, err) = run(&[
        "-h",
        "127.0.0.1",
        "-p",
        &metrics,
        "-U",
        "a",
        "-P",
        "b",
        "ping",
    ]);
    assert!(status == 3 && !err.is_empty(), "{err}");
}

#[test]
fn a_renewed_secret_counts_at_once_and_a_missing_file_is_told() {
    let exporter = remote().start();
    let file = exporter.folder().join("admins/anna");
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 0);
    fs::write(&file, "another one").unwrap();
    eventually("the new password counts", || {
        said(&over_tcp(&exporter, "another one", &["ping"])).0 == 0
    });
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 3);
    fs::remove_file(&file).unwrap();
    eventually("nobody is left", || {
        said(&over_tcp(&exporter, "another one", &["ping"])).0 == 3
    });

    let refused = lonely()
        .set("management = {management}")
        .argument("-A")
        .argument("{dir}/none.conf")
        .try_start()
        .unwrap_err();
    assert!(refused.log.contains("none.conf"), "{}", refused.log);
    // Without any, the exporter runs, and says what is missing.
    let lonely = lonely().set("management = {management}").start();
    eventually_logged(&lonely, &["there are no admins", "pgexporter-admin"]);
    assert_eq!(said(&over_tcp(&lonely, PASSWORD, &["ping"])).0, 3);
}

#[test]
fn tls_is_verified_where_there_is_an_authority_and_required_where_it_says_so() {
    let authority = Authority::new("management");
    let exporter = secured(&authority, &["127.0.0.1"])
        .set("management_tls = require")
        .start();
    let home = exporter.folder().join(".pgexporter");
    fs::create_dir_all(&home).unwrap();
    // Without an authority it is spoken, and bound to the password.
    assert_eq!(
        said(&over_tcp(&exporter, PASSWORD, &["ping"])).0,
        0,
        "{}",
        exporter.log()
    );
    fs::write(home.join("root.crt"), authority.pem()).unwrap();
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 0);
    fs::write(home.join("root.crt"), Authority::new("other").pem()).unwrap();
    let (status, _, err) = said(&over_tcp(&exporter, PASSWORD, &["ping"]));
    assert!(status == 3 && err.contains("certificate"), "{err}");

    let answer = bytes_for(&exporter, &startup("anna"));
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.contains("28000") && text.contains("only accepts TLS"),
        "{text}"
    );

    // Who wants TLS is not served without.
    let open = remote().start();
    fs::create_dir_all(open.folder().join(".pgexporter")).unwrap();
    fs::write(open.folder().join(".pgexporter/root.crt"), authority.pem()).unwrap();
    let (status, _, err) = said(&over_tcp(&open, PASSWORD, &["ping"]));
    assert!(status == 3 && err.contains("does not use TLS"), "{err}");
    let other = secured(&authority, &["exporter.example.com"]).start();
    fs::create_dir_all(other.folder().join(".pgexporter")).unwrap();
    fs::write(other.folder().join(".pgexporter/root.crt"), authority.pem()).unwrap();
    let (status, _, err) = said(&over_tcp(&other, PASSWORD, &["ping"]));
    assert!(status == 3 && err.contains("exporter.example.com"), "{err}");

    let refused = remote()
        .set("management_tls = require")
        .try_start()
        .unwrap_err();
    assert!(refused.log.contains("set tls = on"), "{}", refused.log);
}

/// psql with a connection string; what it said.
fn psql(connection: &str, password: &str) -> String {
    let tool = downloads::psql().unwrap();
    let mut command = Command::new(&tool.program);
    if let Some(libraries) = &tool.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let output = command
        .args([connection, "-c", "SELECT 1"])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "30")
        .output()
        .unwrap();
    said(&output).2
}

#[test]
fn psql_gets_through_the_login_and_a_capture_reads_as_postgresql() {
    let exporter = remote().set("authentication_timeout = 2s").start();
    let recorder = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = recorder.local_addr().unwrap().port();
    let far = exporter.port("management");
    let (sender, captured) = mpsc::channel();
    thread::spawn(move || {
        let (client, _) = recorder.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", far)).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut server, mut client) = (server, client);
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            all.extend_from_slice(&bytes[..count]);
            let _ = client.write_all(&bytes[..count]);
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
        sender.send(all).unwrap();
    });
    let said_by_psql = psql(
        &format!(
            "host=127.0.0.1 port={near} user=anna dbname=admin sslmode=disable gssencmode=disable"
        ),
        PASSWORD,
    );
    let all = captured.recv_timeout(PATIENCE).unwrap();
    eventually_logged(&exporter, &["logged in", "anna"]);
    assert!(!said_by_psql.contains("authentication"), "{said_by_psql}");
    let mut all = BytesMut::from(&all[..]);
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"ok") {
        kinds.push(
            match Message::parse(&mut all).unwrap().expect("a whole message") {
                Message::AuthenticationSasl(_) => "sasl",
                Message::AuthenticationSaslContinue(_) => "continue",
                Message::AuthenticationSaslFinal(_) => "final",
                Message::AuthenticationOk => "ok",
                _ => panic!("another message after {kinds:?}"),
            },
        );
    }
    assert_eq!(kinds, ["sasl", "continue", "final", "ok"]);

    let wrong = psql(
        &format!("host=127.0.0.1 port={far} user=anna dbname=admin"),
        "wrong",
    );
    assert!(
        wrong.contains("password authentication failed for user \"anna\""),
        "{wrong}"
    );
}

#[test]
fn psql_binds_the_channel_over_tls() {
    let authority = Authority::new("management");
    let exporter = secured(&authority, &["127.0.0.1"])
        .set("authentication_timeout = 2s")
        .start();
    let root = exporter.folder().join("root.crt");
    fs::write(&root, authority.pem()).unwrap();
    let connection = format!(
        "host=127.0.0.1 port={} user=anna dbname=admin sslmode=verify-full sslrootcert={} \
         channel_binding=require",
        exporter.port("management"),
        root.display()
    );
    let said_by_psql = psql(&connection, PASSWORD);
    eventually_logged(&exporter, &["logged in", "anna"]);
    assert!(!said_by_psql.contains("channel binding"), "{said_by_psql}");
    let wrong = psql(&connection, "wrong");
    assert!(wrong.contains("password authentication failed"), "{wrong}");
}

/// A startup packet.
fn startup(user: &str) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let parameters = [("user", user), ("database", "admin")];
    postgres_protocol::message::frontend::startup_message(parameters, &mut bytes).unwrap();
    bytes.to_vec()
}

/// Sends bytes to the port, says that no more come, and gives all that comes back.
fn bytes_for(exporter: &Exporter, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", exporter.port("management"))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    // One that closes with our bytes unread resets the connection.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn bad_bytes_before_the_login_end_their_connection_alone() {
    let exporter = remote().set("authentication_timeout = 1s").start();
    let good = startup("anna");
    for end in 0..good.len() {
        bytes_for(&exporter, &good[..end]);
    }
    let bad: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0, 0, 0, 3, 0, 3, 0, 0],
        &[0xff; 64],
        &[0, 0, 0x27, 0x10, 0, 3, 0, 0],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0],
        &[0, 0, 0, 8, 0, 2, 0, 0],
        &[16, 0, 0, 0, 0],
    ];
    for bytes in bad {
        let answer = bytes_for(&exporter, bytes);
        assert!(answer.is_empty() || answer[0] == b'E', "{answer:?}");
    }
    // A message that is no part of a login, and one that is too long.
    for tail in [
        &b"Q\0\0\0\x0dSELECT 1\0"[..],
        b"p\0\x10\0\0",
        b"p\0\0\0\x04",
    ] {
        let answer = bytes_for(&exporter, &[&good[..], tail].concat());
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("08P01"), "{text}");
    }
    // Who says nothing is dropped.
    let mut silent = TcpStream::connect(("127.0.0.1", exporter.port("management"))).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&b'E'));
    eventually_logged(
        &exporter,
        &["login refused", "the client did not log in within"],
    );
    assert_alive(&exporter);
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 0);
}

#[test]
fn a_crowd_that_does_not_log_in_keeps_nobody_out() {
    let exporter = remote().set("authentication_timeout = 50s").start();
    let place = ("127.0.0.1", exporter.port("management"));
    let crowd: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(place).unwrap())
        .collect();
    let in_time = within(Duration::from_secs(30), || {
        said(&over_tcp(&exporter, PASSWORD, &["ping"])).0 == 0
    });
    assert!(in_time, "{}", exporter.log());
    eventually_logged(
        &exporter,
        &["the client did not log in, and others are waiting"],
    );
    drop(crowd);
}

#[test]
fn whoever_guesses_waits_longer_each_time_until_a_password_is_right() {
    let exporter = remote().start();
    for _ in 0..6 {
        assert_eq!(said(&over_tcp(&exporter, "guess", &["ping"])).0, 3);
    }
    let begin = Instant::now();
    assert_eq!(said(&over_tcp(&exporter, "guess", &["ping"])).0, 3);
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    // The Unix socket is none of it.
    let begin = Instant::now();
    assert_alive(&exporter);
    assert!(begin.elapsed() < Duration::from_secs(2));
    // The right password is let in, late, and forgives.
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 0);
    let begin = Instant::now();
    assert_eq!(said(&over_tcp(&exporter, PASSWORD, &["ping"])).0, 0);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}
