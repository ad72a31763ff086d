//! Who may come in from afar: the SCRAM exchange, the login around it, and how fast it may be tried.

pub(super) mod login;
pub(super) mod login_throttle;
// Hidden: for the fuzzer, which reads what comes in before anybody has logged in.
#[doc(hidden)]
pub mod scram;
