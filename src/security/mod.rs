//! Secrets, the vault files, password files and TLS.
//!
//! In go paths, PEM and the environment; out come passwords as [`Secret`] and configurations of
//! rustls. No error, log line or `Debug` here shows a secret.

mod admin_verifiers;
mod admins;
mod atomic_write;
pub mod core_dumps;
mod encryption;
mod environment;
mod passwords;
mod permissions;
mod pgpass;
mod require_auth;
mod scram;
mod secret;
mod secret_file;
pub mod tls;
mod users;
mod vault;
mod vault_error;

pub use admin_verifiers::AdminVerifiers;
pub use admins::{AdminSource, AdminStamp};
pub use encryption::{FileKey, KeySize};
pub use environment::Environment;
pub use passwords::PasswordSources;
pub use pgpass::{PasswordFile, PasswordFileError, PasswordRequest};
pub use require_auth::{
    AuthMethod, AuthRefused, AuthRules, MOST_SCRAM_ROUNDS, RequireAuth, RequireAuthError,
    ScramBinding, has_too_many_rounds,
};
pub use scram::{KEY as SCRAM_KEY, ScramVerifier, hmac};
pub use secret::Secret;
pub use secret_file::{SecretFileError, read_secret};
pub use users::{UserNameError, UsersFile, check_name};
#[doc(hidden)]
pub use vault::check_master_key;
pub use vault::{Vault, is_strong_password};
pub use vault_error::VaultError;
