//! Encrypted texts, in users files and on the wire.
//!
//! `blob = salt (16) ‖ iv (12) ‖ ciphertext ‖ tag (16)`, AES-GCM (NIST SP 800-38D) without
//! associated data, keys by PBKDF2-HMAC-SHA256 (RFC 8018, section 5.2).

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, Nonce};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::vault_error::VaultError;

/// The first key derivation: 600,000 rounds.
const MASTER_PARAMS: pbkdf2::Params = pbkdf2::Params::RECOMMENDED;
/// The crate's recommendation may grow one day, the format does not.
const _: () = assert!(MASTER_PARAMS.rounds() == 600_000);
/// Rounds of the second, whose input is already a strong key.
const BLOB_ROUNDS: u32 = 1;
pub(super) const SALT: usize = 16;
pub(super) const IV: usize = 12;
pub(super) const TAG: usize = 16;

/// The length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySize {
    /// 16 bytes.
    Aes128,
    /// 24 bytes.
    Aes192,
    /// 32 bytes; what users files use.
    Aes256,
}

impl KeySize {
    fn bytes(self) -> usize {
        match self {
            KeySize::Aes128 => 16,
            KeySize::Aes192 => 24,
            KeySize::Aes256 => 32,
        }
    }
}

/// The key that all blobs' keys are derived from. Wiped when dropped.
pub struct FileKey(Zeroizing<[u8; 64]>);

impl FileKey {
    /// Takes some 0.2 s of CPU.
    pub(super) fn derive(password: &[u8], salt: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; 64]);
        // This one, unlike `pbkdf2_hmac`, is no generic, so it is compiled in its own crate and
        // thereby optimised in builds for development too: 0.3 s there instead of 8.
        pbkdf2::pbkdf2_hmac_with_params(
            password,
            salt,
            pbkdf2::Algorithm::Pbkdf2Sha256,
            MASTER_PARAMS,
            key.as_mut_slice(),
        );
        Self(key)
    }

    /// Encrypts with a new salt and iv.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn encrypt(&self, plain: &[u8], size: KeySize) -> Result<Vec<u8>, VaultError> {
        let mut blob = vec![0; SALT + IV];
        getrandom::fill(&mut blob).map_err(|e| VaultError::NoRandomness(e.to_string()))?;
        let (salt, iv) = blob.split_at(SALT);
        let sealed = self.cipher(salt, iv, size, &Direction::Encrypt(plain))?;
        blob.extend_from_slice(&sealed);
        Ok(blob)
    }

    /// Decrypts a blob.
    ///
    /// # Errors
    /// It is too short, or was encrypted with another key, or altered.
    pub fn decrypt(&self, blob: &[u8], size: KeySize) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        if blob.len() < SALT + IV + TAG {
            return Err(VaultError::TooShort);
        }
        let (salt, rest) = blob.split_at(SALT);
        let (iv, sealed) = rest.split_at(IV);
        self.cipher(salt, iv, size, &Direction::Decrypt(sealed))
    }

    fn cipher(
        &self,
        salt: &[u8],
        iv: &[u8],
        size: KeySize,
        text: &Direction<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..size.bytes()];
        // The C program derives 12 bytes more and throws them away. The bytes of PBKDF2's output
        // do not depend on how many are asked for, so asking for the key alone gives the same.
        pbkdf2::pbkdf2_hmac::<Sha256>(self.0.as_slice(), salt, BLOB_ROUNDS, key);
        let nonce = Nonce::<U12>::try_from(iv).map_err(|_| VaultError::TooShort)?;
        match size {
            KeySize::Aes128 => text.run(Aes128Gcm::new_from_slice(key).ok(), &nonce),
            KeySize::Aes192 => text.run(AesGcm::<Aes192, U12>::new_from_slice(key).ok(), &nonce),
            KeySize::Aes256 => text.run(Aes256Gcm::new_from_slice(key).ok(), &nonce),
        }
    }
}

enum Direction<'a> {
    Encrypt(&'a [u8]),
    Decrypt(&'a [u8]),
}

impl Direction<'_> {
    fn run<C: Aead<NonceSize = U12>>(
        &self,
        cipher: Option<C>,
        nonce: &Nonce<U12>,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let cipher = cipher.ok_or(VaultError::WrongKey)?;
        let done = match self {
            Direction::Encrypt(plain) => cipher.encrypt(nonce, *plain),
            Direction::Decrypt(sealed) => cipher.decrypt(nonce, *sealed),
        };
        done.map(Zeroizing::new).map_err(|_| VaultError::WrongKey)
    }
}
