//! One task a target: keeps its session, and collects when asked.
//!
//! Connecting goes on beside the scrapes, with jittered backoff; an order that finds the target
//! known to be down is answered at once.

mod connect;
mod health;
mod profile;
mod renewal;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(in crate::scrape) use self::connect::DownCause;
use self::profile::over;
use self::renewal::UnansweredSession;
use super::backoff::{Backoff, FloodHistory};
use super::collection::CollectionRunner;
use super::connect_queue::{
    ConnectAttempt, DrainResult, Draining, MOMENT, attempt_ended, drain_ended, no_session, patience,
};
use super::context::TargetContext;
use super::identity::ServerIdentities;
use crate::model::TargetErrorKind;
use crate::postgres::{Connector, LeakedBackend, ServerIdentity, Session};
use crate::scrape::counters::TargetCounters;
use crate::scrape::profile::{ProfileRequest, ProfileRun};
use crate::scrape::single_flight::{CollectRequest, SharedDeadline};
use crate::targets::{Health, Target, TargetError};

/// The task of one target.
pub(in crate::scrape) struct TargetDriver {
    target: Arc<Target>,
    /// The target as it is to be from now on.
    changes: watch::Receiver<Arc<Target>>,
    connector: Arc<Connector>,
    health: Health,
    counters: Arc<TargetCounters>,
    context: TargetContext,
    cancelled: CancellationToken,
    session: Option<Session>,
    collector: CollectionRunner,
    /// `None` while all is well, or before the first attempt.
    trouble: Option<DownCause>,
    backoff: Backoff,
    floods: FloodHistory,
    /// A backend that was left behind, and the server that it may still run on.
    leaked: Option<(LeakedBackend, ServerIdentity)>,
    /// A session that has to answer first, and whether it is kept then.
    draining: Option<(bool, Draining)>,
    draining_since: Option<Instant>,
    /// Whose samples are shown, and where the name leads beside.
    identities: ServerIdentities,
    /// What was told of a name that leads to several servers.
    ambiguous: Option<String>,
    /// Other addresses of the name were, or will be, tried once.
    looked_around: bool,
    /// When the session is to be renewed; `None` without one, and when it never is.
    renew_at: Option<Instant>,
    /// When a reload last had it renewed.
    reloaded_at: Option<Instant>,
    /// What is known of a session, or of an attempt, that does not answer.
    unanswered: UnansweredSession,
    /// The first connection was told.
    greeted: bool,
    /// That the server ends sessions was told.
    told_ended: bool,
    /// The server ended a session that no scrape had used: the next is made when one needs it.
    on_demand: bool,
    /// How many scrapes used the present session.
    used: u64,
    /// Connections ran out: sessions are not kept, so that every target gets its turn.
    crowded: bool,
    /// Done when the worker that had this target before has ended.
    before: Option<CancellationToken>,
    ended: CancellationToken,
    next_session: u64,
    /// When the server is asked how it is, unless somebody asks it more before.
    check_at: Instant,
    /// A profile that is under way.
    profiling: Option<ProfileRun>,
}

/// How many sessions a collection may have in place of such as the server ended: one may have ended
/// by a query, which is suspected the second time and then left out.
const RENEWALS: u32 = 2;
/// The same of sessions whose connection broke and nobody said why: what stands between forgot one
/// that was idle, or the server crashed, and whatever made it do so is not run again and again.
const RENEWALS_UNTOLD: u32 = 1;
/// How long a collection may go on after the shutdown began.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// A server that nobody scrapes is asked how it is this often.
const CHECK: Duration = Duration::from_secs(25);
/// How long it may take to answer that.
const CHECKED: Duration = Duration::from_secs(3);
/// How long a session that is no longer needed may take to end.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a server may take to give up a query at the end of the program.
const CANCEL: Duration = Duration::from_secs(4);

impl TargetDriver {
    pub(in crate::scrape) fn new(
        changes: watch::Receiver<Arc<Target>>,
        health: Health,
        counters: Arc<TargetCounters>,
        context: TargetContext,
        cancelled: CancellationToken,
        before: Option<CancellationToken>,
        ended: CancellationToken,
    ) -> Self {
        let target = changes.borrow().clone();
        let connector = Arc::new(Connector::new(Arc::clone(&target), context.connect.clone()));
        let collector = CollectionRunner::new(&connector, &context, &counters);
        Self {
            target,
            changes,
            connector,
            health,
            counters,
            context,
            cancelled,
            session: None,
            collector,
            trouble: None,
            backoff: Backoff::default(),
            floods: FloodHistory::default(),
            leaked: None,
            draining: None,
            draining_since: None,
            identities: ServerIdentities::default(),
            ambiguous: None,
            looked_around: false,
            renew_at: None,
            reloaded_at: None,
            unanswered: UnansweredSession::default(),
            greeted: false,
            told_ended: false,
            on_demand: false,
            used: 0,
            crowded: false,
            before,
            ended,
            next_session: 0,
            check_at: Instant::now() + CHECK,
            profiling: None,
        }
    }

    /// Runs until cancelled, then says Terminate.
    pub(in crate::scrape) async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<CollectRequest>,
        mut profiles: mpsc::UnboundedReceiver<ProfileRequest>,
    ) {
        let cancelled = self.cancelled.clone();
        // Until the worker before it has closed its sessions, this one's would come on top.
        if let Some(before) = self.before.take() {
            tokio::select! {
                () = before.cancelled() => {}
                () = cancelled.cancelled() => {}
            }
        }
        let mut connecting: Option<ConnectAttempt> = None;
        // Beside one that has had no answer for two scrapes.
        let mut second: Option<ConnectAttempt> = None;
        let mut waiting: Option<CollectRequest> = None;
        let mut renewals = self.context.renewals.clone();
        // How many sessions the order that waits had, which the server ended.
        let mut again = 0;
        loop {
            match (&self.session, &self.draining, &connecting) {
                (None, None, None) if self.wants_session(&waiting) => {
                    let patience = waiting.as_ref().map(|request| request.deadline().clone());
                    let profiling = self.profiling.as_ref();
                    let profiled = profiling.map(|one| SharedDeadline::fixed(one.request.deadline));
                    connecting = self.connect(patience.or(profiled));
                }
                (Some(_), _, None) if waiting.is_none() && self.renewal_is_due() => {
                    connecting = self.begin_renewal();
                }
                (None, Some(_), None) if self.looks_again() => {
                    connecting = self.connect_elsewhere(None);
                }
                (None, None, Some(first))
                    if first.late && second.is_none() && self.looks_again() =>
                {
                    let began = *first.began.borrow();
                    second = self.connect_elsewhere(began);
                }
                _ => {}
            }
            tokio::select! {
                biased;
                () = cancelled.cancelled() => break,
                Ok(()) = self.changes.changed() => self.apply_change(),
                Ok(()) = renewals.changed() => self.renew_after_reload(),
                Some(request) = requests.recv() => {
                    waiting = Some(request);
                    again = 0;
                    if let Some(attempt) = &connecting {
                        attempt.hurry.notify_one();
                    }
                }
                step = attempt_ended(&mut connecting, self.target.timeouts.connect) => match step {
                    Some((result, turn)) => {
                        connecting = second.take();
                        if result.is_ok() && let Some(other) = connecting.take() {
                            self.leave(other);
                        }
                        Box::pin(self.connected(result)).await;
                        drop(turn);
                    }
                    None if self.session.is_some() => {
                        // It goes on, and ends, beside the session that was to be renewed.
                        connecting.take().into_iter().for_each(|one| self.leave(one));
                        self.renew_later();
                    }
                    None => {
                        self.unanswered.peer = self.connector.dialed();
                        self.mark_down(no_session(&self.target));
                        if self.context.limiter.are_taken() {
                            // Others need its place more than one that does not answer.
                            connecting = None;
                        }
                    }
                },
                step = attempt_ended(&mut second, self.target.timeouts.connect) => match step {
                    Some((result @ Ok(_), turn)) => {
                        second = None;
                        connecting.take().into_iter().for_each(|one| self.leave(one));
                        Box::pin(self.connected(result)).await;
                        drop(turn);
                    }
                    Some((Err(cause), _)) => {
                        second = None;
                        self.backoff.next(cause.reason());
                    }
                    None => {}
                },
                (keep, result) = drain_ended(&mut self.draining) => {
                    // One that only asks yet whether the server answers is not needed.
                    connecting.take_if(|attempt| !attempt.has_begun());
                    Box::pin(self.drained(keep, result)).await;
                }
                () = patience(
                    &self.draining_since,
                    waiting.is_some() || self.profiling.is_some(),
                ) => {}
                () = passed(&waiting) => {}
                () = ended(&mut self.session) => self.ended_idle(),
                () = at(self.renew_at), if self.may_renew() && connecting.is_none() => {}
                () = at(self.unanswered.renewal_until),
                    if self.session.is_some() && waiting.is_some() => {}
                () = sleep_until(self.backoff.until()), if !self.backoff.is_over() => {}
                // A reload: what refused us may have been mended.
                Ok(()) = self.context.settings.changed() => self.backoff.reset(),
                () = sleep_until(self.check_at), if self.checks(connecting.is_some()) => {
                    Box::pin(self.check()).await;
                }
                Some(request) = profiles.recv(), if self.profiling.is_none() => {
                    self.begin_profile(request);
                    if let Some(attempt) = &connecting {
                        attempt.hurry.notify_one();
                    }
                }
                () = over(&self.profiling), if self.session.is_none() => {}
                // After all else: scrapes come before it.
                () = std::future::ready(()), if self.can_profile() && connecting.is_none() => {
                    Box::pin(self.profile_step()).await;
                }
            }
            let late = connecting.as_ref().is_some_and(|attempt| attempt.late);
            self.end_profile_without_session(late);
            if waiting.is_none() && !self.keeps_session() && self.profiling.is_none() {
                Box::pin(self.close_unkept()).await;
            }
            let Some(request) = waiting.take() else {
                self.unanswered.renewal_until = None;
                continue;
            };
            if self.session.is_some() && self.waits_for_renewal(&mut connecting) {
                waiting = Some(request);
                continue;
            }
            if request.deadline().is_over() {
                // Nobody waits any more, and whoever waited had nothing.
                match self.trouble.clone() {
                    Some(cause) => self.refuse_request(request, cause.to_trouble()),
                    None if request.claim_failure() => self.counters.fail(TargetErrorKind::Timeout),
                    None => {}
                }
            } else if let Some(session) = self.session.take() {
                tokio::select! {
                    unanswered = Box::pin(self.collect(session, request, again)) => {
                        again += 1;
                        waiting = unanswered;
                    }
                    // In-flight scrapes finish, within what the edge grants them.
                    () = past(&cancelled, IN_FLIGHT) => break,
                }
            } else if let Some(trouble) = self.known_trouble(late) {
                self.unanswered.scrapes += 1;
                self.refuse_request(request, trouble);
            } else {
                // What runs or comes now is this order's answer.
                waiting = Some(request);
            }
        }
        // One that is under way is let in and says goodbye: a server is not to wonder.
        drop(second);
        if let Some(attempt) = connecting
            && attempt.began.borrow().is_some()
            && let Ok((Ok(session), _)) = timeout(GOODBYE, attempt.result).await
        {
            self.session = Some(session);
        }
        if let Some((_, draining)) = self.draining.take()
            && let Ok(Ok(session)) = timeout(GOODBYE, draining).await
        {
            self.session = Some(session);
        }
        if let Some(session) = self.session.take() {
            let _ = Box::pin(session.close(GOODBYE)).await;
        }
        Box::pin(self.collector.close()).await;
        self.ended.cancel();
    }

    fn wants_session(&self, waiting: &Option<CollectRequest>) -> bool {
        let asked = waiting.is_some() || self.profiling.is_some();
        let keeps = self.keeps_session() && !self.on_demand;
        let wanted = keeps || asked || self.check_at <= Instant::now();
        wanted && self.backoff.is_over()
    }

    fn apply_change(&mut self) {
        self.target = self.changes.borrow_and_update().clone();
        self.collector.apply_change(&self.target);
    }

    /// Whether it is time to wait for a check: there is a session to ask, or there should be one
    /// for the sake of it.
    fn checks(&self, connecting: bool) -> bool {
        let idle = self.draining.is_none() && !connecting;
        self.session.is_some() || (idle && self.backoff.is_over() && self.check_at > Instant::now())
    }

    /// Asks a server that nobody has scraped for a while how it is.
    async fn check(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let deadline = Instant::now() + CHECKED.min(self.target.timeouts.connect);
        match session.ask_server_info(false, deadline).await.map(|_| ()) {
            Ok(()) => {
                self.check_at = Instant::now() + CHECK;
                self.mark_up(&session);
                self.session = Some(session);
            }
            Err(_) if session.trouble().is_some() => {
                self.session = Some(session);
                self.ended_idle();
            }
            Err(trouble) => {
                // Asked again as soon as it has answered.
                self.check_at = Instant::now() + MOMENT;
                self.begin_drain(session, true);
                self.mark_down(trouble);
            }
        }
    }

    /// Ends a session that is not to be kept.
    async fn close_unkept(&mut self) {
        if let Some(session) = self.session.take() {
            self.keep_or_close(session).await;
        }
    }

    /// Whether a session is held between scrapes: so it was chosen, and there are connections
    /// enough for everybody.
    fn keeps_session(&self) -> bool {
        self.target.keep_session && !self.crowded
    }

    /// What an order is answered with at once. Who keeps no session has to try each time, but not
    /// before the backoff is over, nor beside an attempt that is `late`.
    fn known_trouble(&self, late: bool) -> Option<TargetError> {
        if let Some(since) = self.draining_since {
            return (since.elapsed() >= MOMENT).then(|| TargetError {
                kind: TargetErrorKind::Timeout,
                message: format!(
                    "{}: it still works on what a scrape before this one asked",
                    self.target.address
                ),
            });
        }
        let beside = self.keeps_session() || !self.backoff.is_over() || late;
        let cause = self.trouble.as_ref().filter(|_| beside);
        cause.map(DownCause::to_trouble)
    }

    /// Collects, and answers the order. One whose session ended comes back if it is to have another
    /// after those that it had (`again`), and there is time.
    async fn collect(
        &mut self,
        session: Session,
        request: CollectRequest,
        again: u32,
    ) -> Option<CollectRequest> {
        let started = Instant::now();
        let mut session = session;
        self.end_leaked_backend(&mut session).await;
        let collected = tokio::select! {
            collected = self.collector.collect(&mut session, &request) => Some(collected),
            () = self.context.end.clone().reached() => None,
        };
        self.check_at = Instant::now() + CHECK;
        let Some(mut collected) = collected else {
            // The query is cancelled, so that the server sees an orderly end.
            if let Ok(session) = session.settled(CANCEL).await {
                let _ = session.close(GOODBYE).await;
            }
            return None;
        };
        self.used += 1;
        // It lasted from one scrape to the next.
        self.on_demand &= self.used < 2;
        let renewals = match session.trouble().map(|trouble| trouble.kind) {
            Some(TargetErrorKind::NotReady) => RENEWALS,
            Some(TargetErrorKind::ConnectionLost) => RENEWALS_UNTOLD,
            _ => 0,
        };
        if again < renewals
            && let Some(trouble) = session.trouble()
            && !request.deadline().is_over()
        {
            self.note_ended(trouble);
            self.backoff.reset();
            return Some(request);
        }
        collected.duration = started.elapsed();
        let trouble = collected.trouble.clone();
        self.record_reached(&session);
        self.report(&collected, &session);
        if let Some(trouble) = &trouble
            && request.claim_failure()
        {
            self.counters.fail(trouble.kind);
        }
        request.answer(collected);
        self.log_state(trouble.map(DownCause::Server));

        let lost = session.trouble().is_some();
        if lost {
            self.session = Some(session);
            self.lost();
            return None;
        }
        if self.collector.must_drain() {
            self.begin_drain(session, true);
        } else {
            self.keep_or_close(session).await;
        }
        None
    }

    /// Waits, beside what comes, until the server has answered all it was asked. A server that
    /// does not answer is waited for instead of connected to again: that would be one connection
    /// more for as long as it sleeps.
    fn begin_drain(&mut self, session: Session, keep: bool) {
        let limit = (self.target.timeouts.query * 2).max(Duration::from_secs(60));
        self.draining_since = Some(Instant::now());
        self.unanswered = UnansweredSession {
            scrapes: 1,
            peer: session.peer(),
            backend: session.backend(),
            server: session.facts().map(|facts| facts.identity),
            again_at: None,
            renewal_until: None,
        };
        self.draining = Some((keep, Box::pin(session.settled(limit))));
    }

    async fn drained(&mut self, keep: bool, result: DrainResult) {
        self.draining = None;
        self.draining_since = None;
        match result {
            Ok(session) if keep => {
                self.collector.settled();
                self.connector.prefer(session.peer());
                self.keep_or_close(session).await;
            }
            Ok(session) => {
                let _ = session.close(GOODBYE).await;
            }
            Err((leaked, trouble)) => {
                self.leaked = leaked.zip(self.unanswered.server);
                self.mark_down(trouble);
            }
        }
    }

    async fn keep_or_close(&mut self, session: Session) {
        self.crowded = self.context.limiter.are_taken();
        if self.keeps_session() || self.profiling.is_some() {
            self.session = Some(session);
        } else {
            let _ = session.close(GOODBYE).await;
            self.collector.close().await;
        }
    }
}

async fn ended(session: &mut Option<Session>) {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}

/// Completes at that time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Completes when the collection that waits for a session has to be over.
async fn passed(waiting: &Option<CollectRequest>) {
    match waiting {
        Some(request) => request.deadline().passed().await,
        None => std::future::pending().await,
    }
}

/// Completes some time after the cancellation.
async fn past(cancelled: &CancellationToken, time: Duration) {
    cancelled.cancelled().await;
    tokio::time::sleep(time).await;
}
