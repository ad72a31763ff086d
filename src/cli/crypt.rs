//! `pgexporter-cli encrypt` and `decrypt`: a file, and the master key of the vault.
//!
//! The bytes are one blob of the vault: salt, iv, what is encrypted, tag. `-E` chooses the length of
//! the key, 256 bits where it says nothing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::arguments::{CliOptions, Files};
use super::error::CliError;
use crate::security::{Environment, FileKey, KeySize, Vault, VaultError};

/// What an encrypted file's name ends with.
const ENDING: &str = "aes";

/// Encrypts.
///
/// # Errors
/// A file or the master key is missing, or the output exists.
pub(super) fn encrypt(options: &CliOptions, files: &Files) -> Result<(), CliError> {
    let usual = || {
        let mut name = files.input.clone().into_os_string();
        name.push(".");
        name.push(ENDING);
        PathBuf::from(name)
    };
    let output = files.output.clone().unwrap_or_else(usual);
    crypt_file(options, &files.input, &output, |key, bytes, size| {
        key.encrypt(bytes, size).map(Zeroizing::new)
    })
}

/// Decrypts.
///
/// # Errors
/// As [`encrypt`]; the file was not encrypted with this key.
pub(super) fn decrypt(options: &CliOptions, files: &Files) -> Result<(), CliError> {
    let usual = || {
        let ends = files.input.extension().is_some_and(|end| end == ENDING);
        ends.then(|| files.input.with_extension(""))
    };
    let output = files.output.clone().or_else(usual).ok_or_else(|| {
        CliError::Usage(format!(
            "{} does not end in .{ENDING}: name the file to write",
            files.input.display()
        ))
    })?;
    crypt_file(options, &files.input, &output, FileKey::decrypt)
}

type CryptFn = fn(&FileKey, &[u8], KeySize) -> Result<Zeroizing<Vec<u8>>, VaultError>;

fn crypt_file(
    options: &CliOptions,
    input: &Path,
    output: &Path,
    work: CryptFn,
) -> Result<(), CliError> {
    let size = options
        .encrypt
        .method()
        .key_size()
        .unwrap_or(KeySize::Aes256);
    let refused = |error: VaultError| CliError::Refused(vec![error.to_string()]);
    let file = |action: &str, path: &Path, error: &std::io::Error| {
        CliError::Refused(vec![format!("cannot {action} {}: {error}", path.display())])
    };
    let bytes = fs::read(input).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| file("read", input, &error))?;
    let vault = Vault::new(Environment::of_process().home.as_deref());
    let key = vault.key().map_err(refused)?;
    let made = work(&key, &bytes, size)
        .map_err(|error| CliError::Refused(vec![format!("{}: {error}", input.display())]))?;
    // Nobody else reads it, and nothing that is there is lost.
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output)
        .map_err(|error| file("create", output, &error))?;
    let written = target.write_all(&made).and_then(|()| target.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(output);
        file("write", output, &error)
    })
}
