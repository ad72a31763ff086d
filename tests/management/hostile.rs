//! Peers that mean no good, each kind against the real exporter: whatever they send, it goes on
//! answering, its memory stays bounded, and its configuration is what it was.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgexporter::management::wire::codec::pack;
use pgexporter::management::{Compression, Encryption};
use pgexporter::security::{Secret, Vault};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::Exporter;
use crate::{
    PATIENCE, assert_alive, document, eventually_logged, id_frame, json_frame, lonely, raw, socket,
};

/// What a crowd or a bomb may make the exporter's memory grow by, in bytes. A bomb below would take
/// ten times as much, 1,000 frames at their full length thirty times.
const GROWTH: u64 = 32 << 20;
/// The longest document of a frame.
const LONGEST: usize = 1 << 20;

/// Runs `attack`; then the exporter answers, is what it was, and has not taken much memory even
/// for a moment.
#[track_caller]
fn unharmed(exporter: &Exporter, attack: impl FnOnce()) {
    let configuration = || document(&raw(exporter, &id_frame(22, b"")))["Response"].clone();
    let (before, low) = (configuration(), peak(exporter));
    assert!(before.as_object().is_some_and(|all| all.len() > 1));
    attack();
    assert_alive(exporter);
    assert_eq!(configuration(), before);
    let grown = peak(exporter) - low;
    assert!(grown <= GROWTH, "it grew by {} MB", grown >> 20);
}

/// The most memory that it has had, in bytes.
fn peak(exporter: &Exporter) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Sends bytes; gives the error's number and its words.
#[track_caller]
fn refused(exporter: &Exporter, bytes: &[u8]) -> (u64, String) {
    let answer = document(&raw(exporter, bytes));
    assert_eq!(answer["Outcome"]["Status"], false, "{answer}");
    let message = answer["Response"]["Message"].as_str().unwrap_or_default();
    let error = answer["Outcome"]["Error"].as_u64();
    (error.unwrap_or_default(), message.to_owned())
}

fn json_document(command: u64, request: &str) -> Vec<u8> {
    format!(r#"{{"Header": {{"Command": {command}}}, "Request": {request}}}"#).into_bytes()
}

#[test]
fn a_change_that_is_torn_at_any_byte_changes_nothing() {
    let exporter = lonely().start();
    let change = br#"{"ConfigKey": "log_level", "ConfigValue": "debug"}"#;
    let text = String::from_utf8_lossy(change);
    let whole = json_document(10, &text);
    let vault = Vault::new(None);
    let packed = pack(&whole, Compression::Zstd, Encryption::None, &vault).unwrap();
    unharmed(&exporter, || {
        for frame in [
            id_frame(23, change),
            json_frame(0, 0, &whole),
            json_frame(2, 0, &packed),
        ] {
            assert_eq!(raw(&exporter, b""), b"");
            for end in 1..frame.len() {
                let (error, message) = refused(&exporter, &frame[..end]);
                let told = message.contains(&format!("ends after {end} bytes"));
                assert!(error == 1 && told, "{end}: {message}");
            }
        }
        // Torn within, and framed as if it were whole.
        for end in 0..whole.len() {
            assert_eq!(refused(&exporter, &json_frame(0, 0, &whole[..end])).0, 1);
        }
    });
}

#[test]
fn a_frame_that_is_too_long_is_refused_and_one_at_the_limit_is_read() {
    let exporter = lonely().start();
    unharmed(&exporter, || {
        for head in [
            &[16, 0, 16, 0, 1][..],
            &[255, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 16, 0, 1],
            &[4, 3, 0x7f, 0xff, 0xff, 0xff],
        ] {
            let (error, message) = refused(&exporter, head);
            assert!(
                error == 1 && message.contains("the limit is 1048576"),
                "{message}"
            );
            // The same when its bytes come as well.
            let frame = [head, &[b' '; 4096]].concat();
            assert_eq!(refused(&exporter, &frame).0, 1);
        }
        let mut longest = vec![b' '; LONGEST];
        longest[..2].copy_from_slice(b"{}");
        let answer = document(&raw(&exporter, &id_frame(16, &longest)));
        assert_eq!(answer["Outcome"]["Status"], true, "{answer}");
    });
}

/// What is worth 700 MB and more when it is unpacked, and fits into a frame.
fn bomb(compression: Compression) -> Vec<u8> {
    // A number, so that the JSON would be good to its end.
    let plain = vec![b'1'; LONGEST];
    let block = match compression {
        // The longest match there is: 255 bytes of a length for each byte.
        Compression::Lz4 => {
            let mut block = vec![0x1f, b'1', 1, 0];
            block.resize(780_000, 255);
            block.extend([0, 0x50]);
            block.extend(b"11111");
            return STANDARD.encode(block).into_bytes();
        }
        other => STANDARD
            .decode(pack(&plain, other, Encryption::None, &Vault::new(None)).unwrap())
            .unwrap(),
    };
    // Members and frames may follow each other.
    let most = (LONGEST / 4 * 3) / block.len();
    STANDARD.encode(block.repeat(most)).into_bytes()
}

#[test]
fn bombs_of_all_four_compressions_take_no_memory() {
    let exporter = lonely().start();
    unharmed(&exporter, || {
        for compression in &Compression::ALL[1..] {
            let bomb = bomb(*compression);
            assert!(bomb.len() <= LONGEST, "{compression:?}: {}", bomb.len());
            let frame = json_frame(compression.byte(), 0, &bomb);
            // Four at once, as more cores than there are would take.
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let (error, message) = refused(&exporter, &frame);
                        let told = message.contains("unpacks to more than 1048576 bytes");
                        assert!(error == 1 && told, "{compression:?}: {message}");
                    });
                }
            });
        }
    });
}

#[test]
fn what_was_encrypted_with_another_key_or_altered_is_refused() {
    let exporter = lonely().start();
    let create = |home| {
        let vault = Vault::new(Some(home));
        let password = Secret::new("Sup3r-s3cret master!".to_owned());
        vault.create_key(&password).unwrap();
        vault
    };
    let vault = create(exporter.folder());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = create(elsewhere.path());
    let ping = json_document(5, "{}");
    unharmed(&exporter, || {
        for (byte, encryption) in (0..).zip(Encryption::ALL).skip(1) {
            let packed = |vault| pack(&ping, Compression::Gzip, encryption, vault).unwrap();
            let good = packed(&vault);
            let answer = raw(&exporter, &json_frame(1, byte, &good));
            assert_eq!(answer[..2], [1, byte], "it is answered in the same way");
            let bytes = STANDARD.decode(&good).unwrap();
            // The salt, the iv, what is encrypted, and the tag.
            for at in [0, 16, 28, bytes.len() - 1] {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                let altered = STANDARD.encode(altered).into_bytes();
                let (error, message) = refused(&exporter, &json_frame(1, byte, &altered));
                assert!(
                    error == 1 && message.contains("cannot be decrypted"),
                    "{at}: {message}"
                );
            }
            for end in [0, 1, 43] {
                let short = STANDARD.encode(&bytes[..end]).into_bytes();
                assert_eq!(refused(&exporter, &json_frame(1, byte, &short)).0, 1);
            }
            assert_eq!(
                refused(&exporter, &json_frame(1, byte, &packed(&other))).0,
                1
            );
        }
    });
    eventually_logged(&exporter, &["WARN", "cannot be decrypted"]);
}

#[test]
fn documents_that_nobody_should_send_are_refused() {
    let exporter = lonely().start();
    let deep = |open: &str, close: &str, times: usize| {
        [open.repeat(times), close.repeat(times)]
            .concat()
            .into_bytes()
    };
    let many_keys = format!(
        "{{{}}}",
        (0..60_000)
            .map(|n| format!("\"k{n}\":1"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let within = json_document(
        9,
        &format!("{{\"x\": {}1{}}}", "[".repeat(500), "]".repeat(500)),
    );
    unharmed(&exporter, || {
        for bad in [
            deep("[", "]", LONGEST / 2),
            deep("{\"a\":", "}", 100_000),
            vec![b'['; LONGEST],
            within,
            b"{\"Header\": \xc3\x28}".to_vec(),
            vec![0xff; 64],
            vec![0; 64],
            b"{\"Header\": {\"Command\": 1e400}, \"Request\": {}}".to_vec(),
            b"\"\\ud800\"".to_vec(),
        ] {
            assert_eq!(refused(&exporter, &json_frame(0, 0, &bad)).0, 1);
            assert_eq!(refused(&exporter, &id_frame(22, &bad)).0, 1);
        }
        // Much, and nothing wrong with it.
        let answer = document(&raw(&exporter, &id_frame(16, many_keys.as_bytes())));
        assert_eq!(answer["Outcome"]["Status"], true);
        // A value that is too long to be one.
        let value = "9".repeat(900_000);
        let set = format!(r#"{{"ConfigKey": "metrics_cache_max_age", "ConfigValue": "{value}"}}"#);
        assert_eq!(refused(&exporter, &id_frame(23, set.as_bytes())).0, 1109);
    });
}

#[test]
fn every_number_that_is_no_command_is_refused_as_one() {
    let exporter = lonely().start();
    let known =
        |wanted: u8| pgexporter::management::AdminVerb::all().any(|verb| verb.id() == wanted);
    unharmed(&exporter, || {
        for id in (16..=255).filter(|id| !known(*id)) {
            let (error, message) = refused(&exporter, &id_frame(id, b""));
            assert!(
                error == 2 && message.contains(&format!("id {id}")),
                "{message}"
            );
        }
        for number in ["0", "1", "999", "18446744073709551615"] {
            let text = format!(r#"{{"Header": {{"Command": {number}}}, "Request": {{}}}}"#);
            let (error, message) = refused(&exporter, &json_frame(0, 0, text.as_bytes()));
            assert!(error == 2 && message.contains(number), "{message}");
        }
        for number in ["-1", "5.5", "\"5\"", "null", "18446744073709551616"] {
            let text = format!(r#"{{"Header": {{"Command": {number}}}, "Request": {{}}}}"#);
            assert_eq!(refused(&exporter, &json_frame(0, 0, text.as_bytes())).0, 1);
        }
    });
}

#[test]
fn who_falls_silent_is_told_so_and_dropped() {
    let exporter = lonely().set("authentication_timeout = 1s").start();
    unharmed(&exporter, || {
        let begin = Instant::now();
        let silent: Vec<UnixStream> = [&b""[..], &[16], &[16, 0, 0, 0, 9, b'{'], &[0, 0, 0, 0]]
            .into_iter()
            .map(|bytes| {
                let mut stream = UnixStream::connect(socket(&exporter)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
        for mut stream in silent {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let message = document(&answer)["Response"]["Message"].clone();
            let told = message
                .as_str()
                .is_some_and(|text| text.contains("within 1s"));
            assert!(told, "{message}");
        }
        assert!(begin.elapsed() >= Duration::from_secs(1));
        // One byte at a time is no way to stay.
        let mut stream = UnixStream::connect(socket(&exporter)).unwrap();
        let begin = Instant::now();
        let frame = id_frame(22, &[b' '; 4096]);
        let sent = frame.iter().take_while(|byte| {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(&[**byte]).is_ok()
        });
        assert!(sent.count() < frame.len());
        assert!(begin.elapsed() < PATIENCE);
    });
}

#[test]
fn a_thousand_connections_at_once_keep_nobody_out() {
    raise_files();
    let exporter = lonely()
        .set("management = {management}")
        .set("authentication_timeout = 50s")
        // So that all of them come to the exporter, and none waits for the system to try again.
        .set("backlog = 1024")
        .file("admins/anna", "correct horse battery\n")
        .argument("-A")
        .argument("{dir}/admins")
        .start();
    unharmed(&exporter, || {
        // Each announces all that a frame may hold, and most of it never comes.
        let local: Vec<UnixStream> = (0..1_000)
            .map(|_| {
                let mut stream = UnixStream::connect(socket(&exporter)).unwrap();
                // Who was dropped already need not take it.
                let _ = stream.write_all(&[0, 0, 0, 16, 0, 0, b'{']);
                stream
            })
            .collect();
        assert_alive(&exporter);
        let place = SocketAddr::from(([127, 0, 0, 1], exporter.port("management")));
        let remote: Vec<Socket> = (0..1_000)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                // Nobody waits for the one before.
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&place.into());
                socket
            })
            .collect();
        assert_eq!(exporter.get("/metrics").status, 200);
        let ping = || {
            let mut command = crate::command(&exporter);
            command.env("PGPASSWORD", "correct horse battery");
            command.args(["-h", "127.0.0.1", "-U", "anna", "ping", "-p"]);
            command.arg(place.port().to_string());
            command.output().unwrap().status.success()
        };
        assert!(crate::support::within(PATIENCE, ping), "{}", exporter.log());
        drop((local, remote));
    });
    eventually_logged(
        &exporter,
        &["the client sent no request, and others are waiting"],
    );
    eventually_logged(
        &exporter,
        &["the client did not log in, and others are waiting"],
    );
}

/// As many open files for this process as it may have.
fn raise_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum.map_or(Some(65_536), |most| Some(most.min(65_536)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[test]
fn who_reads_none_of_his_answer_is_dropped_and_holds_nobody_up() {
    const PEERS: usize = 30;
    let mut builder = lonely().set("blocking_timeout = 1s");
    // So that an answer does not fit into what the system keeps for a socket.
    for number in 0..1_000 {
        builder = builder.section(&format!(
            "[server_{number}]\nhost = 127.0.0.1\nport = 1\nuser = nobody\n"
        ));
    }
    let exporter = builder.start();
    let details = || document(&raw(&exporter, &id_frame(19, b"")));
    crate::eventually("all servers are told of", || {
        details()["Response"]["NumberOfServers"] == 1_001
    });
    assert!(details().to_string().len() > 256 << 10);
    let stuck = "the client does not read the answer";
    unharmed(&exporter, || {
        let peers: Vec<UnixStream> = (0..PEERS)
            .map(|_| {
                let mut stream = UnixStream::connect(socket(&exporter)).unwrap();
                stream.write_all(&id_frame(19, b"")).unwrap();
                stream
            })
            .collect();
        let begin = Instant::now();
        assert_alive(&exporter);
        assert!(begin.elapsed() < Duration::from_secs(10));
        crate::eventually("all of them are dropped", || {
            exporter.log().matches(stuck).count() == PEERS
        });
        drop(peers);
    });
    eventually_logged(&exporter, &["WARN", "could not be sent", stuck]);
}

#[test]
fn what_comes_after_a_request_is_not_read_as_another() {
    let exporter = lonely().start();
    unharmed(&exporter, || {
        let set = id_frame(23, br#"{"ConfigKey": "log_level", "ConfigValue": "debug"}"#);
        let answer = raw(&exporter, &[id_frame(16, b""), set].concat());
        let answer: Value = document(&answer);
        assert_eq!(answer["Header"]["Command"], 5);
    });
}
