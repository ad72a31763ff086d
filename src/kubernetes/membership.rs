//! Who the members are, by what their Leases say. In go Leases as the API server shows them; out
//! comes a set of names. It asks nobody, so that its rules are tested without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How long a Lease lives that does not say.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Tells in a Lease whether its pod was asked for its metrics.
pub(super) const SCRAPED: &str = "pgexporter.io/asked";
/// How long a pod that is asked has been there when others wait for their shares.
const ESTABLISHED: SignedDuration = SignedDuration::from_secs(30);
/// A Lease that is dead for so long is that of a pod that will not come back.
const FORGET: Duration = Duration::from_secs(600);
/// How far the clocks of pods may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// What a Lease says of its pod beside that it lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberState {
    /// It was asked for its metrics, or waits for that no longer.
    pub scraped: bool,
    /// It is asked and no beginner: those who come now wait until they are asked.
    established: bool,
}

impl MemberState {
    /// As a Lease has it. Both its times are by the clock of who holds it.
    pub(super) fn from_lease(lease: &Lease) -> Self {
        let told = lease.metadata.annotations.as_ref();
        let asked = told
            .and_then(|told| told.get(SCRAPED))
            .is_none_or(|one| one == "true");
        let times = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.acquire_time.as_ref().zip(spec.renew_time.as_ref()));
        let settled =
            |(began, now): (&MicroTime, &MicroTime)| now.0.duration_since(began.0) >= ESTABLISHED;
        Self {
            scraped: asked,
            established: asked && times.is_some_and(settled),
        }
    }
}

/// The other pods.
#[derive(Debug)]
pub(super) struct Members {
    /// The Lease that is none of theirs.
    own: String,
    /// By the names of their Leases.
    all: BTreeMap<String, OtherLease>,
}

#[derive(Debug)]
struct OtherLease {
    holder: String,
    renewed: Option<MicroTime>,
    /// When that renewal was seen.
    seen: Instant,
    lives: Duration,
    alive: bool,
    state: MemberState,
}

impl Members {
    /// Nobody, until they are seen.
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            all: BTreeMap::new(),
        }
    }

    /// Takes what a Lease says now.
    pub(super) fn record_lease(&mut self, lease: Lease) {
        let standing = MemberState::from_lease(&lease);
        let (Some(name), Some(spec)) = (lease.metadata.name, lease.spec) else {
            return;
        };
        if name == self.own {
            return;
        }
        let known = self.all.get(&name);
        if known.is_some_and(|known| known.renewed == spec.renew_time) {
            return;
        }
        let lives = spec
            .lease_duration_seconds
            .and_then(|one| one.try_into().ok())
            .map_or(LEASE, Duration::from_secs);
        // What was left behind long before we came is not waited for.
        let old = |renewed: &MicroTime| {
            let age = Timestamp::now().duration_since(renewed.0);
            age > SignedDuration::try_from(lives + SKEW).unwrap_or(SignedDuration::MAX)
        };
        let other = OtherLease {
            holder: spec.holder_identity.unwrap_or_else(|| name.clone()),
            alive: known.is_some() || !spec.renew_time.as_ref().is_some_and(old),
            renewed: spec.renew_time,
            seen: Instant::now(),
            lives,
            state: standing,
        };
        self.all.insert(name, other);
    }

    /// One gave its Lease up.
    pub(super) fn remove(&mut self, name: &str) {
        self.all.remove(name);
    }

    /// Takes a list of all Leases: those that were not renewed for as long as they live are dead.
    pub(super) fn apply_list(&mut self, list: impl IntoIterator<Item = Lease>) {
        let mut names = BTreeSet::new();
        for lease in list {
            names.extend(lease.metadata.name.clone());
            self.record_lease(lease);
        }
        self.all.retain(|name, _| names.contains(name));
        for other in self.all.values_mut() {
            other.alive &= other.seen.elapsed() < other.lives;
        }
    }

    /// Leases of pods that are gone for good.
    pub(super) fn expired_leases(&self) -> Vec<String> {
        let gone = |other: &OtherLease| other.seen.elapsed() > other.lives + FORGET;
        let all = self.all.iter().filter(|(_, other)| gone(other));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// Who shares the targets: all that live, but for those who were not asked yet while somebody
    /// who is settled serves in their stead.
    pub(super) fn active_members(&self, own: &str, standing: MemberState) -> BTreeSet<String> {
        let all = || {
            let alive = self.all.values().filter(|other| other.alive);
            let alive = alive.map(|other| (other.holder.as_str(), other.state));
            alive.chain([(own, standing)])
        };
        let wait = all().any(|(_, standing)| standing.established);
        all()
            .filter(|(_, standing)| standing.scraped || !wait)
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::core::ObjectMeta;

    use super::*;

    /// A Lease that was renewed now, `age` seconds after it was acquired.
    fn lease(name: &str, age: i64, asked: Option<&str>) -> Lease {
        let now = Timestamp::now();
        let told = asked.map(|one| BTreeMap::from([(SCRAPED.to_owned(), one.to_owned())]));
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                annotations: told,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(MicroTime(now - SignedDuration::from_secs(age))),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }

    fn members(others: &[Lease], own: &Lease) -> Vec<String> {
        let mut all = Members::new("own");
        all.apply_list(others.iter().cloned());
        all.active_members("own", MemberState::from_lease(own))
            .into_iter()
            .collect()
    }

    #[test]
    fn who_joins_waits_until_it_is_asked_while_somebody_serves_in_its_stead() {
        let (old, new) = (lease("old", 31, Some("true")), lease("x", 1, Some("false")));
        assert_eq!(members(std::slice::from_ref(&old), &new), ["old"]);
        assert_eq!(
            members(std::slice::from_ref(&old), &lease("x", 2, Some("true"))),
            ["old", "own"]
        );
        // The one that was there sees it the same way.
        let own = lease("x", 31, Some("true"));
        assert_eq!(members(&[lease("new", 1, Some("false"))], &own), ["own"]);
        // One of an older version says nothing, and waits for nothing.
        assert_eq!(members(&[lease("new", 1, None)], &own), ["new", "own"]);
    }

    #[test]
    fn nobody_waits_where_all_begin_or_nobody_is_asked() {
        let began = lease("other", 5, Some("true"));
        let own = lease("x", 5, Some("false"));
        assert_eq!(members(&[began], &own), ["other", "own"]);
        let unasked = lease("other", 60, Some("false"));
        assert_eq!(members(&[unasked], &own), ["other", "own"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_dead_or_gone_keeps_nobody_waiting() {
        let mut all = Members::new("own");
        let list = [
            lease("dies", 31, Some("true")),
            lease("leaves", 31, Some("true")),
        ];
        all.apply_list(list.clone());
        let own = MemberState::from_lease(&lease("x", 1, Some("false")));
        assert_eq!(all.active_members("own", own).len(), 2);
        all.remove("leaves");
        tokio::time::advance(LEASE).await;
        all.apply_list(list[..1].to_vec());
        assert_eq!(all.active_members("own", own), ["own".to_owned()].into());
        assert!(all.expired_leases().is_empty());
        tokio::time::advance(FORGET + Duration::from_secs(1)).await;
        assert_eq!(all.expired_leases(), ["dies"]);
    }

    #[test]
    fn what_was_left_behind_long_ago_counts_for_nobody() {
        let mut left = lease("left", 60, Some("true"));
        let before = Timestamp::now() - SignedDuration::from_secs(120);
        left.spec.as_mut().unwrap().renew_time = Some(MicroTime(before));
        let own = lease("x", 1, Some("false"));
        assert_eq!(members(&[left], &own), ["own"]);
    }
}
