//! The admins as a login needs them: what proves a password, for everybody who may come and, just
//! alike, for everybody who may not.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::admins::{AdminSource, AdminStamp};
use super::scram::{KEY, ScramVerifier, hmac};
use super::vault::Vault;
use super::vault_error::VaultError;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// As PostgreSQL has it.
const ITERATIONS: u32 = 4096;
/// Bytes of a salt, as PostgreSQL has it.
const SALT: usize = 16;

/// Who may manage the exporter from afar. A changed file counts without a reload.
pub struct AdminVerifiers {
    source: AdminSource,
    vault: Arc<Vault>,
    /// Salts are made of it: a stranger's cannot be told from an admin's.
    secret: Zeroizing<[u8; KEY]>,
    state: Mutex<VerifierState>,
    /// Held while files are read, which a disk may make long; the state is not.
    looking: Mutex<()>,
    look_every: Duration,
}

struct VerifierState {
    admins: HashMap<String, ScramVerifier>,
    stamp: AdminStamp,
    /// What was last found wrong, so that one change warns once.
    refused: Option<AdminStamp>,
    looked: Instant,
}

impl fmt::Debug for AdminVerifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminVerifiers")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl AdminVerifiers {
    /// Reads the admins. Takes some milliseconds for each.
    ///
    /// # Errors
    /// [`AdminSource::read`]; the system gave no random bytes.
    pub fn load(source: AdminSource, vault: Arc<Vault>) -> Result<Self, VaultError> {
        Self::load_with(source, vault, Self::read)
    }

    fn load_with(
        source: AdminSource,
        vault: Arc<Vault>,
        read: fn(&Self) -> Result<HashMap<String, ScramVerifier>, VaultError>,
    ) -> Result<Self, VaultError> {
        let mut secret = Zeroizing::new([0; KEY]);
        getrandom::fill(secret.as_mut_slice())
            .map_err(|e| VaultError::NoRandomness(e.to_string()))?;
        let stamp = source.stamp();
        let admin_verifiers = Self {
            source,
            vault,
            secret,
            state: Mutex::new(VerifierState {
                admins: HashMap::new(),
                stamp,
                refused: None,
                looked: Instant::now(),
            }),
            looking: Mutex::new(()),
            look_every: LOOK_EVERY,
        };
        let admins = read(&admin_verifiers)?;
        admin_verifiers.state().admins = admins;
        Ok(admin_verifiers)
    }

    /// Nobody, until there is something to read.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn nobody(source: AdminSource, vault: Arc<Vault>) -> Result<Self, VaultError> {
        match source.path().exists() {
            true => Self::load(source, vault),
            false => Self::load_with(source, vault, |_| Ok(HashMap::new())),
        }
    }

    /// Where they come from.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().admins.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What proves who somebody is; for a stranger one that nothing fits. May read files, and wait
    /// for whoever reads them.
    #[must_use]
    pub fn verifier(&self, user: &str) -> ScramVerifier {
        self.refresh();
        self.known_verifier(user)
    }

    /// The same by what was read last. Reads no file and waits for nobody who does.
    #[must_use]
    pub fn known_verifier(&self, user: &str) -> ScramVerifier {
        // Made for an admin as well, so that both take as long.
        let mut keys = Zeroizing::new([0; KEY]);
        keys.copy_from_slice(&hmac(&*self.secret, &[b"keys ", user.as_bytes()]));
        let stranger = ScramVerifier::nobody(self.salt(user), ITERATIONS, *keys);
        match self.state().admins.get(user) {
            Some(verifier) => verifier.clone(),
            None => stranger,
        }
    }

    /// Reads changed files, when [`LOOK_EVERY`] has passed since they were last looked at.
    fn refresh(&self) {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().looked.elapsed() < self.look_every {
            return;
        }
        let now = self.source.stamp();
        let known = {
            let mut state = self.state();
            state.looked = Instant::now();
            now == state.stamp || state.refused.as_ref() == Some(&now)
        };
        if known {
            return;
        }
        match self.read() {
            Ok(admins) => {
                tracing::info!(
                    admins = admins.len(),
                    "{} has changed",
                    self.path().display()
                );
                let mut state = self.state();
                (state.admins, state.stamp, state.refused) = (admins, now, None);
            }
            Err(error) => {
                tracing::warn!("the admins were not changed: {error}");
                self.state().refused = Some(now);
            }
        }
    }

    fn read(&self) -> Result<HashMap<String, ScramVerifier>, VaultError> {
        let passwords = self.source.read(&self.vault)?;
        let verifier = |(name, password): (String, super::Secret)| {
            let verifier = ScramVerifier::new(&password, self.salt(&name), ITERATIONS);
            (name, verifier)
        };
        Ok(passwords.into_iter().map(verifier).collect())
    }

    fn salt(&self, user: &str) -> Vec<u8> {
        hmac(&*self.secret, &[b"salt ", user.as_bytes()])[..SALT].to_vec()
    }

    fn state(&self) -> MutexGuard<'_, VerifierState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_stranger_has_a_salt_that_stays_and_a_renewed_password_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("anna"), "first").unwrap();
        let source = AdminSource::new(folder.path());
        let mut admin_verifiers = AdminVerifiers::load(source, Arc::new(Vault::new(None))).unwrap();
        admin_verifiers.look_every = Duration::ZERO;
        let salt = |user: &str| admin_verifiers.verifier(user).salt().to_vec();
        assert_eq!(salt("stranger"), salt("stranger"));
        assert_eq!(salt("anna"), salt("anna"));
        assert_ne!(salt("anna"), salt("stranger"));
        assert_eq!(salt("anna").len(), salt("stranger").len());
        let signature = || admin_verifiers.verifier("anna").server_signature(b"x");
        let before = signature();
        fs::write(folder.path().join("anna"), "second one").unwrap();
        assert_ne!(signature(), before);
        // What is wrong takes nobody's place.
        let now = signature();
        fs::write(folder.path().join("anna"), "").unwrap();
        assert_eq!(signature(), now);
        assert!(!format!("{admin_verifiers:?}").contains("second"));
    }
}
