//! A request in the JSON framing. A mutation seldom survives base64 and the tag of AES-GCM, so what
//! follows the head is also taken as what stands below these: as what was compressed.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use pgexporter::management::wire::codec::{
    Compression, Encryption, LONGEST, pack, unpack, unpack_answer,
};
use pgexporter::management::wire::frame::{Framing, head};
use pgexporter_fuzz::{VAULT, dispatch};

/// An answer that is read here may become so long.
const ANSWER: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(head)) = head(bytes) else { return };
    let Framing::Json(compression, encryption) = head.framing else {
        return;
    };
    let rest = &bytes[head.size..];
    if let Some(document) = rest.get(..head.length) {
        take(compression, encryption, document);
    }
    let sealed = match encryption.key_size() {
        Some(size) => VAULT.key().and_then(|key| key.encrypt(rest, size)),
        None => Ok(rest.to_vec()),
    };
    let text = STANDARD.encode(sealed.expect("it can be encrypted"));
    take(compression, encryption, text.as_bytes());
});

fn take(compression: Compression, encryption: Encryption, document: &[u8]) {
    if let Ok(answer) = unpack_answer(document, compression, encryption, &VAULT, ANSWER)
        && (compression, encryption) != (Compression::None, Encryption::None)
    {
        assert!(answer.len() <= ANSWER);
    }
    let Ok(plain) = unpack(document, compression, encryption, &VAULT) else {
        return;
    };
    assert!(plain.len() <= LONGEST.max(document.len()));
    dispatch(Framing::Json(compression, encryption), &plain);
    let packed = pack(&plain, compression, encryption, &VAULT).expect("it can be packed");
    let again = unpack_answer(&packed, compression, encryption, &VAULT, LONGEST);
    assert_eq!(again.expect("it was packed here"), plain);
}
