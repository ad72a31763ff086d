//! Secrets, the vault files, password files and TLS.

mod secret;

pub use secret::Secret;
