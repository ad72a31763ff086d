//! The members, by what their Leases say. In go Leases as the API server shows them; out comes a set
//! of names. There is no I/O, so that the rules are tested without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The duration of a Lease that names none.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// The annotation of a Lease that says whether the pod's metrics were scraped.
pub(super) const SCRAPED: &str = "pgexporter.io/asked";
/// How old a pod that was scraped must be so that new pods wait until they are scraped.
const ESTABLISHED: SignedDuration = SignedDuration::from_secs(30);
/// A Lease that expired so long ago belongs to a pod that will not come back.
const FORGET: Duration = Duration::from_secs(600);
/// How far the clocks of two pods may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// What a Lease says of its pod, beside that it has not expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberState {
    /// Its metrics were scraped, or it waits for that no longer.
    pub scraped: bool,
    /// It was scraped and is not new: pods that join wait until they are scraped.
    established: bool,
}

impl MemberState {
    /// Reads the state from a Lease. Its two times come from one clock, that of its holder, so their
    /// difference is right whatever that clock shows.
    pub(super) fn from_lease(lease: &Lease) -> Self {
        let annotations = lease.metadata.annotations.as_ref();
        let scraped = annotations
            .and_then(|annotations| annotations.get(SCRAPED))
            .is_none_or(|one| one == "true");
        let times = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.acquire_time.as_ref().zip(spec.renew_time.as_ref()));
        let settled =
            |(began, now): (&MicroTime, &MicroTime)| now.0.duration_since(began.0) >= ESTABLISHED;
        Self {
            scraped,
            established: scraped && times.is_some_and(settled),
        }
    }
}

/// The Leases of the other pods.
#[derive(Debug)]
pub(super) struct Members {
    /// The name of this pod's own Lease, which is skipped.
    own: String,
    /// By the name of the Lease.
    all: BTreeMap<String, OtherLease>,
}

#[derive(Debug)]
struct OtherLease {
    holder: String,
    renewed: Option<MicroTime>,
    /// When this pod saw that renewal.
    seen: Instant,
    lives: Duration,
    alive: bool,
    state: MemberState,
}

impl Members {
    /// No other pod, until its Lease is seen.
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            all: BTreeMap::new(),
        }
    }

    /// Stores the present state of a Lease.
    pub(super) fn record_lease(&mut self, lease: Lease) {
        let state = MemberState::from_lease(&lease);
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
        // A Lease that expired before this pod started is regarded as expired at once.
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
            state,
        };
        self.all.insert(name, other);
    }

    /// Removes a Lease that was deleted.
    pub(super) fn remove(&mut self, name: &str) {
        self.all.remove(name);
    }

    /// Stores a list of all Leases. Those without a renewal for their whole duration have expired.
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

    /// Leases that expired so long ago that they can be deleted.
    pub(super) fn expired_leases(&self) -> Vec<String> {
        let gone = |other: &OtherLease| other.seen.elapsed() > other.lives + FORGET;
        let all = self.all.iter().filter(|(_, other)| gone(other));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// The pods that share the targets: all whose Leases have not expired; without those that were
    /// not scraped yet, as long as an established pod can serve the targets in the meantime.
    pub(super) fn active_members(&self, own: &str, state: MemberState) -> BTreeSet<String> {
        let all = || {
            let alive = self.all.values().filter(|other| other.alive);
            let alive = alive.map(|other| (other.holder.as_str(), other.state));
            alive.chain([(own, state)])
        };
        let wait = all().any(|(_, state)| state.established);
        all()
            .filter(|(_, state)| state.scraped || !wait)
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
    fn lease(name: &str, age: i64, scraped: Option<&str>) -> Lease {
        let now = Timestamp::now();
        let annotations = scraped.map(|one| BTreeMap::from([(SCRAPED.to_owned(), one.to_owned())]));
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                annotations,
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
