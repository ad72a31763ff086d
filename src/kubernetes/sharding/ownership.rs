//! Ownership: which resources this pod serves.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::rendezvous::assign_targets;
use crate::kubernetes::api::ResourceKey;
use crate::targets::OwnershipTerm;

/// Which targets this pod serves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Assignment {
    /// All: targets are not shared.
    Everything,
    /// Its part of those that the members share, in this term. This pod is no member as long as it
    /// waits to be scraped.
    Shared(BTreeSet<String>, OwnershipTerm),
    /// None: the pod has no Lease yet, or has lost it.
    Nothing,
}

impl Assignment {
    /// How long this pod serves them; `None` while it serves none.
    pub(crate) fn term(&self) -> Option<OwnershipTerm> {
        match self {
            Assignment::Nothing => None,
            Assignment::Everything => Some(OwnershipTerm::unlimited()),
            Assignment::Shared(_, term) => Some(term.clone()),
        }
    }

    /// The resources that the pod `owner` serves, of all that there are: each with the time at which
    /// it was created, and its UID.
    pub(crate) fn owned_keys(
        &self,
        owner: &str,
        mut all: Vec<(Option<Timestamp>, &ResourceKey, &str)>,
    ) -> BTreeSet<ResourceKey> {
        let members = match self {
            Assignment::Nothing => return BTreeSet::new(),
            Assignment::Everything => {
                return all.iter().map(|(_, key, _)| (*key).clone()).collect();
            }
            Assignment::Shared(members, _) => members,
        };
        // The order of age, which is the same for all members.
        all.sort();
        let uids: Vec<&str> = all.iter().map(|(_, _, uid)| *uid).collect();
        let owners = assign_targets(&uids, members);
        let own = all.iter().zip(owners).filter(|(_, of)| *of == owner);
        own.map(|((_, key, _), _)| (*key).clone()).collect()
    }
}
