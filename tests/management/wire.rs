//! Bytes on the Unix socket, as the C program's client sends them and as nobody should.

use crate::{assert_alive, document, eventually_logged, id_frame, json_frame, lonely, raw};

fn header(command: u64, request: &str) -> Vec<u8> {
    format!(
        "{{\"Header\": {{\"Command\": {command}, \"ClientVersion\": \"0.9.0\", \"Output\": 0, \
         \"Timestamp\": \"20260102030405\", \"Compression\": 0, \"Encryption\": 0}}, \
         \"Request\": {request}}}"
    )
    .into_bytes()
}

#[test]
fn both_framings_are_answered_in_their_own_way() {
    let exporter = lonely().start();
    for (id, number) in [(16, 5), (18, 3), (19, 4), (21, 8), (22, 9)] {
        let answer = raw(&exporter, &id_frame(id, b""));
        assert_eq!(answer[0], id);
        let by_id = document(&answer);
        let answer = raw(&exporter, &json_frame(0, 0, &header(number, "{}")));
        assert_eq!(answer[..2], [0, 0]);
        let by_number = document(&answer);
        assert_eq!(
            by_id["Response"]
                .as_object()
                .map(|o| o.keys().cloned().collect::<Vec<_>>()),
            by_number["Response"]
                .as_object()
                .map(|o| o.keys().cloned().collect::<Vec<_>>()),
            "{id}"
        );
        assert_eq!(by_number["Header"]["Timestamp"], "20260102030405");
        assert_eq!(by_number["Outcome"]["Status"], true, "{by_number}");
    }
    let set = header(10, r#"{"ConfigKey": "log_level", "ConfigValue": "debug"}"#);
    let answer = document(&raw(&exporter, &json_frame(0, 0, &set)));
    assert_eq!(answer["Response"]["new_value"], "debug");
}

#[test]
fn what_is_wrong_gets_an_answer_and_one_line_at_warn() {
    let exporter = lonely().start();
    let long = [16, 0, 16, 0, 1];
    for (bytes, error, part) in [
        (&[7][..], 1, "first byte is 7"),
        (&[0, 9], 1, "encryption 9"),
        (&long, 1, "1048577 bytes"),
        (&[16, 0, 0], 1, "ends after 3 bytes"),
        (&id_frame(16, b"{"), 1, "not valid JSON"),
        (&id_frame(22, b"\xff\xff"), 1, "not UTF-8"),
        (&id_frame(99, b""), 2, "id 99"),
        (&json_frame(0, 0, b"hello"), 1, "not valid JSON"),
        (&json_frame(0, 0, &header(1, "{}")), 2, "no command 1"),
        (&json_frame(0, 0, &header(10, "{}")), 1102, "ConfigKey"),
        (&json_frame(1, 0, b"!!"), 1, "not base64"),
        (&json_frame(1, 0, b"AAAA"), 1, "not gzip"),
        (&json_frame(0, 1, b"AAAA"), 1, "master key"),
    ] {
        let answer = document(&raw(&exporter, bytes));
        assert_eq!(answer["Outcome"]["Status"], false, "{bytes:?}");
        assert_eq!(answer["Outcome"]["Error"], error, "{bytes:?}: {answer}");
        let message = answer["Response"]["Message"].as_str().unwrap();
        assert!(message.contains(part), "{part}: {message}");
        eventually_logged(&exporter, &["WARN", part]);
    }
    assert_alive(&exporter);
}
