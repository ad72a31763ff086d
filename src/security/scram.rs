//! The arithmetic of SCRAM-SHA-256 (RFC 5802, section 3; RFC 7677).
//!
//! In go passwords and messages; out come keys and signatures. Who says what when is
//! `management::auth::scram`'s.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

/// Bytes of a key, a proof and a signature.
pub const KEY: usize = 32;

/// What a server keeps of a password: enough to know who has it, and not the password.
#[derive(Clone)]
pub struct ScramVerifier {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Zeroizing<[u8; KEY]>,
    server_key: Zeroizing<[u8; KEY]>,
}

impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramVerifier([redacted])")
    }
}

impl ScramVerifier {
    /// Of a password. Takes some milliseconds of CPU for 4,096 iterations.
    #[must_use]
    pub fn new(password: &Secret, salt: Vec<u8>, iterations: u32) -> Self {
        let salted = salted_password(password, &salt, iterations);
        let client_key = hmac(&*salted, &[b"Client Key"]);
        Self {
            salt,
            iterations,
            stored_key: Zeroizing::new(Sha256::digest(client_key).into()),
            server_key: Zeroizing::new(hmac(&*salted, &[b"Server Key"])),
        }
    }

    /// Of nobody: no proof fits it.
    #[must_use]
    pub fn nobody(salt: Vec<u8>, iterations: u32, keys: [u8; KEY]) -> Self {
        Self {
            salt,
            iterations,
            stored_key: Zeroizing::new(keys),
            server_key: Zeroizing::new(keys),
        }
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The number of iterations.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether a client's proof fits the conversation. Takes as long for any.
    #[must_use]
    pub fn accepts(&self, proof: &[u8; KEY], auth_message: &[u8]) -> bool {
        let signature = hmac(&*self.stored_key, &[auth_message]);
        let mut client_key = Zeroizing::new([0; KEY]);
        for ((key, proof), signature) in client_key.iter_mut().zip(proof).zip(signature) {
            *key = proof ^ signature;
        }
        let stored: [u8; KEY] = Sha256::digest(*client_key).into();
        stored.ct_eq(&*self.stored_key).into()
    }

    /// What proves to the client that we know the password too.
    #[must_use]
    pub fn server_signature(&self, auth_message: &[u8]) -> [u8; KEY] {
        hmac(&*self.server_key, &[auth_message])
    }
}

/// HMAC-SHA-256 of several pieces (RFC 2104).
#[must_use]
pub fn hmac(key: &[u8], pieces: &[&[u8]]) -> [u8; KEY] {
    // A key of any length is good.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; KEY];
    };
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

/// `Hi(Normalize(password), salt, i)`. As PostgreSQL does it, a password that SASLprep (RFC 4013)
/// refuses is taken as it is.
fn salted_password(password: &Secret, salt: &[u8], iterations: u32) -> Zeroizing<[u8; KEY]> {
    let plain = password.expose();
    let prepared = Zeroizing::new(match stringprep::saslprep(plain) {
        Ok(prepared) => prepared.into_owned(),
        Err(_) => plain.to_owned(),
    });
    let mut salted = Zeroizing::new([0; KEY]);
    pbkdf2::pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, iterations, salted.as_mut_slice());
    salted
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_standards_conversation_fits() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = ScramVerifier::new(&Secret::new("pencil".to_owned()), salt, 4096);
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let mut proof: [u8; KEY] = proof.try_into().unwrap();
        assert!(verifier.accepts(&proof, message.as_bytes()));
        assert_eq!(
            STANDARD.encode(verifier.server_signature(message.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        proof[0] ^= 1;
        assert!(!verifier.accepts(&proof, message.as_bytes()));
        assert!(!format!("{verifier:?}").contains("key"));
    }

    #[test]
    fn a_password_is_prepared_as_the_standard_says_or_taken_as_it_is() {
        let key = |password: &str| {
            let verifier = ScramVerifier::new(&Secret::new(password.to_owned()), vec![1], 4096);
            verifier.stored_key
        };
        // RFC 4013, section 3: a soft hyphen goes, a compatibility character is decomposed.
        assert_eq!(key("I\u{ad}X"), key("IX"));
        assert_eq!(key("\u{2168}"), key("IX"));
        assert_ne!(key("user"), key("USER"));
        // Refused by SASLprep.
        assert_ne!(key("\u{7}bell"), key("bell"));
    }
}
