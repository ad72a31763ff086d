//! Which problems of a target are in the log already, so that each is logged once. No I/O.
//!
//! The names come from the server (its databases) and from tenants (their metrics), who can invent
//! new ones at each scrape: what is gone is forgotten, and the rest has a bound.

use std::collections::BTreeSet;

/// So many problems are remembered; further ones are not logged.
const MOST_PROBLEMS: usize = 1_000;
/// The names of all of them have so many bytes at most.
const MOST_BYTES: usize = 64 * 1024;

/// Problems by database and tag.
#[derive(Debug, Default)]
pub(crate) struct ReportedProblems {
    all: BTreeSet<(String, String)>,
    bytes: usize,
    /// That further ones are not logged was logged.
    is_full: bool,
}

/// What to do with a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportAction {
    /// It is new.
    Log,
    /// It is new, and the first of those that there is no room for: log that, and not the problem.
    LogFull,
    /// It was logged before, or there is no room for it.
    Skip,
}

impl ReportedProblems {
    /// Remembers a problem, if there is room for it.
    pub(crate) fn add(&mut self, database: &str, tag: &str) -> ReportAction {
        let key = (database.to_owned(), tag.to_owned());
        if self.all.contains(&key) {
            return ReportAction::Skip;
        }
        let bytes = self.bytes + size(&key);
        if self.all.len() >= MOST_PROBLEMS || bytes > MOST_BYTES {
            return match std::mem::replace(&mut self.is_full, true) {
                true => ReportAction::Skip,
                false => ReportAction::LogFull,
            };
        }
        self.bytes = bytes;
        self.all.insert(key);
        ReportAction::Log
    }

    /// Forgets a problem that is over. Returns whether it was remembered.
    pub(crate) fn remove(&mut self, database: &str, tag: &str) -> bool {
        let key = (database.to_owned(), tag.to_owned());
        let was_there = self.all.remove(&key);
        if was_there {
            self.bytes -= size(&key);
            self.note_room();
        }
        was_there
    }

    /// Forgets those of databases and tags that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str, &str) -> bool) {
        self.all.retain(|(database, tag)| is_there(database, tag));
        self.bytes = self.all.iter().map(size).sum();
        self.note_room();
    }

    /// With half of the room free again it may be logged once more that there is none: one problem
    /// that comes and goes at the bound would else be logged each time.
    fn note_room(&mut self) {
        let has_room = self.all.len() <= MOST_PROBLEMS / 2 && self.bytes <= MOST_BYTES / 2;
        self.is_full &= !has_room;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

fn size((database, tag): &(String, String)) -> usize {
    database.len() + tag.len()
}

#[cfg(test)]
mod tests {
    use super::ReportAction::{Log, LogFull, Skip};
    use super::*;

    #[test]
    fn a_problem_is_logged_once_and_again_when_it_was_over() {
        let mut reported = ReportedProblems::default();
        assert_eq!(reported.add("shop", "locks"), Log);
        assert_eq!(reported.add("shop", "locks"), Skip);
        assert_eq!(reported.add("shop", "sizes"), Log);
        assert!(reported.remove("shop", "locks") && !reported.remove("shop", "locks"));
        assert_eq!(reported.add("shop", "locks"), Log);
        reported.retain(|database, tag| database == "shop" && tag == "sizes");
        assert_eq!(reported.add("shop", "sizes"), Skip);
        assert_eq!(reported.add("shop", "locks"), Log);
    }

    #[test]
    fn names_that_are_invented_at_each_scrape_have_a_bound_in_number_and_bytes() {
        for (length, most) in [(8, MOST_PROBLEMS), (1_000, MOST_BYTES / 1_000)] {
            let mut reported = ReportedProblems::default();
            let name = |number: usize| format!("{number:0length$}");
            let actions: Vec<_> = (0..5_000)
                .map(|number| reported.add(&name(number), ""))
                .collect();
            let count = |action| actions.iter().filter(|one| **one == action).count();
            assert_eq!((count(Log), count(LogFull)), (most, 1), "{length}");
            assert!(reported.all.len() <= MOST_PROBLEMS && reported.bytes <= MOST_BYTES);
            // One that comes and goes at the bound is not logged as often as it comes.
            assert!(reported.remove(&name(0), ""));
            assert_eq!(reported.add(&name(0), ""), Log);
            assert_eq!(reported.add(&name(4_999), ""), Skip);
            // Those that are gone leave all of the room.
            reported.retain(|_, _| false);
            assert_eq!((reported.all.len(), reported.bytes), (0, 0));
            assert_eq!(reported.add(&name(4_999), ""), Log);
        }
    }
}
