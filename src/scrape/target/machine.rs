//! The life of a target as a state machine: events in, actions out. It has no I/O and no clock, so
//! that each of its rules is tested as a table.
//!
//! ```text
//!            Connect          Ready             Collect         Collected
//! no session ───────► attempt ─────► idle session ─────► in use ─────────► idle, no session,
//!     ▲  ▲               │ ConnectFailed  │ EndedIdle         │ DrainBegan    or draining
//!     │  └── backing off ◄───────────────┴───────────────────┴──► draining ─► idle, no session
//! ```
//!
//! [`TargetMachine::next_action`] says what to do now; [`TargetMachine::handle`] takes what came of
//! it, and everything else that happens. At most one connection is made beside a session, or beside
//! an attempt that does not answer.

mod handle;

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, FloodHistory};
use super::event::{AttemptSlot, DownCause, MOMENT, StateNotice, TargetAction, TargetView};
use crate::model::TargetErrorKind;
use crate::targets::TargetError;

/// A server that nobody scrapes is asked how it is this often.
pub(crate) const CHECK: Duration = Duration::from_secs(25);
/// A session that has no answer for so many scrapes is given up for another one.
const UNANSWERED: u32 = 2;
/// A renewal that failed is tried again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// A reload lets the sessions of all targets be renewed between these two times.
const AFTER_RELOAD: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
/// However often it is reloaded, a reload renews a session once in this time.
const RELOADS: Duration = Duration::from_secs(60);
/// A server that has two connections and answers over none is looked for this often, at first.
const PAUSE: Duration = Duration::from_secs(2);
/// For so long: each time it may have one connection more to take and to end once it goes on.
const OFTEN: Duration = Duration::from_secs(60);
/// How many sessions a collection may have in place of such as the server ended: one may have ended
/// by a query, which is suspected the second time and then left out.
const REPLACEMENTS: u32 = 2;
/// The same of sessions whose connection broke and nobody said why: what stands between forgot one
/// that was idle, or the server crashed, and whatever made it do so is not run again and again.
const REPLACEMENTS_UNTOLD: u32 = 1;

/// The target's own session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    None,
    Idle,
    /// A collection, a check or a step of a profile runs.
    InUse,
    /// It has yet to answer what it was asked. It is waited for instead of connected to again: that
    /// would be one connection more for as long as the server sleeps.
    Draining {
        since: Instant,
        keep: bool,
    },
}

/// What is known of one target, and what is due for it.
#[derive(Debug)]
pub(crate) struct TargetMachine {
    /// Where the server listens, for messages.
    address: String,
    /// The target keeps its session between scrapes.
    keeps_session: bool,
    /// A number from 0 to 1 that spreads what would happen everywhere at the same time.
    jitter: fn() -> f64,
    session: SessionState,
    /// Attempts that are under way, and whether each is late.
    first: Option<bool>,
    second: Option<bool>,
    /// A collection is waited for, which has had so many sessions that ended.
    request: Option<u32>,
    /// A profile is waited for until then.
    profile: Option<Instant>,
    /// `None` while all is well, or before the first attempt.
    down: Option<DownCause>,
    backoff: Backoff,
    floods: FloodHistory,
    /// When the session is to be renewed; `None` without one, and when it never is.
    renew_at: Option<Instant>,
    /// When a reload last had it renewed.
    reloaded_at: Option<Instant>,
    /// Scrapes that got nothing for a session, or an attempt, that does not answer.
    unanswered: u32,
    /// Another session reached the same server: not tried again before.
    again_at: Option<Instant>,
    /// How long a request waits for a renewal that is under way.
    renewal_until: Option<Instant>,
    /// The server ended a session that no scrape had used: the next is made when one needs it.
    on_demand: bool,
    /// How many scrapes used the present session.
    used: u64,
    /// Connections ran out: sessions are not kept, so that every target gets its turn.
    crowded: bool,
    /// When the server is asked how it is, unless somebody asks it more before.
    check_at: Instant,
    notices: Vec<StateNotice>,
}

impl TargetMachine {
    /// A target that was just added. `jitter` gives numbers from 0 to 1.
    pub(crate) fn new(
        address: String,
        keeps_session: bool,
        now: Instant,
        jitter: fn() -> f64,
    ) -> Self {
        Self {
            address,
            keeps_session,
            jitter,
            session: SessionState::None,
            first: None,
            second: None,
            request: None,
            profile: None,
            down: None,
            backoff: Backoff::new(jitter),
            floods: FloodHistory::default(),
            renew_at: None,
            reloaded_at: None,
            unanswered: 0,
            again_at: None,
            renewal_until: None,
            on_demand: false,
            used: 0,
            crowded: false,
            check_at: now + CHECK,
            notices: Vec::new(),
        }
    }

    /// What to do now. Whoever does it tells what came of it by [`Self::handle`] and asks again.
    pub(crate) fn next_action(&mut self, now: Instant, view: &TargetView) -> TargetAction {
        if let Some(action) = self.end_what_is_over(now, view) {
            return action;
        }
        if let Some(action) = self.serve_request(now, view) {
            return action;
        }
        if let Some(action) = self.start_attempt(now, view) {
            return action;
        }
        if self.session == SessionState::Idle && self.check_at <= now {
            self.session = SessionState::InUse;
            return TargetAction::Check;
        }
        TargetAction::Wait {
            until: self.next_moment(now, view),
            profile: self.can_profile(),
        }
    }

    /// A profile that will have no session in time, and a session that is not to be kept.
    fn end_what_is_over(&mut self, now: Instant, view: &TargetView) -> Option<TargetAction> {
        if let Some(until) = self.profile
            && self.session != SessionState::Idle
        {
            let trouble = self.known_trouble(now);
            if until <= now || trouble.is_some() {
                self.profile = None;
                return Some(TargetAction::EndProfile(trouble));
            }
        }
        let is_unused = self.request.is_none() && self.session == SessionState::Idle;
        (is_unused && !self.keeps() && self.closes(view)).then(|| {
            self.session = SessionState::InUse;
            TargetAction::Close
        })
    }

    fn serve_request(&mut self, now: Instant, view: &TargetView) -> Option<TargetAction> {
        let Some(replacements) = self.request else {
            self.renewal_until = None;
            return None;
        };
        if view.deadline.is_none_or(|deadline| deadline <= now) {
            self.request = None;
            let trouble = self.down.as_ref().map(DownCause::to_trouble);
            return Some(TargetAction::Expire(trouble));
        }
        let is_idle = self.session == SessionState::Idle;
        if is_idle && self.first.is_some() {
            // The connection of the renewal and that of a walk through the databases would be one
            // too many beside the session's.
            let until = *self.renewal_until.get_or_insert(now + MOMENT);
            if view.first_began.is_some() && now < until {
                return None;
            }
            self.renewal_until = None;
            self.first = None;
            if view.first_began.is_some() {
                self.renew_at = Some(now + AGAIN);
            }
            return Some(TargetAction::LeaveAttempt);
        }
        if is_idle {
            self.request = None;
            self.session = SessionState::InUse;
            return Some(TargetAction::Collect { replacements });
        }
        let trouble = self.known_trouble(now)?;
        self.request = None;
        self.unanswered += 1;
        Some(TargetAction::Refuse(trouble))
    }

    fn start_attempt(&mut self, now: Instant, view: &TargetView) -> Option<TargetAction> {
        match (self.session, self.first) {
            (SessionState::None, None) if self.wants_session(now) => {
                self.unanswered = 0;
                Some(TargetAction::Connect)
            }
            (SessionState::Idle, None) if self.request.is_none() && self.renewal_is_due(now) => {
                Some(TargetAction::Renew)
            }
            (SessionState::Draining { .. }, None) if self.looks_elsewhere(now) => {
                Some(TargetAction::ConnectElsewhere {
                    slot: AttemptSlot::First,
                    first: None,
                })
            }
            (SessionState::None, Some(true))
                if self.second.is_none() && self.looks_elsewhere(now) =>
            {
                Some(TargetAction::ConnectElsewhere {
                    slot: AttemptSlot::Second,
                    first: view.first_began,
                })
            }
            _ => None,
        }
    }

    /// When something may be due although nothing happens.
    fn next_moment(&self, now: Instant, view: &TargetView) -> Option<Instant> {
        let is_idle = self.session == SessionState::Idle;
        let asked = self.request.is_some() || self.profile.is_some();
        let drained = match self.session {
            SessionState::Draining { since, .. } if asked => Some(since + MOMENT),
            _ => None,
        };
        let renewal = self
            .renew_at
            .filter(|_| self.may_renew() && self.first.is_none());
        let renewal_until = self
            .renewal_until
            .filter(|_| is_idle && self.request.is_some());
        let retries = self.session == SessionState::None || self.unanswered >= UNANSWERED;
        let moments = [
            view.deadline.filter(|_| self.request.is_some()),
            drained,
            renewal,
            renewal_until,
            self.backoff.until(now).filter(|_| retries),
            self.again_at.filter(|_| retries),
            Some(self.check_at).filter(|_| is_idle || self.session == SessionState::None),
            self.profile.filter(|_| !is_idle),
        ];
        moments.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn wants_session(&self, now: Instant) -> bool {
        let asked = self.request.is_some() || self.profile.is_some();
        let keeps = self.keeps() && !self.on_demand;
        (keeps || asked || self.check_at <= now) && self.backoff.is_over(now)
    }

    /// Whether a session is held between scrapes: so it was chosen, and there are connections
    /// enough for everybody.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps_session && !self.crowded
    }

    /// Whether a session that has done its work is closed.
    fn closes(&mut self, view: &TargetView) -> bool {
        self.crowded = view.is_crowded;
        !self.keeps() && self.profile.is_none()
    }

    fn may_renew(&self) -> bool {
        self.session == SessionState::Idle && self.profile.is_none() && self.keeps()
    }

    fn renewal_is_due(&self, now: Instant) -> bool {
        self.may_renew() && self.renew_at.is_some_and(|at| at <= now)
    }

    /// Whether what does not answer has had its time.
    fn looks_elsewhere(&self, now: Instant) -> bool {
        let waits = self.again_at.is_some_and(|at| now < at);
        self.unanswered >= UNANSWERED && self.backoff.is_over(now) && !waits
    }

    fn can_profile(&self) -> bool {
        self.profile.is_some() && self.session == SessionState::Idle && self.first.is_none()
    }

    /// What a request is answered with at once. Who keeps no session has to try each time, but not
    /// before the backoff is over, nor beside an attempt that is late.
    fn known_trouble(&self, now: Instant) -> Option<TargetError> {
        if let SessionState::Draining { since, .. } = self.session {
            return (since + MOMENT <= now).then(|| TargetError {
                kind: TargetErrorKind::Timeout,
                message: format!(
                    "{}: the server is still working on the queries of an earlier scrape",
                    self.address
                ),
            });
        }
        let is_known = self.keeps() || !self.backoff.is_over(now) || self.first == Some(true);
        let cause = self.down.as_ref().filter(|_| is_known);
        cause.map(DownCause::to_trouble)
    }

    /// Whether the target is known to be down.
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Whether there is a session to collect with.
    pub(crate) fn has_session(&self) -> bool {
        self.session == SessionState::Idle
    }

    /// What is to be logged since this was last asked.
    pub(crate) fn take_notices(&mut self) -> Vec<StateNotice> {
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
mod tests;
