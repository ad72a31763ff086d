//! Assigns targets to pods by rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping
//! Scheme for Rendezvous") of the resource's UID over the members. When a member joins, only the
//! targets that it takes over move; when one leaves, its targets are spread over the others.
//!
//! Hashing alone gives one of three pods more than a tenth too many targets, for every dozenth set
//! of a thousand targets. The newest of those are moved to the member with the fewest.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// How far the number of a member's targets may be from the mean, in hundredths.
const SLACK: usize = 9;
/// With fewer targets a member nothing is moved: moving a target costs a new session, and evens out
/// little.
const ENOUGH: usize = 100;

/// The owner of each target, in the order of `targets`, which is their age: the oldest first.
/// Everybody who sees the same targets and members comes to the same result.
pub(super) fn assign_targets<'a>(targets: &[&str], members: &'a BTreeSet<String>) -> Vec<&'a str> {
    let mut owners: Vec<&str> = targets
        .iter()
        .map(|uid| {
            let best = members
                .iter()
                .max_by_key(|member| (score(uid, member), *member));
            best.map_or("", String::as_str)
        })
        .collect();
    balance_loads(&mut owners, members);
    owners
}

fn balance_loads<'a>(owners: &mut [&'a str], members: &'a BTreeSet<String>) {
    if members.is_empty() || owners.len() / members.len() < ENOUGH {
        return;
    }
    let least = (owners.len() * (100 - SLACK)).div_ceil(100 * members.len());
    let most = owners.len() * (100 + SLACK) / (100 * members.len());
    let mut loads: BTreeMap<&str, usize> = members.iter().map(|one| (one.as_str(), 0)).collect();
    for owner in owners.iter() {
        if let Some(load) = loads.get_mut(owner) {
            *load += 1;
        }
    }
    // Each step brings two members closer together, so there are fewer than there are targets.
    for _ in 0..owners.len() {
        let all = || loads.iter().map(|(member, load)| (*load, *member));
        let (Some((few, low)), Some((many, high))) = (all().min(), all().max()) else {
            return;
        };
        if few >= least && many <= most {
            return;
        }
        if let Some(newest) = owners.iter().rposition(|owner| *owner == high) {
            owners[newest] = low;
        }
        loads.insert(low, few + 1);
        loads.insert(high, many - 1);
    }
}

/// The same on every machine and in every version.
fn score(uid: &str, member: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(member.as_bytes());
    hash.update([0]);
    hash.update(uid.as_bytes());
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |score, byte| score << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// UIDs as an API server makes them, the same ones for each run.
    fn targets(set: usize) -> Vec<String> {
        let uid = |at: usize| {
            let digest = Sha256::digest(format!("{set} {at}"));
            digest
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        (0..1_000).map(uid).collect()
    }

    fn shares(owners: &[&str]) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for owner in owners {
            *shares.entry((*owner).to_owned()).or_insert(0) += 1;
        }
        shares
    }

    #[test]
    fn three_pods_have_a_third_each_within_a_tenth_whatever_the_targets() {
        let three = members(&["pgexporter-0", "pgexporter-1", "pgexporter-2"]);
        for set in 0..200 {
            let targets = targets(set);
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            for (pod, share) in shares(&assign_targets(&targets, &three)) {
                assert!((300..=366).contains(&share), "set {set}: {pod} has {share}");
            }
        }
    }

    #[test]
    fn a_pod_that_joins_takes_its_share_and_next_to_nothing_else_moves() {
        let two = members(&["pgexporter-0", "pgexporter-1"]);
        let three = members(&["pgexporter-0", "pgexporter-1", "pgexporter-2"]);
        let mut strays = 0;
        for set in 0..100 {
            let targets = targets(set);
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let (before, after) = (
                assign_targets(&targets, &two),
                assign_targets(&targets, &three),
            );
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(one, other)| one != other);
            let stray = moved.filter(|(_, to)| **to != "pgexporter-2").count();
            assert!(stray <= 20, "set {set}: {stray} moved between the others");
            strays += stray;
        }
        // One in a thousand of all that there are.
        assert!(strays < 100, "{strays}");
    }

    #[test]
    fn a_target_that_comes_or_goes_moves_no_other_among_few() {
        let three = members(&["a", "b", "c"]);
        let targets = targets(0);
        let targets: Vec<&str> = targets.iter().map(String::as_str).take(200).collect();
        let whole = assign_targets(&targets, &three);
        for gone in 0..targets.len() {
            let mut rest = targets.clone();
            rest.remove(gone);
            let mut expected = whole.clone();
            expected.remove(gone);
            assert_eq!(assign_targets(&rest, &three), expected);
        }
        assert_eq!(assign_targets(&targets, &members(&[])), vec![""; 200]);
    }
}
