//! What comes on the management port before the SCRAM exchange: packets with a length, then
//! messages with a kind and a length. What is answered reads as PostgreSQL's protocol.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgexporter::management::wire::startup::{
    StartupPacket, fatal, message_length, negotiate, packet_length, sasl, sasl_initial, startup,
};
use postgres_protocol::message::backend::Message;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let user = loop {
        let Some((head, after)) = rest.split_first_chunk::<4>() else {
            return;
        };
        let length = match packet_length(*head) {
            Ok(length) => length,
            Err(error) => return refuse(&error.to_string()),
        };
        assert!(length <= 10_000);
        let Some((body, after)) = after.split_at_checked(length) else {
            return;
        };
        rest = after;
        match startup(body) {
            Ok(StartupPacket::Tls | StartupPacket::Gss) => {}
            Ok(StartupPacket::Cancel) => return,
            Ok(StartupPacket::Login { user, unknown }) => {
                assert!(!user.is_empty() && !user.contains('\0'));
                if let Some(unknown) = unknown {
                    one_message(&negotiate(&unknown), b'v');
                }
                one_message(&sasl(&["SCRAM-SHA-256"]), b'R');
                break user;
            }
            Err(error) => return refuse(&error.to_string()),
        }
    };
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = match message_length(*head) {
            Ok(length) => length,
            Err(error) => return refuse(&error.to_string()),
        };
        assert!(length <= 8 * 1024);
        let Some((body, after)) = after.split_at_checked(length) else {
            return;
        };
        rest = after;
        if let Ok((mechanism, message)) = sasl_initial(body) {
            assert!(mechanism.len() + message.len() < body.len());
        }
    }
    refuse(&format!(
        "password authentication failed for user \"{user}\""
    ));
});

fn refuse(text: &str) {
    one_message(&fatal("08P01", text), b'E');
}

/// One whole message of that kind, and no byte more.
fn one_message(bytes: &[u8], kind: u8) {
    assert_eq!(bytes[0], kind);
    let length = u32::from_be_bytes(bytes[1..5].try_into().expect("four bytes"));
    assert_eq!(length as usize + 1, bytes.len());
    // The crate does not know NegotiateProtocolVersion.
    if kind != b'v' {
        let mut inbox = BytesMut::from(bytes);
        let message = Message::parse(&mut inbox).expect("it is PostgreSQL's");
        assert!(message.is_some() && inbox.is_empty());
    }
}
