//! Turns and tries of a server's other databases: in which order they are visited, how much of the
//! deadline each of them has, and when one that could not be asked is tried again. Pure: it reads no
//! clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::targets::{DatabaseProblem, MissingDatabase};

/// A database that refused the role is tried again after this long, then twice as long each time …
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// … and after this long where it may be over soon: a crowd of clients, a lock.
const FIRST_SHORT_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Of the deadline a database has this much at least, if so much is left.
const LEAST_SHARE: Duration = Duration::from_millis(250);
/// A database that does not answer within so much is slow, whatever the scrape timeout is.
const JUDGED_BY: Duration = Duration::from_secs(1);
/// The same when it has had all that was left of the deadline so often in a row.
const WHOLE_SHARES: u32 = 3;
/// What is left of a deadline and too little to begin with.
const TOO_LITTLE: Duration = Duration::from_millis(10);

/// The databases of one server that could not be asked, and whose turn is next.
#[derive(Debug, Default)]
pub(crate) struct DatabaseTurns {
    failed: BTreeMap<String, FailedDatabase>,
    /// Those that used up their share last time: they wait for the others.
    slow: BTreeSet<String>,
    /// How often in a row a database did not answer within all that was left of a short deadline.
    late: BTreeMap<String, u32>,
    /// The one where the last walk ended.
    last: Option<String>,
}

#[derive(Debug)]
struct FailedDatabase {
    problem: DatabaseProblem,
    message: String,
    /// Failures in a row.
    failures: u32,
    /// Not tried before.
    until: Instant,
}

/// What a database's share of the deadline says of one that does not answer within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareKind {
    /// It is slow.
    Fair,
    /// Little, and all there was: it is slow if that happens again and again.
    Whole,
    /// Nothing: in the next scrape it comes last, and has what the others leave.
    Short,
}

impl ShareKind {
    /// Of a share from `now` to `until`, of all until `deadline`.
    pub(crate) fn from_share(now: Instant, until: Instant, deadline: Instant) -> Self {
        match until.saturating_duration_since(now) {
            length if length >= JUDGED_BY => Self::Fair,
            _ if until >= deadline => Self::Whole,
            _ => Self::Short,
        }
    }
}

impl DatabaseTurns {
    /// Whether it may be tried at `now`.
    pub(crate) fn may_try(&self, name: &str, now: Instant) -> bool {
        self.failed.get(name).is_none_or(|one| one.until <= now)
    }

    /// The order in which to visit them: behind the one where the last walk ended, and those that
    /// were slow after the others. `names` are sorted.
    pub(crate) fn order(&self, names: Vec<String>) -> Vec<String> {
        let behind = |name: &String| self.last.as_ref().is_none_or(|last| name > last);
        let (mut order, before): (Vec<_>, Vec<_>) = names.into_iter().partition(behind);
        order.extend(before);
        let (slow, mut order): (Vec<_>, Vec<_>) =
            order.into_iter().partition(|name| self.slow.contains(name));
        order.extend(slow);
        order
    }

    /// A database had its turn.
    pub(crate) fn visited(&mut self, name: &str) {
        self.last = Some(name.to_owned());
    }

    /// It used up its share, or did not.
    pub(crate) fn record_speed(&mut self, name: &str, is_slow: bool) {
        match is_slow {
            true => self.slow.insert(name.to_owned()),
            false => self.slow.remove(name),
        };
    }

    /// It did not answer within its share. Returns whether it is to be left alone for a while.
    pub(crate) fn record_late(&mut self, name: &str, share: ShareKind) -> bool {
        match share {
            ShareKind::Fair => true,
            ShareKind::Short => false,
            ShareKind::Whole => {
                let times = self.late.entry(name.to_owned()).or_default();
                *times = times.saturating_add(1);
                *times >= WHOLE_SHARES
            }
        }
    }

    /// It could not be asked. Returns whether that is news: it could be before, or for another
    /// reason.
    pub(crate) fn record_failure(
        &mut self,
        name: &str,
        at: Instant,
        problem: DatabaseProblem,
        message: &str,
    ) -> bool {
        let before = self.failed.get(name);
        let is_news = before.is_none_or(|before| before.problem != problem);
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let first = match problem {
            DatabaseProblem::TooSlow
            | DatabaseProblem::ConnectionLimit
            | DatabaseProblem::ConnectionFailed => FIRST_SHORT_PAUSE,
            _ => FIRST_PAUSE,
        };
        let pause = first.saturating_mul(1 << (failures - 1).min(10));
        let failed = FailedDatabase {
            problem,
            message: message.to_owned(),
            failures,
            until: at + pause.min(LONGEST_PAUSE),
        };
        self.failed.insert(name.to_owned(), failed);
        is_news
    }

    /// It answered. Returns whether it had failed before.
    pub(crate) fn record_success(&mut self, name: &str) -> bool {
        self.late.remove(name);
        self.failed.remove(name).is_some()
    }

    /// All may be tried at once, as somebody may have mended them. What is told stays told.
    pub(crate) fn retry(&mut self, now: Instant) {
        for failed in self.failed.values_mut() {
            failed.until = now;
            failed.failures = 0;
        }
        self.late.clear();
    }

    /// Forgets those that are no longer there or not chosen.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.failed.retain(|name, _| is_there(name));
        self.slow.retain(|name| is_there(name));
        self.late.retain(|name, _| is_there(name));
    }

    /// Those that could not be asked when they were last tried.
    pub(crate) fn failed(&self) -> impl Iterator<Item = MissingDatabase> {
        self.failed.iter().map(|(name, failed)| MissingDatabase {
            name: name.clone(),
            problem: failed.problem,
            message: failed.message.clone(),
        })
    }
}

/// When a database has to be done, of which `left` wait for their turn, this one among them. `None`
/// when there is no time to begin.
pub(crate) fn share(now: Instant, deadline: Instant, left: usize) -> Option<Instant> {
    let rest = deadline.saturating_duration_since(now);
    if rest < TOO_LITTLE {
        return None;
    }
    let fair = rest / u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    Some(now + fair.max(LEAST_SHARE).min(rest))
}

/// When the server's own database has to be done if `others` wait for their turn behind it: each of
/// them has the least share, all of them no more than a third of the deadline.
pub(crate) fn own_share(now: Instant, deadline: Instant, others: usize) -> Instant {
    let rest = deadline.saturating_duration_since(now);
    let others = LEAST_SHARE.saturating_mul(u32::try_from(others).unwrap_or(u32::MAX));
    now + rest - others.min(rest / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_walk_begins_behind_the_one_where_the_last_ended_and_leaves_slow_ones_for_the_end() {
        for (last, slow, expected) in [
            ("", "", "a b c d"),
            ("b", "", "c d a b"),
            ("d", "", "a b c d"),
            ("bb", "", "c d a b"),
            ("z", "", "a b c d"),
            ("b", "c", "d a b c"),
            ("a", "a b", "c d b a"),
        ] {
            let mut turns = DatabaseTurns::default();
            if !last.is_empty() {
                turns.visited(last);
            }
            for name in names(slow) {
                turns.record_speed(&name, true);
            }
            let order = turns.order(names("a b c d"));
            assert_eq!(order, names(expected), "{last} {slow}");
        }
    }

    #[test]
    fn every_database_has_a_turn_when_each_walk_has_time_for_two() {
        let mut turns = DatabaseTurns::default();
        let mut visits: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..10 {
            for name in turns.order(names("a b c d e")).into_iter().take(2) {
                turns.visited(&name);
                *visits.entry(name).or_default() += 1;
            }
        }
        assert!(
            visits.len() == 5 && visits.values().all(|one| *one == 4),
            "{visits:?}"
        );
    }

    #[test]
    fn the_time_that_is_left_is_shared_by_those_that_are_left() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        for (rest, left, expected) in [
            (3_000, 3, Some(1_000)),
            (3_000, 1, Some(3_000)),
            (3_000, 100, Some(250)),
            (100, 4, Some(100)),
            (5, 1, None),
            (0, 1, None),
        ] {
            let found = share(now, now + ms(rest), left);
            assert_eq!(
                found,
                expected.map(|share| now + ms(share)),
                "{rest} {left}"
            );
        }
        assert_eq!(share(now, now - ms(5), 2), None);
        for (others, expected) in [(0, 3_000), (1, 2_750), (2, 2_500), (50, 2_000)] {
            let found = own_share(now, now + ms(3_000), others);
            assert_eq!(found, now + ms(expected), "{others}");
        }
    }

    #[test]
    fn a_database_that_fails_is_tried_later_each_time_and_told_once() {
        use DatabaseProblem::{ConnectionLimit, NotAllowed, TooSlow};
        let mut turns = DatabaseTurns::default();
        let mut now = Instant::now();
        assert!(turns.may_try("m", now));
        for (problem, news, pause) in [
            (NotAllowed, true, 60),
            (NotAllowed, false, 120),
            (NotAllowed, false, 240),
            (NotAllowed, false, 480),
            (NotAllowed, false, 600),
            (NotAllowed, false, 600),
            (ConnectionLimit, true, 600),
            (NotAllowed, true, 600),
        ] {
            assert_eq!(turns.record_failure("m", now, problem, "no"), news);
            now += Duration::from_secs(pause);
            assert!(!turns.may_try("m", now - Duration::from_secs(1)));
            assert!(turns.may_try("m", now) && turns.may_try("n", now));
        }
        assert_eq!(turns.failed().count(), 1);
        turns.record_failure("m", now, NotAllowed, "no");
        turns.retry(now);
        assert!(turns.may_try("m", now));
        assert!(
            !turns.record_failure("m", now, NotAllowed, "no"),
            "told before"
        );
        assert!(!turns.may_try("m", now + Duration::from_secs(59)));
        assert!(turns.record_success("m") && !turns.record_success("m"));
        assert!(turns.record_failure("m", now, TooSlow, "no"));
        assert!(turns.may_try("m", now + Duration::from_secs(15)));
        turns.retain(|name| name != "m");
        assert_eq!(turns.failed().count(), 0);
    }

    #[test]
    fn a_database_rests_when_it_had_a_share_that_it_can_be_judged_by() {
        use ShareKind::{Fair, Short, Whole};
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        for (until, deadline, expected) in [
            (250, 900, Short),
            (999, 5_000, Short),
            (1_000, 5_000, Fair),
            (1_000, 1_000, Fair),
            (900, 900, Whole),
            (20, 20, Whole),
        ] {
            let found = ShareKind::from_share(now, at(until), at(deadline));
            assert_eq!(found, expected, "{until} of {deadline}");
        }
        for (shares, rests) in [
            (&[Fair][..], true),
            (&[Short; 100], false),
            (&[Whole, Whole], false),
            (&[Whole, Short, Whole, Short, Whole], true),
        ] {
            let mut turns = DatabaseTurns::default();
            let last = shares.iter().map(|share| turns.record_late("m", *share));
            assert_eq!(last.last(), Some(rests), "{shares:?}");
            turns.record_success("m");
            assert!(!turns.record_late("m", Whole), "begins again");
        }
    }
}
