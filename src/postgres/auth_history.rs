//! How servers have let roles in so far: once it was by SCRAM, less is somebody else's wish.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use crate::security::AuthMethod;
use crate::targets::Target;

/// So many logins are remembered; later ones are not. Each takes some 16 bytes.
const MOST: usize = 100_000;

/// What is remembered as long as the process lives. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct AuthHistory(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// Keyed with chance, so that nobody can choose a name that stands for another.
    hasher: RandomState,
    scram: HashSet<u64>,
    /// Those that used SCRAM with channel binding.
    bound: HashSet<u64>,
    /// Those of which was said that md5 is weak.
    md5: HashSet<u64>,
}

impl Remembered {
    fn key(&self, target: &Target) -> u64 {
        let address = target.address.to_string();
        self.hasher
            .hash_one((&target.name, address.as_str(), &target.user))
    }
}

impl AuthHistory {
    /// Whether the server of this name and address has let this role in by SCRAM.
    pub(super) fn used_scram(&self, target: &Target) -> bool {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.scram.contains(&remembered.key(target))
    }

    /// Whether it has done so with channel binding.
    pub(super) fn used_binding(&self, target: &Target) -> bool {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.bound.contains(&remembered.key(target))
    }

    /// Remembers how a login went that was good on both sides: the driver has checked that the
    /// server knows the password too. `bound` is whether that was with channel binding.
    pub(super) fn record_login(&self, target: &Target, method: AuthMethod, bound: bool) {
        if method == AuthMethod::ScramSha256 {
            self.insert(target, |remembered| &mut remembered.scram);
            if bound {
                self.insert(target, |remembered| &mut remembered.bound);
            }
        }
    }

    /// Says once of a server that what it asked for is weak.
    pub(super) fn warn_of_weak(&self, target: &Target, method: AuthMethod) {
        if method == AuthMethod::Md5 && self.insert(target, |remembered| &mut remembered.md5) {
            warn!(
                server = target.name,
                "the server asks for md5, which is weak: an eavesdropper can try out passwords; \
                 set password_encryption and pg_hba.conf to scram-sha-256 there, and set the \
                 role's password again"
            );
        }
    }

    /// Whether the login was not in the set yet.
    fn insert(
        &self,
        target: &Target,
        set: impl FnOnce(&mut Remembered) -> &mut HashSet<u64>,
    ) -> bool {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = remembered.key(target);
        let set = set(&mut remembered);
        set.len() < MOST && set.insert(key)
    }
}
