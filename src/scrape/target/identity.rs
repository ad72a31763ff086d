//! Which server a target's samples are of, and what a name that leads to others means. No I/O.
//!
//! A name can lead to another server for three reasons. The server is gone and another took its
//! place (a failover): the new one is shown at once. The name was moved while the old server still
//! answers: the new one is shown once several connections in a row have reached it. Or the name
//! leads to several servers in turn, as a Service of all replicas does: then one of them is shown,
//! always the same while it lives, and the target is called ambiguous.

use std::collections::VecDeque;

use crate::postgres::ServerIdentity;

/// Connections in a row that have to reach another server before it is shown in the place of one
/// that still answers; and that are made to find the one that is shown.
pub(crate) const TRIES: u32 = 6;
/// New connections in a row that reach the server that is shown, and end the ambiguity.
const UNAMBIGUOUS: u32 = 24;
/// Connections that are remembered.
const REMEMBERED: usize = 32;

/// What became of the session that a new one is to take the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldSession {
    /// It answers.
    Alive,
    /// It has not answered for some scrapes.
    Hung,
    /// There is none.
    Gone,
}

/// What to do with a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionChoice {
    /// Its server is shown from now on.
    Adopt,
    /// Connect once more.
    TryAgain,
    /// The old session stays.
    KeepOld,
}

/// The servers that connections of one target have reached.
#[derive(Debug, Default)]
pub(crate) struct ServerIdentities {
    shown: Option<ServerIdentity>,
    /// The last connections, oldest first; equal ones that follow each other are one.
    reached: VecDeque<ServerIdentity>,
    ambiguous: Option<ServerIdentity>,
    same_in_a_row: u32,
    tries: u32,
}

impl ServerIdentities {
    /// A new connection has reached a server.
    pub(crate) fn record(&mut self, identity: ServerIdentity) {
        let is = |other: &ServerIdentity| other.is_same_server(&identity);
        if self.shown.as_ref().is_some_and(is) {
            self.same_in_a_row = self.same_in_a_row.saturating_add(1);
        } else {
            self.same_in_a_row = 0;
        }
        if self.same_in_a_row >= UNAMBIGUOUS {
            self.ambiguous = None;
            self.reached.clear();
        }
        if self.reached.back().is_some_and(is) {
            return;
        }
        // It was left for another server and is there again: both live.
        if self.reached.iter().any(is) {
            let other = self.reached.back().copied();
            self.ambiguous = self.ambiguous.or(other);
        }
        if self.reached.len() == REMEMBERED {
            self.reached.pop_front();
        }
        self.reached.push_back(identity);
    }

    /// What to do with a new session, which was recorded.
    pub(crate) fn choose(&mut self, identity: ServerIdentity, old: OldSession) -> SessionChoice {
        let same = |shown: &ServerIdentity| shown.is_same_server(&identity);
        let adopts = match (&self.shown, old) {
            (None, _) | (_, OldSession::Hung) => true,
            (Some(shown), _) if same(shown) => true,
            (_, OldSession::Gone) => self.ambiguous.is_none(),
            (_, OldSession::Alive) => false,
        };
        if adopts {
            return self.adopt(identity);
        }
        self.tries += 1;
        if self.tries < TRIES {
            return SessionChoice::TryAgain;
        }
        if old == OldSession::Alive && self.ambiguous.is_some() {
            self.tries = 0;
            return SessionChoice::KeepOld;
        }
        self.adopt(identity)
    }

    fn adopt(&mut self, identity: ServerIdentity) -> SessionChoice {
        self.tries = 0;
        self.shown = Some(identity);
        SessionChoice::Adopt
    }

    /// Whether the last new connections reached another server than the one that is shown, and
    /// more are needed to tell why.
    pub(crate) fn is_undecided(&self) -> bool {
        self.tries > 0
    }

    /// A pooler has led a session to another server, which is shown for want of a choice.
    pub(crate) fn follow_pooler(&mut self, identity: ServerIdentity) {
        self.record(identity);
        self.shown = Some(identity);
    }

    /// The server that is shown.
    pub(crate) fn shown(&self) -> Option<&ServerIdentity> {
        self.shown.as_ref()
    }

    /// The server that the name leads to beside the one that is shown; `None` when it leads to one.
    pub(crate) fn other(&self) -> Option<&ServerIdentity> {
        let ambiguous = self.ambiguous.as_ref()?;
        let is_shown =
            |one: &&ServerIdentity| self.shown.is_some_and(|shown| shown.is_same_server(one));
        // The same one as long as it can be, for a message that stays.
        std::iter::once(ambiguous)
            .chain(self.reached.iter().rev())
            .find(|one| !is_shown(one))
            .or(Some(ambiguous))
    }

    /// Whether the name leads to different servers in turn.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::OldSession::{Alive, Gone, Hung};
    use super::SessionChoice::{Adopt, KeepOld, TryAgain};
    use super::*;

    fn server(name: char) -> ServerIdentity {
        ServerIdentity {
            started: i64::from(u32::from(name)),
            system: Some(7),
            ..ServerIdentity::default()
        }
    }

    /// Follows connections, each to a server with what became of the session before it. Returns the
    /// choices and whether the target is ambiguous at the end.
    fn follow(connections: &[(char, OldSession)]) -> (Vec<SessionChoice>, bool) {
        let mut identities = ServerIdentities::default();
        let choose = |(name, old): &(char, OldSession)| {
            identities.record(server(*name));
            identities.choose(server(*name), *old)
        };
        let choices = connections.iter().map(choose).collect();
        (choices, identities.is_ambiguous())
    }

    #[test]
    fn a_session_is_adopted_or_not_by_the_server_that_it_reached() {
        let moved: Vec<_> = std::iter::once(('a', Gone))
            .chain(std::iter::repeat_n(('b', Alive), TRIES as usize))
            .collect();
        let mut moves = vec![TryAgain; TRIES as usize + 1];
        (moves[0], moves[TRIES as usize]) = (Adopt, Adopt);
        type Case<'a> = (&'a str, &'a [(char, OldSession)], &'a [SessionChoice], bool);
        let cases: [Case<'_>; 8] = [
            ("the first", &[('a', Gone)], &[Adopt], false),
            (
                "renewed",
                &[('a', Gone), ('a', Alive), ('a', Gone)],
                &[Adopt, Adopt, Adopt],
                false,
            ),
            (
                "a failover, and one back after a restart",
                &[('a', Gone), ('b', Gone), ('c', Gone)],
                &[Adopt, Adopt, Adopt],
                false,
            ),
            (
                "a failover with a hung old server",
                &[('a', Gone), ('b', Hung)],
                &[Adopt, Adopt],
                false,
            ),
            ("the name was moved", &moved, &moves, false),
            (
                "two replicas behind one name",
                &[('a', Gone), ('b', Alive), ('a', Alive), ('b', Alive)],
                &[Adopt, TryAgain, Adopt, TryAgain],
                true,
            ),
            (
                "two replicas, and no session is kept",
                &[('a', Gone), ('b', Gone), ('a', Gone), ('b', Gone)],
                &[Adopt, Adopt, TryAgain, Adopt],
                true,
            ),
            (
                "the one that hangs answers again",
                &[('a', Gone), ('a', Hung)],
                &[Adopt, Adopt],
                false,
            ),
        ];
        for (what, connections, choices, ambiguous) in cases {
            assert_eq!(follow(connections), (choices.to_vec(), ambiguous), "{what}");
        }
    }

    #[test]
    fn an_ambiguous_target_keeps_its_server_while_it_lives_and_no_longer() {
        let mut identities = ServerIdentities::default();
        let mut reach = |name: char, old: OldSession| {
            identities.record(server(name));
            let choice = identities.choose(server(name), old);
            (choice, identities.shown() == Some(&server('a')))
        };
        reach('a', Gone);
        reach('b', Alive);
        reach('a', Alive);
        for _ in 1..TRIES {
            assert_eq!(reach('b', Alive), (TryAgain, true));
        }
        assert_eq!(reach('b', Alive), (KeepOld, true));
        // Its session is lost, and it is found again.
        assert_eq!(reach('b', Gone), (TryAgain, true));
        assert_eq!(reach('a', Gone), (Adopt, true));
        // It is gone.
        for _ in 1..TRIES {
            assert_eq!(reach('b', Gone), (TryAgain, true));
        }
        assert_eq!(reach('b', Gone), (Adopt, false));
        assert_eq!(identities.other(), Some(&server('a')));
    }

    #[test]
    fn a_name_that_leads_to_one_server_again_is_no_longer_ambiguous() {
        let mut identities = ServerIdentities::default();
        for name in ['a', 'b', 'a'] {
            identities.record(server(name));
            identities.choose(server(name), Gone);
        }
        identities.record(server('b'));
        identities.choose(server('b'), Hung);
        assert!(identities.is_ambiguous());
        for _ in 1..UNAMBIGUOUS {
            assert!(identities.is_ambiguous());
            identities.record(server('b'));
        }
        assert!(!identities.is_ambiguous());
        // What was before does not count any more.
        identities.record(server('a'));
        assert!(!identities.is_ambiguous());
    }
}
