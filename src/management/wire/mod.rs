//! The bytes of the protocol: frames, how their documents are packed, and the packets before them.
//! Pure: no socket.

pub mod codec;
pub mod frame;
// Hidden: for the fuzzer, which reads what comes in before anybody has logged in.
#[doc(hidden)]
pub mod startup;
