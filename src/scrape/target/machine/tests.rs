//! Each rule of a target's life, without a server, a session or a clock.

use std::time::Duration;

use super::*;
use crate::scrape::target::event::{AfterCollection, CollectionEnd, TargetEvent};

/// A machine, the time, and what it cannot know by itself.
struct MachineBed {
    machine: TargetMachine,
    begun: Instant,
    now: Instant,
    view: TargetView,
}

const SECOND: Duration = Duration::from_secs(1);
const MAX_AGE: Duration = Duration::from_secs(600);

fn error(kind: TargetErrorKind) -> TargetError {
    TargetError {
        kind,
        message: format!("it is {}", kind.as_str()),
    }
}

fn cause(kind: TargetErrorKind) -> DownCause {
    DownCause::Server(error(kind))
}

fn wait(action: &TargetAction) -> Option<Instant> {
    match action {
        TargetAction::Wait { until, .. } => *until,
        other => panic!("it does not wait: {other:?}"),
    }
}

impl MachineBed {
    /// A target that keeps its session; chance has no part in it.
    fn new() -> Self {
        Self::with(true)
    }

    fn with(keeps_session: bool) -> Self {
        let now = Instant::now();
        Self {
            machine: TargetMachine::new("db:5432".to_owned(), keeps_session, now, || 1.0),
            begun: now,
            now,
            view: TargetView::default(),
        }
    }

    /// With a session that is idle.
    fn ready() -> Self {
        let mut bed = Self::new();
        bed.connect();
        bed
    }

    fn connect(&mut self) {
        assert_eq!(self.next(), TargetAction::Connect);
        self.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
        self.view.first_began = Some(self.now);
        self.become_ready();
    }

    fn become_ready(&mut self) {
        self.tell(TargetEvent::Connected);
        self.view.first_began = None;
        self.tell(TargetEvent::Ready {
            max_age: MAX_AGE,
            look_around: false,
        });
    }

    fn tell(&mut self, event: TargetEvent) -> Option<TargetAction> {
        self.machine.handle(event, self.now, &self.view)
    }

    fn next(&mut self) -> TargetAction {
        self.machine.next_action(self.now, &self.view)
    }

    /// What is done when so much time has passed, in seconds.
    fn after(&mut self, seconds: f64) -> TargetAction {
        self.now += Duration::from_secs_f64(seconds);
        self.next()
    }

    /// A scrape waits for so many seconds.
    fn request(&mut self, seconds: u64) {
        self.view.deadline = Some(self.now + SECOND * u32::try_from(seconds).unwrap());
        self.tell(TargetEvent::Requested);
    }

    fn collected(&mut self, end: CollectionEnd) -> AfterCollection {
        let after = self.machine.record_collection(end, self.now, &self.view);
        if after != AfterCollection::Replace {
            self.view.deadline = None;
        }
        after
    }

    /// Fails to connect, and waits until it is tried again. Returns for how long.
    fn fail(&mut self, kind: TargetErrorKind) -> Duration {
        assert_eq!(self.next(), TargetAction::Connect);
        self.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
        self.tell(TargetEvent::ConnectFailed(
            AttemptSlot::First,
            cause(kind),
            false,
        ));
        let until = wait(&self.next()).expect("it is tried again");
        let pause = until - self.now;
        self.now = until;
        pause
    }

    fn waits_until(&mut self) -> Duration {
        wait(&self.next()).expect("something comes") - self.now
    }

    /// A session that has not answered for so many scrapes and is drained.
    fn unanswered(scrapes: u32) -> Self {
        let mut bed = Self::ready();
        bed.request(1);
        assert!(matches!(bed.next(), TargetAction::Collect { .. }));
        let end = CollectionEnd {
            must_drain: true,
            ..CollectionEnd::default()
        };
        assert_eq!(bed.collected(end), AfterCollection::Drain);
        bed.tell(TargetEvent::DrainBegan { keep: true });
        for _ in 1..scrapes {
            bed.now += SECOND * 2;
            bed.request(1);
            assert!(matches!(bed.next(), TargetAction::Refuse(_)));
            bed.view.deadline = None;
        }
        bed
    }

    fn notices(&mut self) -> Vec<String> {
        let text = |notice: StateNotice| match notice {
            StateNotice::Down { cause, is_known } => {
                format!("down {} {is_known}", cause.reason().as_str())
            }
            StateNotice::Up { cause, is_known } => {
                format!("up {} {is_known}", cause.reason().as_str())
            }
            StateNotice::FloodsOver => "floods over".to_owned(),
        };
        self.machine.take_notices().into_iter().map(text).collect()
    }
}

#[test]
fn a_target_that_keeps_its_session_connects_before_anybody_asks() {
    let mut bed = MachineBed::ready();
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.request(5);
    assert_eq!(bed.next(), TargetAction::Collect { replacements: 0 });
    assert_eq!(
        bed.collected(CollectionEnd::default()),
        AfterCollection::Keep
    );
    assert!(bed.machine.has_session());
}

#[test]
fn a_target_that_keeps_none_connects_for_a_request_and_closes_after_it() {
    let mut bed = MachineBed::with(false);
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.request(5);
    bed.connect();
    assert_eq!(bed.next(), TargetAction::Collect { replacements: 0 });
    let after = bed.collected(CollectionEnd::default());
    assert_eq!(after, AfterCollection::Close);
    bed.tell(TargetEvent::Closed);
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
}

#[test]
fn a_session_that_was_looked_over_and_is_not_kept_is_closed() {
    let mut bed = MachineBed::with(false);
    assert!(matches!(bed.after(25.0), TargetAction::Connect), "a check");
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.become_ready();
    assert_eq!(bed.next(), TargetAction::Close);
    bed.tell(TargetEvent::Closed);
    assert_eq!(bed.waits_until(), CHECK);
}

#[test]
fn attempts_that_fail_are_repeated_later_each_time() {
    let mut bed = MachineBed::new();
    let pauses: Vec<u128> = (0..7)
        .map(|_| bed.fail(TargetErrorKind::ConnectionRefused).as_millis())
        .collect();
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000]);
}

#[test]
fn a_reload_tries_again_at_once() {
    let mut bed = MachineBed::new();
    for _ in 0..5 {
        bed.fail(TargetErrorKind::AuthenticationFailed);
    }
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::ConnectFailed(
        AttemptSlot::First,
        cause(TargetErrorKind::AuthenticationFailed),
        false,
    ));
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.tell(TargetEvent::Reloaded);
    assert_eq!(bed.next(), TargetAction::Connect);
}

#[test]
fn a_request_is_answered_at_once_where_the_server_is_known_to_be_down() {
    let mut bed = MachineBed::new();
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::ConnectFailed(
        AttemptSlot::First,
        cause(TargetErrorKind::ConnectionRefused),
        false,
    ));
    bed.request(10);
    let refused = TargetAction::Refuse(error(TargetErrorKind::ConnectionRefused));
    assert_eq!(bed.next(), refused);
    // Also while the next attempt is under way.
    assert_eq!(bed.after(1.0), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.request(10);
    assert_eq!(bed.next(), refused);
}

#[test]
fn a_request_waits_for_the_first_attempt_and_no_longer_than_its_deadline() {
    let mut bed = MachineBed::new();
    bed.request(3);
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    assert_eq!(bed.waits_until(), SECOND * 3);
    // Who joins moves the deadline.
    bed.view.deadline = Some(bed.now + SECOND * 8);
    assert!(matches!(bed.after(3.0), TargetAction::Wait { .. }));
    assert_eq!(bed.after(5.0), TargetAction::Expire(None));
}

#[test]
fn a_request_that_is_over_says_why_the_target_is_down() {
    let mut bed = MachineBed::new();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    let late = TargetEvent::AttemptLate(AttemptSlot::First, cause(TargetErrorKind::Timeout));
    assert_eq!(bed.tell(late), None);
    bed.request(0);
    let expired = TargetAction::Expire(Some(error(TargetErrorKind::Timeout)));
    assert_eq!(bed.next(), expired);
}

#[test]
fn an_attempt_that_is_late_goes_on_and_its_requests_are_answered() {
    let mut bed = MachineBed::with(false);
    bed.request(10);
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.tell(TargetEvent::AttemptLate(
        AttemptSlot::First,
        cause(TargetErrorKind::Timeout),
    ));
    assert!(matches!(bed.next(), TargetAction::Refuse(_)));
    bed.become_ready();
    assert!(bed.machine.has_session());
}

#[test]
fn a_late_attempt_gives_its_connection_to_others_where_they_are_short() {
    let mut bed = MachineBed::new();
    bed.view.is_crowded = true;
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    let late = TargetEvent::AttemptLate(AttemptSlot::First, cause(TargetErrorKind::Timeout));
    assert_eq!(bed.tell(late), Some(TargetAction::DropAttempt));
    bed.now += SECOND;
    assert_eq!(bed.next(), TargetAction::Connect);
}

#[test]
fn sessions_are_not_kept_while_connections_are_short() {
    let mut bed = MachineBed::ready();
    bed.request(5);
    assert!(matches!(bed.next(), TargetAction::Collect { .. }));
    bed.view.is_crowded = true;
    assert_eq!(
        bed.collected(CollectionEnd::default()),
        AfterCollection::Close
    );
    bed.tell(TargetEvent::Closed);
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.request(5);
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.become_ready();
    assert!(matches!(bed.next(), TargetAction::Collect { .. }));
    // There is room again.
    bed.view.is_crowded = false;
    assert_eq!(
        bed.collected(CollectionEnd::default()),
        AfterCollection::Keep
    );
}

#[test]
fn nobody_queues_for_a_connection_that_nobody_waits_for() {
    let mut bed = MachineBed::new();
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::NoPlace);
    assert_eq!(bed.waits_until(), CHECK);
    bed.request(5);
    assert_eq!(bed.next(), TargetAction::Connect);
}

#[test]
fn a_session_that_ends_in_a_collection_is_replaced_as_often_as_its_end_allows() {
    for (kind, most) in [
        (TargetErrorKind::NotReady, 2),
        (TargetErrorKind::ConnectionLost, 1),
        (TargetErrorKind::ServerError, 0),
        (TargetErrorKind::UnrequestedData, 0),
    ] {
        let mut bed = MachineBed::ready();
        bed.request(10);
        let mut replaced = 0;
        loop {
            let TargetAction::Collect { replacements } = bed.next() else {
                panic!("it collects");
            };
            assert_eq!(replacements, replaced);
            let end = CollectionEnd {
                replacements,
                trouble: Some(error(kind)),
                ended: Some(error(kind)),
                must_drain: false,
            };
            if bed.collected(end) != AfterCollection::Replace {
                break;
            }
            replaced += 1;
            bed.connect();
        }
        assert_eq!(replaced, most, "{kind:?}");
        assert!(!bed.machine.has_session());
    }
}

#[test]
fn a_session_that_ends_at_the_deadline_is_not_replaced_for_it() {
    let mut bed = MachineBed::ready();
    bed.request(2);
    bed.next();
    bed.now += SECOND * 2;
    let end = CollectionEnd {
        ended: Some(error(TargetErrorKind::NotReady)),
        ..CollectionEnd::default()
    };
    assert_eq!(bed.collected(end), AfterCollection::Lost);
    assert_eq!(bed.waits_until(), Duration::from_millis(250));
}

#[test]
fn a_session_that_ends_idle_is_replaced_and_the_server_is_not_down() {
    let mut bed = MachineBed::ready();
    bed.request(5);
    bed.next();
    bed.collected(CollectionEnd::default());
    bed.tell(TargetEvent::EndedIdle);
    assert!(!bed.machine.is_down());
    assert_eq!(bed.waits_until(), Duration::from_millis(250));
    assert_eq!(bed.after(0.25), TargetAction::Connect);
}

#[test]
fn a_session_that_ends_before_a_scrape_used_it_is_replaced_when_one_needs_it() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::EndedIdle);
    assert!(matches!(bed.after(1.0), TargetAction::Wait { .. }));
    bed.request(5);
    bed.connect();
    for _ in 0..2 {
        assert!(matches!(bed.next(), TargetAction::Collect { .. }));
        bed.collected(CollectionEnd::default());
        bed.request(5);
    }
    // It has lasted from one scrape to the next: the one after it is made ahead again.
    bed.next();
    bed.collected(CollectionEnd::default());
    bed.tell(TargetEvent::EndedIdle);
    assert_eq!(bed.after(1.0), TargetAction::Connect);
}

#[test]
fn a_server_that_floods_is_let_be() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::Lost(cause(TargetErrorKind::UnrequestedData)));
    assert_eq!(bed.waits_until(), SECOND * 10);
    bed.now += SECOND * 10;
    bed.connect();
    bed.tell(TargetEvent::Lost(cause(TargetErrorKind::UnrequestedData)));
    assert_eq!(bed.waits_until(), SECOND * 20);
    assert_eq!(
        bed.notices(),
        [
            "down unrequested_data false",
            "up unrequested_data true",
            "down unrequested_data true"
        ]
    );
    bed.now += SECOND * 20;
    bed.connect();
    bed.now += SECOND * 60;
    bed.request(5);
    bed.next();
    bed.collected(CollectionEnd::default());
    assert_eq!(bed.notices(), ["up unrequested_data true", "floods over"]);
}

#[test]
fn what_a_target_is_like_is_logged_when_it_changes() {
    let mut bed = MachineBed::new();
    for kind in [
        TargetErrorKind::ConnectionRefused,
        TargetErrorKind::ConnectionRefused,
        TargetErrorKind::NotReady,
    ] {
        bed.fail(kind);
    }
    bed.connect();
    assert_eq!(
        bed.notices(),
        [
            "down connection_refused false",
            "down not_ready false",
            "up not_ready false"
        ]
    );
    assert!(bed.notices().is_empty());
}

#[test]
fn a_shortage_of_connections_is_not_the_servers_and_is_not_backed_off_from() {
    let mut bed = MachineBed::with(false);
    bed.request(5);
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::ConnectFailed(
        AttemptSlot::First,
        DownCause::NoPlace,
        false,
    ));
    // It tries again as long as somebody waits.
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.become_ready();
    assert_eq!(bed.notices(), ["down too_many_connections false"]);
}

#[test]
fn an_idle_server_is_asked_how_it_is() {
    let mut bed = MachineBed::ready();
    assert_eq!(bed.waits_until(), CHECK);
    assert_eq!(bed.after(25.0), TargetAction::Check);
    bed.tell(TargetEvent::Checked);
    assert_eq!(bed.waits_until(), CHECK);
    // A scrape is a check as well.
    bed.now += SECOND * 20;
    bed.request(5);
    bed.next();
    bed.collected(CollectionEnd::default());
    assert_eq!(bed.waits_until(), CHECK);
}

#[test]
fn a_check_without_an_answer_drains_the_session_and_the_target_is_down() {
    let mut bed = MachineBed::ready();
    assert_eq!(bed.after(25.0), TargetAction::Check);
    bed.tell(TargetEvent::DrainBegan { keep: true });
    bed.tell(TargetEvent::Down(cause(TargetErrorKind::Timeout)));
    assert!(bed.machine.is_down());
    assert!(matches!(bed.next(), TargetAction::Wait { .. }), "no second");
    bed.tell(TargetEvent::Drained);
    assert!(bed.machine.has_session());
}

#[test]
fn a_request_waits_a_moment_for_a_session_that_is_drained() {
    let mut bed = MachineBed::unanswered(1);
    bed.request(5);
    assert_eq!(bed.waits_until(), MOMENT);
    let TargetAction::Refuse(why) = bed.after(1.0) else {
        panic!("it is refused");
    };
    assert_eq!(
        why.message,
        "db:5432: the server is still working on the queries of an earlier scrape"
    );
    bed.request(5);
    bed.tell(TargetEvent::Drained);
    assert!(matches!(bed.next(), TargetAction::Collect { .. }));
}

#[test]
fn a_drained_session_that_is_of_no_use_is_closed() {
    let mut bed = MachineBed::new();
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    bed.tell(TargetEvent::DrainBegan { keep: false });
    bed.tell(TargetEvent::Down(cause(TargetErrorKind::Timeout)));
    bed.tell(TargetEvent::Drained);
    assert!(!bed.machine.has_session());
    assert_eq!(bed.after(1.0), TargetAction::Connect);
}

#[test]
fn another_way_is_looked_for_after_two_scrapes_without_an_answer() {
    let mut bed = MachineBed::unanswered(1);
    assert!(matches!(bed.after(5.0), TargetAction::Wait { .. }));
    let mut bed = MachineBed::unanswered(2);
    let elsewhere = TargetAction::ConnectElsewhere {
        slot: AttemptSlot::First,
        first: None,
    };
    assert_eq!(bed.next(), elsewhere);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    assert!(matches!(bed.next(), TargetAction::Wait { .. }), "one alone");
    bed.become_ready();
    assert!(bed.machine.has_session());
}

#[test]
fn a_session_on_the_same_server_is_not_tried_again_at_once() {
    let mut bed = MachineBed::unanswered(2);
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    let again_at = bed.now + SECOND * 30;
    bed.tell(TargetEvent::DrainGoesOn { again_at });
    assert_eq!(bed.waits_until(), SECOND * 30);
    assert!(matches!(
        bed.after(30.0),
        TargetAction::ConnectElsewhere { .. }
    ));
}

#[test]
fn a_way_that_is_not_there_is_backed_off_from() {
    let mut bed = MachineBed::unanswered(2);
    assert!(matches!(bed.next(), TargetAction::ConnectElsewhere { .. }));
    bed.tell(TargetEvent::NoOtherWay);
    assert_eq!(bed.waits_until(), Duration::from_millis(250));
}

#[test]
fn two_connections_that_hang_are_looked_after_often_and_then_seldom() {
    let mut bed = MachineBed::unanswered(2);
    let mut pauses = Vec::new();
    for _ in 0..34 {
        assert!(matches!(bed.next(), TargetAction::ConnectElsewhere { .. }));
        bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
        bed.tell(TargetEvent::ConnectFailed(
            AttemptSlot::First,
            cause(TargetErrorKind::Timeout),
            true,
        ));
        let pause = bed.waits_until();
        pauses.push(pause.as_millis());
        bed.now += pause;
    }
    assert_eq!(pauses[..2], [2000, 2000]);
    assert!(pauses.last() > Some(&2000), "{pauses:?}");
}

#[test]
fn a_second_attempt_is_made_beside_one_that_hangs() {
    let mut bed = MachineBed::new();
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.view.first_began = Some(bed.now);
    bed.tell(TargetEvent::AttemptLate(
        AttemptSlot::First,
        cause(TargetErrorKind::Timeout),
    ));
    for _ in 0..2 {
        bed.request(5);
        assert!(matches!(bed.next(), TargetAction::Refuse(_)));
        bed.view.deadline = None;
    }
    let second = TargetAction::ConnectElsewhere {
        slot: AttemptSlot::Second,
        first: bed.view.first_began,
    };
    assert_eq!(bed.after(1.0), second);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::Second));
    assert!(
        matches!(bed.next(), TargetAction::Wait { .. }),
        "two at most"
    );
    // The second fails: the first still goes on, and another is made later.
    bed.tell(TargetEvent::ConnectFailed(
        AttemptSlot::Second,
        cause(TargetErrorKind::Timeout),
        false,
    ));
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    assert!(matches!(
        bed.after(10.0),
        TargetAction::ConnectElsewhere { .. }
    ));
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::Second));
    // The first fails: the second takes its place.
    bed.tell(TargetEvent::ConnectFailed(
        AttemptSlot::First,
        cause(TargetErrorKind::Timeout),
        false,
    ));
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
    bed.become_ready();
    assert!(bed.machine.has_session());
}

#[test]
fn a_session_is_renewed_in_the_last_quarter_of_its_life() {
    let mut bed = MachineBed::ready();
    let mut checks = 0;
    loop {
        match bed.next() {
            TargetAction::Check => {
                bed.tell(TargetEvent::Checked);
                checks += 1;
            }
            TargetAction::Renew => break,
            action => bed.now = wait(&action).unwrap(),
        }
    }
    assert_eq!((bed.now - bed.begun, checks), (MAX_AGE, 23));
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.become_ready();
    assert!(matches!(bed.next(), TargetAction::Wait { .. }));
}

#[test]
fn a_session_whose_life_has_no_limit_is_renewed_when_that_is_asked_for() {
    let mut bed = MachineBed::new();
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    bed.tell(TargetEvent::Ready {
        max_age: Duration::ZERO,
        look_around: false,
    });
    assert_eq!(bed.waits_until(), CHECK);
    bed.tell(TargetEvent::RenewalRequested);
    assert_eq!(bed.waits_until(), SECOND * 15);
    assert_eq!(bed.after(15.0), TargetAction::Renew);
    // However often it is asked for, it is done once a minute.
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.become_ready();
    bed.tell(TargetEvent::RenewalRequested);
    let begun = bed.begun;
    assert_eq!(bed.machine.renew_at, Some(begun + SECOND * 75));
}

#[test]
fn other_addresses_of_a_name_are_looked_at_soon() {
    let mut bed = MachineBed::new();
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    bed.tell(TargetEvent::Ready {
        max_age: MAX_AGE,
        look_around: true,
    });
    assert_eq!(bed.after(5.0), TargetAction::Renew);
}

#[test]
fn a_renewal_that_is_late_or_fails_is_tried_again_after_a_minute() {
    for fails in [false, true] {
        let mut bed = MachineBed::ready();
        bed.tell(TargetEvent::RenewAt(bed.now));
        assert_eq!(bed.next(), TargetAction::Renew);
        bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
        let why = cause(TargetErrorKind::Timeout);
        if fails {
            bed.tell(TargetEvent::ConnectFailed(AttemptSlot::First, why, false));
        } else {
            let late = TargetEvent::AttemptLate(AttemptSlot::First, why);
            assert_eq!(bed.tell(late), Some(TargetAction::LeaveAttempt));
        }
        assert!(!bed.machine.is_down() && bed.machine.has_session());
        assert_eq!(bed.machine.renew_at, Some(bed.now + SECOND * 60));
    }
}

#[test]
fn a_new_session_that_is_of_no_use_leaves_the_old_one() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::RenewAt(bed.now));
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    bed.tell(TargetEvent::NotRenewed(
        cause(TargetErrorKind::Timeout),
        false,
    ));
    assert!(bed.machine.has_session() && !bed.machine.is_down());
    // The other server is shown once several connections have reached it.
    bed.tell(TargetEvent::SessionKept {
        max_age: MAX_AGE,
        try_again: true,
    });
    assert_eq!(bed.next(), TargetAction::Renew);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.tell(TargetEvent::Connected);
    bed.now += SECOND;
    bed.tell(TargetEvent::SessionKept {
        max_age: MAX_AGE,
        try_again: false,
    });
    assert_eq!(bed.machine.renew_at, Some(bed.now + MAX_AGE));
}

#[test]
fn a_request_waits_a_moment_for_a_renewal_that_has_begun() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::RenewAt(bed.now));
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.view.first_began = Some(bed.now);
    bed.request(5);
    assert_eq!(bed.waits_until(), MOMENT);
    assert_eq!(bed.after(1.0), TargetAction::LeaveAttempt);
    assert_eq!(bed.next(), TargetAction::Collect { replacements: 0 });
    assert_eq!(bed.machine.renew_at, Some(bed.now + SECOND * 60));
}

#[test]
fn a_request_does_not_wait_for_a_renewal_that_queues() {
    let mut bed = MachineBed::ready();
    let due = bed.now;
    bed.tell(TargetEvent::RenewAt(due));
    bed.next();
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    bed.request(5);
    assert_eq!(bed.next(), TargetAction::LeaveAttempt);
    assert_eq!(bed.next(), TargetAction::Collect { replacements: 0 });
    // It is due again after the collection.
    bed.collected(CollectionEnd::default());
    assert_eq!(bed.next(), TargetAction::Renew);
}

#[test]
fn no_session_is_renewed_while_a_request_waits() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::RenewAt(bed.now));
    bed.request(5);
    assert!(matches!(bed.next(), TargetAction::Collect { .. }));
}

#[test]
fn a_profile_has_its_steps_while_no_request_waits() {
    let mut bed = MachineBed::ready();
    bed.tell(TargetEvent::ProfileRequested(bed.now + SECOND * 60));
    let may_profile =
        |action: &TargetAction| matches!(action, TargetAction::Wait { profile: true, .. });
    assert!(may_profile(&bed.next()));
    bed.request(5);
    assert!(matches!(bed.next(), TargetAction::Collect { .. }));
    bed.collected(CollectionEnd::default());
    assert!(may_profile(&bed.next()));
    bed.tell(TargetEvent::ProfileEnded);
    assert!(!may_profile(&bed.next()));
}

#[test]
fn a_profile_keeps_a_session_that_would_be_closed() {
    let mut bed = MachineBed::with(false);
    bed.tell(TargetEvent::ProfileRequested(bed.now + SECOND * 60));
    bed.connect();
    assert!(matches!(
        bed.next(),
        TargetAction::Wait { profile: true, .. }
    ));
    bed.request(5);
    bed.next();
    assert_eq!(
        bed.collected(CollectionEnd::default()),
        AfterCollection::Keep
    );
    bed.tell(TargetEvent::ProfileEnded);
    assert_eq!(bed.next(), TargetAction::Close);
}

#[test]
fn a_profile_ends_with_what_is_known_or_at_its_deadline() {
    let mut bed = MachineBed::new();
    bed.tell(TargetEvent::ProfileRequested(bed.now + SECOND * 5));
    assert_eq!(bed.next(), TargetAction::Connect);
    bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
    assert_eq!(bed.waits_until(), SECOND * 5);
    assert_eq!(bed.after(5.0), TargetAction::EndProfile(None));
    bed.tell(TargetEvent::AttemptLate(
        AttemptSlot::First,
        cause(TargetErrorKind::Timeout),
    ));
    bed.tell(TargetEvent::ProfileRequested(bed.now + SECOND * 5));
    let known = TargetAction::EndProfile(Some(error(TargetErrorKind::Timeout)));
    assert_eq!(bed.next(), known);
}

#[test]
fn a_change_that_the_session_outlives_counts_from_then_on() {
    // In each state a session can be in.
    for state in ["idle", "attempt", "draining"] {
        let mut bed = match state {
            "idle" => MachineBed::ready(),
            "draining" => MachineBed::unanswered(1),
            _ => {
                let mut bed = MachineBed::new();
                bed.next();
                bed.tell(TargetEvent::AttemptStarted(AttemptSlot::First));
                bed
            }
        };
        bed.tell(TargetEvent::Changed {
            keeps_session: false,
        });
        match state {
            "idle" => assert_eq!(bed.next(), TargetAction::Close),
            "draining" => {
                bed.tell(TargetEvent::Drained);
                assert!(!bed.machine.has_session());
            }
            _ => {
                bed.become_ready();
                assert_eq!(bed.next(), TargetAction::Close);
            }
        }
    }
}

#[test]
fn a_session_that_was_stopped_in_a_collection_is_gone() {
    let mut bed = MachineBed::ready();
    bed.request(5);
    bed.next();
    bed.tell(TargetEvent::Closed);
    bed.view.deadline = None;
    assert!(!bed.machine.has_session());
    assert_eq!(bed.next(), TargetAction::Connect);
}

#[test]
fn a_wait_never_ends_in_the_past() {
    // Whatever is due and cannot be done yet must not keep the task busy.
    let mut bed = MachineBed::unanswered(3);
    for step in 0..200 {
        match bed.next() {
            TargetAction::Wait { until, .. } => {
                assert!(until.is_none_or(|until| until > bed.now), "{step}");
                bed.now = until.unwrap_or(bed.now + SECOND);
            }
            TargetAction::ConnectElsewhere { slot, .. } => {
                bed.tell(TargetEvent::AttemptStarted(slot));
                bed.tell(TargetEvent::ConnectFailed(
                    slot,
                    cause(TargetErrorKind::Timeout),
                    step % 2 == 0,
                ));
            }
            other => panic!("{step}: {other:?}"),
        }
    }
}
