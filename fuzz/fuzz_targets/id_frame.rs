//! A request in the id framing, or in whatever framing its first byte says: the head is the same
//! however it is torn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgexporter::management::wire::codec::LONGEST;
use pgexporter::management::wire::frame::{self, Framing, head};
use pgexporter_fuzz::dispatch;

fuzz_target!(|bytes: &[u8]| {
    let whole = head(bytes);
    for end in 0..bytes.len().min(8) {
        match head(&bytes[..end]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "{end}"),
        }
    }
    let Ok(Some(head)) = whole else { return };
    assert!(head.length <= LONGEST);
    let Some(document) = bytes.get(head.size..head.size + head.length) else {
        return;
    };
    assert_eq!(
        frame::frame(head.framing, document),
        bytes[..head.size + head.length]
    );
    if let Framing::Id(_) = head.framing {
        dispatch(head.framing, document);
    }
});
