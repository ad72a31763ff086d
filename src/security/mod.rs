//! Secrets, the vault files, password files and TLS.

mod secret;
pub mod tls;

pub use secret::Secret;
