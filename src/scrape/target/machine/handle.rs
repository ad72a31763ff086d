//! What an event changes.

use tokio::time::Instant;

use super::{
    AFTER_RELOAD, AGAIN, CHECK, OFTEN, PAUSE, RELOADS, REPLACEMENTS, REPLACEMENTS_UNTOLD,
    SessionState, TargetMachine,
};
use crate::model::TargetErrorKind;
use crate::scrape::target::event::{
    Abandoned, AfterCollection, AttemptSlot, CollectionEnd, DownCause, StateNotice, TargetAction,
    TargetEvent, TargetView,
};

impl TargetMachine {
    /// Takes what happened. Returns what has to be done about an attempt at once.
    pub(crate) fn handle(
        &mut self,
        event: TargetEvent,
        now: Instant,
        view: &TargetView,
    ) -> Option<TargetAction> {
        match event {
            TargetEvent::Requested => self.request = Some(0),
            TargetEvent::ProfileRequested(until) => self.profile = Some(until),
            TargetEvent::ProfileEnded => self.profile = None,
            TargetEvent::Changed { keeps_session } => self.keeps_session = keeps_session,
            TargetEvent::Reloaded => self.backoff.reset(),
            TargetEvent::RenewalRequested => self.renew_after_reload(now),
            TargetEvent::RenewAt(at) => self.renew_at = Some(at),
            TargetEvent::AttemptStarted(AttemptSlot::First) => self.first = Some(false),
            TargetEvent::AttemptStarted(AttemptSlot::Second) => self.second = Some(false),
            TargetEvent::NoPlace => {
                self.crowded = true;
                self.check_at = now + CHECK;
            }
            TargetEvent::NoOtherWay => self.backoff.next(TargetErrorKind::Timeout, now),
            TargetEvent::AttemptLate(slot, cause) => {
                return self.record_late(slot, cause, now, view);
            }
            TargetEvent::AttemptGone(slot) => self.end_attempt(slot),
            TargetEvent::Connected => {
                // The other attempt, if there is one, is left to itself.
                (self.first, self.second) = (None, None);
                self.check_at = now + CHECK;
            }
            TargetEvent::ConnectFailed(slot, cause, abandoned) => {
                self.record_failure(slot, cause, abandoned, now);
            }
            TargetEvent::Ready {
                max_age,
                look_around,
            } => {
                self.plan_renewal(max_age, now);
                if look_around {
                    // Whether they lead to one server is known soon.
                    let soon = now + AFTER_RELOAD[0];
                    self.renew_at = Some(self.renew_at.map_or(soon, |at| at.min(soon)));
                }
                (self.unanswered, self.again_at) = (0, None);
                self.used = 0;
                self.floods.record_session(now);
                self.session = SessionState::Idle;
                self.mark_up(now);
            }
            TargetEvent::SessionKept { max_age, try_again } => match try_again {
                true => self.renew_at = Some(now),
                false => self.plan_renewal(max_age, now),
            },
            TargetEvent::NotRenewed(cause, abandoned) => {
                self.record_no_renewal(&cause, abandoned, now);
            }
            TargetEvent::DrainBegan { keep } => {
                self.session = SessionState::Draining { since: now, keep };
                (self.unanswered, self.again_at, self.renewal_until) = (1, None, None);
            }
            TargetEvent::DrainGoesOn { again_at } => self.again_at = Some(again_at),
            TargetEvent::Drained => {
                let keeps = matches!(self.session, SessionState::Draining { keep: true, .. });
                self.session = match keeps && !self.closes(view) {
                    true => SessionState::Idle,
                    false => SessionState::None,
                };
            }
            TargetEvent::Returned => {
                self.session = SessionState::Idle;
                self.check_at = now + CHECK;
            }
            TargetEvent::Checked => {
                self.session = SessionState::Idle;
                self.check_at = now + CHECK;
                self.mark_up(now);
            }
            TargetEvent::EndedIdle => {
                self.session = SessionState::None;
                // One after the other would end so, with nobody the wiser.
                self.on_demand |= self.used == 0;
                self.backoff.begin_again(TargetErrorKind::NotReady, now);
            }
            TargetEvent::Lost(cause) => self.record_loss(cause, now),
            TargetEvent::Closed => self.session = SessionState::None,
            TargetEvent::Down(cause) => self.mark_down(cause, now),
        }
        None
    }

    /// What becomes of the session and of the request after a collection.
    pub(crate) fn record_collection(
        &mut self,
        end: CollectionEnd,
        now: Instant,
        view: &TargetView,
    ) -> AfterCollection {
        self.check_at = now + CHECK;
        self.used += 1;
        // It lasted from one scrape to the next.
        self.on_demand &= self.used < 2;
        let most = match end.ended.as_ref().map(|ended| ended.kind) {
            Some(TargetErrorKind::NotReady) => REPLACEMENTS,
            Some(TargetErrorKind::ConnectionLost) => REPLACEMENTS_UNTOLD,
            _ => 0,
        };
        let has_time = view.deadline.is_some_and(|deadline| deadline > now);
        if end.replacements < most && has_time {
            self.backoff.reset();
            self.session = SessionState::None;
            self.request = Some(end.replacements + 1);
            return AfterCollection::Replace;
        }
        self.set_state(end.trouble.map(DownCause::Server), now);
        if let Some(ended) = end.ended {
            self.record_loss(DownCause::Server(ended), now);
            return AfterCollection::Lost;
        }
        if end.must_drain {
            return AfterCollection::Drain;
        }
        match self.closes(view) {
            true => AfterCollection::Close,
            false => {
                self.session = SessionState::Idle;
                AfterCollection::Keep
            }
        }
    }

    fn record_late(
        &mut self,
        slot: AttemptSlot,
        cause: DownCause,
        now: Instant,
        view: &TargetView,
    ) -> Option<TargetAction> {
        if slot == AttemptSlot::Second {
            self.second = Some(true);
            return None;
        }
        if self.session == SessionState::Idle {
            // It goes on, and ends, beside the session that was to be renewed.
            self.first = None;
            self.renew_at = Some(now + AGAIN);
            return Some(TargetAction::LeaveAttempt);
        }
        self.first = Some(true);
        self.mark_down(cause, now);
        // Others need its place more than one that does not answer.
        view.is_crowded.then(|| {
            self.first = None;
            TargetAction::DropAttempt
        })
    }

    fn end_attempt(&mut self, slot: AttemptSlot) {
        match slot {
            AttemptSlot::First => self.first = self.second.take(),
            AttemptSlot::Second => self.second = None,
        }
    }

    fn record_failure(
        &mut self,
        slot: AttemptSlot,
        cause: DownCause,
        abandoned: Abandoned,
        now: Instant,
    ) {
        self.end_attempt(slot);
        if slot == AttemptSlot::Second {
            return self.backoff.next(cause.reason(), now);
        }
        self.check_at = now + CHECK;
        match self.session {
            SessionState::None | SessionState::InUse => self.mark_down(cause, now),
            SessionState::Idle | SessionState::Draining { .. } => {
                self.record_no_renewal(&cause, abandoned, now);
            }
        }
    }

    /// There is no session beside the one that was to be renewed, or that does not answer.
    fn record_no_renewal(&mut self, cause: &DownCause, abandoned: Abandoned, now: Instant) {
        match self.session {
            SessionState::Idle => self.renew_at = Some(now + AGAIN),
            SessionState::Draining { since, .. } if abandoned && now - since < OFTEN => {
                self.backoff.hold(PAUSE, now);
            }
            _ => self.backoff.next(cause.reason(), now),
        }
    }

    fn record_loss(&mut self, cause: DownCause, now: Instant) {
        self.session = SessionState::None;
        let reason = cause.reason();
        let pause =
            (reason == TargetErrorKind::UnrequestedData).then(|| self.floods.record_flood());
        self.mark_down(cause, now);
        match pause {
            // It would be let in, and flooded again.
            Some(pause) => self.backoff.hold(pause, now),
            // A server that restarts is back soon, and one that is not costs one attempt.
            None => self.backoff.begin_again(reason, now),
        }
    }

    fn mark_up(&mut self, now: Instant) {
        self.set_state(None, now);
        self.backoff.reset();
    }

    fn mark_down(&mut self, cause: DownCause, now: Instant) {
        if !cause.is_no_place() {
            self.backoff.next(cause.reason(), now);
        }
        self.set_state(Some(cause), now);
    }

    /// Remembers how the target is, and notes what is to be logged when it is not as it was.
    fn set_state(&mut self, new: Option<DownCause>, now: Instant) {
        if new.is_none() && self.floods.is_calm(now) {
            self.notices.push(StateNotice::FloodsOver);
        }
        let reason = |cause: &Option<DownCause>| cause.as_ref().map(DownCause::reason);
        if reason(&self.down) != reason(&new) {
            let is_flood = |cause: &DownCause| cause.reason() == TargetErrorKind::UnrequestedData;
            let notice = match (&self.down, &new) {
                (_, Some(cause)) => Some(StateNotice::Down {
                    // Each time it is let in it begins anew; that was logged.
                    is_known: is_flood(cause) && self.floods.is_known(),
                    cause: cause.clone(),
                }),
                (Some(old), None) if old.is_no_place() => None,
                (Some(old), None) => Some(StateNotice::Up {
                    is_known: is_flood(old) && self.floods.are_expected(),
                    cause: old.clone(),
                }),
                (None, None) => None,
            };
            self.notices.extend(notice);
        }
        self.down = new;
    }

    /// After a reload: all targets, one by one.
    fn renew_after_reload(&mut self, now: Instant) {
        let [first, last] = AFTER_RELOAD;
        let from = self.reloaded_at.map_or(now, |last| now.max(last + RELOADS));
        let at = from + first + (last - first).mul_f64((self.jitter)());
        self.reloaded_at = Some(from);
        self.renew_at = Some(self.renew_at.map_or(at, |before| before.min(at)));
    }

    /// The session lives from three quarters of its longest life to all of it, so that those of
    /// targets that began together are not renewed together.
    fn plan_renewal(&mut self, max_age: std::time::Duration, now: Instant) {
        let at = (!max_age.is_zero()).then(|| now + max_age.mul_f64(0.75 + (self.jitter)() / 4.0));
        // One that a reload asked for, and that is still to come, stays.
        let asked = self.renew_at.filter(|asked| *asked > now);
        self.renew_at = match (at, asked) {
            (Some(at), Some(asked)) => Some(at.min(asked)),
            (at, asked) => at.or(asked),
        };
    }
}
