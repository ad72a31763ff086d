//! How many connections a port has at once, and which of them gives way when another comes.
//!
//! When the limit is reached, the connection that has been without a request for longest is closed for
//! the new one. A connection that is being answered stays. Connections of one network are counted together, and the network that
//! holds most of the waiting ones loses one first, so that a flood from one machine displaces its
//! own connections and not those of others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A new connection has this long for its first bytes before it counts as one that says nothing.
const YOUNG: Duration = Duration::from_millis(20);
/// A peer that takes nothing of its answer for this long gives way too, when no other can.
const STALLED: Duration = Duration::from_secs(2);
/// How often who waits for a place looks for another connection that could give way.
const RETRY: Duration = Duration::from_millis(100);

/// A listener, as the metric of displaced connections names it. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerPort {
    /// `/metrics` and the overview page.
    Metrics,
    /// Probes.
    Health,
    /// Management: its port and its Unix socket.
    Management,
}

impl ListenerPort {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Health, Self::Management];

    /// The value of the label `port`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Management => "management",
        }
    }
}

/// How many connections gave way to newer ones, by listener. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct DisplacedConnections(Arc<[AtomicU64; ListenerPort::ALL.len()]>);

impl DisplacedConnections {
    fn count(&self, port: ListenerPort) {
        self.0[port as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many they were.
    #[must_use]
    pub fn number(&self, port: ListenerPort) -> u64 {
        self.0[port as usize].load(Ordering::Relaxed)
    }

    /// Begins again at 0.
    pub fn clear(&self) {
        for number in &*self.0 {
            number.store(0, Ordering::Relaxed);
        }
    }
}

/// The limit of one port. The number may differ from call to call.
#[derive(Debug)]
pub struct ConnectionLimit {
    started: Instant,
    open: Mutex<OpenConnections>,
    freed: Notify,
    port: ListenerPort,
    displaced: DisplacedConnections,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    all: Vec<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    network: Option<IpAddr>,
    activity: Activity,
    /// Cancelled to tell the task of the connection to close it.
    leave: CancellationToken,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub struct ConnectionPlace {
    limit: Arc<ConnectionLimit>,
    id: u64,
    activity: Activity,
    leave: CancellationToken,
}

/// All places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionsExhausted {
    /// A connection that has asked nothing was told to leave, so that there will be a place.
    pub one_leaves: bool,
}

/// What a connection is doing. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Activity(Arc<ActivityState>);

#[derive(Debug)]
struct ActivityState {
    started: Instant,
    /// A request is being answered.
    answering: AtomicBool,
    /// At least one request has come.
    asked: AtomicBool,
    /// When it began to wait or to be answered, in ms after `started`.
    since: AtomicU64,
    /// Since when the peer takes nothing, in ms after `started`; [`NOT_STALLED`] when it does.
    stalled: AtomicU64,
}

const NOT_STALLED: u64 = u64::MAX;

/// What a connection does; the choice of the one that is closed depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occupation {
    /// No request has come, for so long.
    Silent(Duration),
    /// Its requests were answered so long ago.
    Idle(Duration),
    /// It is being answered; its peer has taken nothing for so long.
    Answering { stalled: Option<Duration> },
}

impl ConnectionLimit {
    /// With no connection. Those that give way are counted for that port.
    #[must_use]
    pub fn new(port: ListenerPort, displaced: DisplacedConnections) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            open: Mutex::default(),
            freed: Notify::new(),
            port,
            displaced,
        })
    }

    /// A place for a connection `from` an address (`None`: a Unix socket), if one of `limit` is
    /// free. Else the connection that can be spared best is told to leave.
    ///
    /// # Errors
    /// [`ConnectionsExhausted`].
    pub fn admit(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        limit: usize,
    ) -> Result<ConnectionPlace, ConnectionsExhausted> {
        let network = from.map(network);
        let mut open = self.lock();
        let own = open.count(network);
        let share = share(limit);
        if open.all.len() < limit && own < share {
            return Ok(self.add_connection(&mut open, network));
        }
        // A network that has its share displaces its own connections only.
        let only = (own >= share).then_some(network);
        let one_leaves = match open.choose(only) {
            Some(member) => {
                member.leave.cancel();
                true
            }
            None => false,
        };
        Err(ConnectionsExhausted { one_leaves })
    }

    /// A place as soon as there is one, at the latest after `patience`.
    pub async fn wait(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        limit: usize,
        patience: Duration,
    ) -> Option<ConnectionPlace> {
        let admitted = async {
            loop {
                let freed = self.freed.notified();
                // The one that was told to leave may have begun a request meanwhile: then it is
                // answered, and another is looked for.
                if let Ok(place) = self.admit_waiting(from, limit) {
                    return place;
                }
                timeout(RETRY, freed).await.ok();
                if let Ok(place) = self.admit(from, limit) {
                    return place;
                }
            }
        };
        timeout(patience, admitted).await.ok()
    }

    /// A place if one is free; nobody is told to leave.
    fn admit_waiting(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        limit: usize,
    ) -> Result<ConnectionPlace, ConnectionsExhausted> {
        let network = from.map(network);
        let mut open = self.lock();
        if open.all.len() < limit && open.count(network) < share(limit) {
            return Ok(self.add_connection(&mut open, network));
        }
        Err(ConnectionsExhausted { one_leaves: false })
    }

    fn add_connection(
        self: &Arc<Self>,
        open: &mut OpenConnections,
        network: Option<IpAddr>,
    ) -> ConnectionPlace {
        let (id, leave) = (open.next, CancellationToken::new());
        open.next += 1;
        let activity = Activity::new(self.started);
        open.all.push(OpenConnection {
            id,
            network,
            activity: activity.clone(),
            leave: leave.clone(),
        });
        ConnectionPlace {
            limit: Arc::clone(self),
            id,
            activity,
            leave,
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().all.len()
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    fn count(&self, network: Option<IpAddr>) -> usize {
        let same = |member: &&OpenConnection| member.network == network;
        self.all.iter().filter(same).count()
    }

    /// The member that can be spared best and was not told to leave before; of one network alone
    /// where `only` names it.
    fn choose(&self, only: Option<Option<IpAddr>>) -> Option<&OpenConnection> {
        let candidates: Vec<(&OpenConnection, (Option<IpAddr>, Occupation))> = self
            .all
            .iter()
            .filter(|member| !member.leave.is_cancelled())
            .filter(|member| only.is_none_or(|network| member.network == network))
            .map(|member| (member, (member.network, member.activity.occupation())))
            .collect();
        let seen: Vec<_> = candidates.iter().map(|(_, seen)| *seen).collect();
        spared_best(&seen).map(|at| candidates[at].0)
    }
}

/// Which of these connections gives way: one that waits before one whose peer takes nothing;
/// of the network with most such; there the one that never asked before one that did, and the
/// oldest. `None`: all are being answered.
fn spared_best(all: &[(Option<IpAddr>, Occupation)]) -> Option<usize> {
    let rank = |occupation: Occupation| match occupation {
        Occupation::Silent(age) if age >= YOUNG => Some((3, age)),
        Occupation::Idle(age) => Some((2, age)),
        // Its request may be on the way.
        Occupation::Silent(age) => Some((1, age)),
        Occupation::Answering { stalled } => {
            stalled.filter(|age| *age >= STALLED).map(|age| (0, age))
        }
    };
    let ranked: Vec<_> = all
        .iter()
        .enumerate()
        .filter_map(|(at, (network, occupation))| Some((at, network, rank(*occupation)?)))
        .collect();
    let any_waits = ranked.iter().any(|(_, _, (rank, _))| *rank > 0);
    let counted = |rank: u8| (rank > 0) == any_waits;
    let mut by_network: Vec<(&Option<IpAddr>, usize)> = Vec::new();
    for (_, network, _) in ranked.iter().filter(|(_, _, (rank, _))| counted(*rank)) {
        match by_network.iter_mut().find(|(known, _)| known == network) {
            Some((_, number)) => *number += 1,
            None => by_network.push((network, 1)),
        }
    }
    let most = by_network.iter().map(|(_, number)| *number).max()?;
    let of_largest = |network: &Option<IpAddr>| {
        let number = by_network.iter().find(|(known, _)| *known == network);
        number.is_some_and(|(_, number)| *number == most)
    };
    ranked
        .iter()
        .filter(|(_, network, (rank, _))| counted(*rank) && of_largest(network))
        .max_by_key(|(_, _, rank)| *rank)
        .map(|(at, _, _)| *at)
}

/// The most places that one network may hold: a sixteenth is kept for others.
fn share(limit: usize) -> usize {
    limit - limit / 16
}

/// Whoever has one address of an IPv6 network has all of it (RFC 4291, section 2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}

impl ConnectionPlace {
    /// Completes when the connection is to leave, unless it is being answered.
    pub async fn to_leave(&self) {
        self.leave.cancelled().await;
    }

    /// Where the connection tells what it is doing.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        if self.leave.is_cancelled() {
            self.limit.displaced.count(self.limit.port);
        }
        self.limit.lock().all.retain(|member| member.id != self.id);
        self.limit.freed.notify_one();
    }
}

impl Activity {
    fn new(started: Instant) -> Self {
        let activity = Self(Arc::new(ActivityState {
            started,
            answering: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(NOT_STALLED),
        }));
        activity.0.since.store(activity.now(), Ordering::Release);
        activity
    }

    /// A request has come whole, or all of them are answered.
    pub fn set_answering(&self, answering: bool) {
        let state = &self.0;
        if answering {
            state.asked.store(true, Ordering::Release);
        }
        if state.answering.swap(answering, Ordering::AcqRel) != answering {
            state.since.store(self.now(), Ordering::Release);
        }
    }

    /// The peer takes nothing of what is written, or takes some again.
    pub fn set_stalled(&self, stalled: bool) {
        let since = if stalled { self.now() } else { NOT_STALLED };
        self.0.stalled.store(since, Ordering::Release);
    }

    /// Whether the peer has taken nothing for so long that its answer may be given up for others.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        let stalled = self.0.stalled.load(Ordering::Acquire);
        stalled != NOT_STALLED
            && Duration::from_millis(self.now().saturating_sub(stalled)) >= STALLED
    }

    fn occupation(&self) -> Occupation {
        let now = self.now();
        let age = |since: u64| Duration::from_millis(now.saturating_sub(since));
        let since = age(self.0.since.load(Ordering::Acquire));
        let stalled = self.0.stalled.load(Ordering::Acquire);
        let stalled = (stalled != NOT_STALLED).then(|| age(stalled));
        // The tail of an answer that is on its way belongs to the answer.
        if self.0.answering.load(Ordering::Acquire) || stalled.is_some() {
            Occupation::Answering { stalled }
        } else if self.0.asked.load(Ordering::Acquire) {
            Occupation::Idle(since)
        } else {
            Occupation::Silent(since)
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    fn limit_of_test() -> Arc<ConnectionLimit> {
        ConnectionLimit::new(ListenerPort::Metrics, DisplacedConnections::default())
    }

    const fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn who_waits_gives_way_and_who_is_answered_does_not() {
        use Occupation::{Answering, Idle, Silent};
        let busy = Answering { stalled: None };
        let stuck = |age| Answering {
            stalled: Some(ms(age)),
        };
        let (a, b) = (from("192.0.2.1"), from("192.0.2.2"));
        type Connections<'a> = &'a [(Option<IpAddr>, Occupation)];
        let cases: &[(Connections<'_>, Option<usize>)] = &[
            (&[], None),
            (&[(a, busy), (b, busy)], None),
            // The oldest of those that never asked.
            (
                &[
                    (a, busy),
                    (a, Silent(ms(50))),
                    (a, Silent(ms(90))),
                    (a, Idle(ms(900))),
                ],
                Some(2),
            ),
            // One that has just come may have its request on the way.
            (&[(a, Silent(ms(5))), (a, Idle(ms(30)))], Some(1)),
            (
                &[(a, busy), (a, Silent(ms(5))), (a, Silent(ms(6)))],
                Some(2),
            ),
            // The network that has most of them loses one, though another has the oldest.
            (
                &[
                    (a, Silent(ms(900))),
                    (b, Silent(ms(30))),
                    (b, Silent(ms(40))),
                ],
                Some(2),
            ),
            (
                &[(a, Idle(ms(9_000))), (b, Idle(ms(30))), (b, Silent(ms(5)))],
                Some(1),
            ),
            // Connections that are answered do not count against their network.
            (
                &[(a, busy), (a, busy), (a, Idle(ms(40))), (b, Idle(ms(50)))],
                Some(3),
            ),
            // Last of all who takes nothing of his answer.
            (&[(a, stuck(1_000)), (b, busy)], None),
            (&[(a, stuck(3_000)), (b, stuck(2_500)), (b, busy)], Some(0)),
            (&[(a, stuck(3_000)), (b, Silent(ms(5)))], Some(1)),
        ];
        for (case, expected) in cases {
            assert_eq!(spared_best(case), *expected, "{case:?}");
        }
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_has_the_place_of_one_that_asked_nothing() {
        let limit = limit_of_test();
        let first = limit.admit(None, 2).unwrap();
        let second = limit.admit(None, 2).unwrap();
        first.activity().set_answering(true);
        tokio::time::advance(ms(30)).await;
        let full = limit.admit(None, 2).unwrap_err();
        assert!(full.one_leaves);
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled());
        let other = Arc::clone(&limit);
        let waits = tokio::spawn(async move { other.wait(None, 2, ms(1_000)).await });
        tokio::task::yield_now().await;
        let displaced = |port| limit.displaced.number(port);
        assert_eq!(displaced(ListenerPort::Metrics), 0);
        drop(second);
        assert_eq!(displaced(ListenerPort::Metrics), 1);
        assert_eq!(displaced(ListenerPort::Health), 0);
        let third = waits.await.unwrap().expect("its place");
        // Both are answered now: nobody leaves, and who waits is told in the end.
        third.activity().set_answering(true);
        assert!(!limit.admit(None, 2).unwrap_err().one_leaves);
        assert!(limit.wait(None, 2, ms(100)).await.is_none());
        third.activity().set_answering(false);
        assert!(limit.admit(None, 2).unwrap_err().one_leaves);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_begins_a_request_when_it_is_to_leave_is_answered_and_another_leaves() {
        let limit = limit_of_test();
        let (first, second) = (limit.admit(None, 2).unwrap(), limit.admit(None, 2).unwrap());
        let other = Arc::clone(&limit);
        let waits = tokio::spawn(async move { other.wait(None, 2, ms(1_000)).await });
        tokio::task::yield_now().await;
        tokio::time::advance(ms(30)).await;
        first.to_leave().await;
        first.activity().set_answering(true);
        second.to_leave().await;
        drop(second);
        assert!(waits.await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_never_has_all_places() {
        let limit = limit_of_test();
        let (flood, other) = (from("192.0.2.1"), from("192.0.2.2"));
        let held: Vec<_> = (0..)
            .map_while(|_| limit.admit(flood, 32).ok())
            .inspect(|place| place.activity().set_answering(true))
            .collect();
        assert_eq!(held.len(), 30);
        assert!(!limit.admit(flood, 32).unwrap_err().one_leaves);
        let guest = limit.admit(other, 32).unwrap();
        // It is silent, but whoever has his share displaces his own only.
        tokio::time::advance(ms(500)).await;
        assert!(!limit.admit(flood, 32).unwrap_err().one_leaves);
        assert!(!guest.leave.is_cancelled());
    }
}
