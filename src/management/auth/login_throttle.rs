//! Delays logins from an address where many logins failed. The delay doubles with each failure, so
//! that passwords cannot be guessed at the speed of the network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures without a delay: people mistype.
const FREE: u32 = 5;
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(8);
/// The failures of an address are dropped after this time without another one.
const FORGET: Duration = Duration::from_secs(300);
/// At most this many addresses are kept; then the one with the oldest failure is dropped.
const ADDRESSES: usize = 4096;

/// Counts failures by address. IPv6 addresses of one /64 are counted together, as a client that has
/// one of them can usually use all.
#[derive(Debug, Default)]
pub(in crate::management) struct LoginThrottle(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl LoginThrottle {
    /// The delay of a login from this address.
    pub(in crate::management) fn delay_for(&self, from: IpAddr) -> Duration {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&network(from)) {
            Some((count, last)) if *count >= FREE && last.elapsed() < FORGET => {
                let doubled = 1_u64.checked_shl(count - FREE).unwrap_or(u64::MAX);
                Duration::from_secs(doubled).min(LONGEST)
            }
            _ => Duration::ZERO,
        }
    }

    /// Records a failed login. Returns how many have failed.
    pub(in crate::management) fn record_failure(&self, from: IpAddr) -> u32 {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES && !failures.contains_key(&network(from)) {
            failures.retain(|_, (_, last)| last.elapsed() < FORGET);
            let oldest = failures.iter().min_by_key(|(_, (_, last))| *last);
            if failures.len() >= ADDRESSES
                && let Some(oldest) = oldest.map(|(address, _)| *address)
            {
                failures.remove(&oldest);
            }
        }
        let now = Instant::now();
        let (count, last) = failures.entry(network(from)).or_insert((0, now));
        if last.elapsed() >= FORGET {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        *count
    }

    /// Records a successful login, which drops the failures of its address.
    pub(in crate::management) fn record_success(&self, from: IpAddr) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&network(from));
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_failures_are_free_and_more_cost_more_until_they_are_forgotten() {
        let throttle = LoginThrottle::default();
        let [bad, good] = ["203.0.113.7", "203.0.113.8"].map(|one| one.parse().unwrap());
        for _ in 0..FREE - 1 {
            throttle.record_failure(bad);
        }
        assert_eq!(throttle.delay_for(bad), Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..40 {
            throttle.record_failure(bad);
            waits.push(throttle.delay_for(bad).as_secs());
        }
        assert_eq!(waits[..5], [1, 2, 4, 8, 8]);
        assert_eq!(waits.last(), Some(&8));
        assert_eq!(throttle.delay_for(good), Duration::ZERO);
        throttle.record_success(bad);
        assert_eq!(throttle.delay_for(bad), Duration::ZERO);
        for _ in 0..6 {
            throttle.record_failure(bad);
        }
        assert_eq!(throttle.delay_for(bad), Duration::from_secs(2));
        tokio::time::advance(FORGET).await;
        assert_eq!(throttle.delay_for(bad), Duration::ZERO);
    }

    #[test]
    fn a_network_is_one_and_many_of_them_are_bounded() {
        let throttle = LoginThrottle::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for last in 1..=6 {
            throttle.record_failure(address(&format!("2001:db8::{last}")));
        }
        assert!(throttle.delay_for(address("2001:db8::ffff")) > Duration::ZERO);
        assert_eq!(
            throttle.delay_for(address("2001:db8:0:1::1")),
            Duration::ZERO
        );
        for number in 0..10_000_u32 {
            throttle.record_failure(IpAddr::from(number.to_be_bytes()));
        }
        assert!(throttle.0.lock().unwrap().len() <= ADDRESSES);
    }
}
