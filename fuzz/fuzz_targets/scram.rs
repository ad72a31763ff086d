//! The messages of a SCRAM exchange, as somebody sends them who knows the password, or does not.
//!
//! A line for the mechanism, with a `+` before it where the connection has a channel binding; the
//! client's first message; its last. `{nonce}` there stands for the nonce that the server gave, and
//! `{proof}` for the right proof. Without the right proof nobody may get in.
#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use pgexporter::management::auth::scram::{ScramError, ScramOffer};
use pgexporter::security::{SCRAM_KEY, ScramVerifier, Secret, hmac};
use sha2::{Digest, Sha256};

const PASSWORD: &str = "pencil";
const SALT: &[u8] = b"sixteen bytes of";
/// What the proof is made with takes so many rounds; the fewer the faster.
const ROUNDS: u32 = 1;

static VERIFIER: LazyLock<ScramVerifier> =
    LazyLock::new(|| ScramVerifier::new(&Secret::new(PASSWORD.to_owned()), SALT.to_vec(), ROUNDS));

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (mechanism, first, last) = (line(), line(), line());
    let Ok(mechanism) = std::str::from_utf8(mechanism) else {
        return;
    };
    let (mechanism, binding) = match mechanism.strip_prefix('+') {
        Some(mechanism) => (mechanism, Some(Arc::from(&b"a hash"[..]))),
        None => (mechanism, None),
    };
    let offer = ScramOffer { binding };
    let begun = offer.begin_exchange(mechanism, first, VERIFIER.clone(), "the+servers+nonce");
    let Ok((exchange, answer)) = begun else {
        return;
    };
    let nonce = answer
        .strip_prefix("r=")
        .and_then(|rest| rest.split(',').next())
        .expect("a nonce");
    assert!(nonce.ends_with("the+servers+nonce") && nonce.len() > "the+servers+nonce".len());

    // Text throughout, or it ends here.
    let Ok(last) = std::str::from_utf8(last) else {
        assert!(matches!(
            exchange.finish(last),
            Err(ScramError::Malformed(_))
        ));
        return;
    };
    let last = last.replace("{nonce}", nonce);
    let first = std::str::from_utf8(first).expect("it was taken");
    let bare = first.splitn(3, ',').nth(2).expect("it was taken");
    let without = last.rsplit_once(",p=").map_or("", |(without, _)| without);
    let right = STANDARD.encode(proof(&format!("{bare},{answer},{without}")));
    let last = last.replace("{proof}", &right);
    if exchange.finish(last.as_bytes()).is_ok() {
        assert!(last.ends_with(&right), "it got in without the proof");
        assert!(without.contains(nonce), "it got in without the nonce");
    }
});

/// ClientProof (RFC 5802, section 3).
fn proof(message: &str) -> [u8; SCRAM_KEY] {
    // Hi with one round.
    let salted = hmac(PASSWORD.as_bytes(), &[SALT, &1_u32.to_be_bytes()]);
    let client = hmac(&salted, &[b"Client Key"]);
    let stored: [u8; SCRAM_KEY] = Sha256::digest(client).into();
    let signature = hmac(&stored, &[message.as_bytes()]);
    std::array::from_fn(|at| client[at] ^ signature[at])
}
