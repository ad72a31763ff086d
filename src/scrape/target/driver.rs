//! The task of one target: performs what the [machine](super::machine) decides, and tells it what
//! came of that and what happens meanwhile.
//!
//! It owns every session of the target. However the task ends, what runs is cancelled and Terminate
//! is said, and whoever has the target next connects only after that.

mod attempts;
mod collect;
mod health;
mod profile;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::attempt::{
    AttemptResult, ConnectAttempt, DrainResult, Draining, EndGuard, attempt_ended, drain_ended,
};
use super::collection::CollectionRunner;
use super::context::TargetContext;
use super::event::{AttemptSlot, TargetAction, TargetEvent, TargetView};
use super::identity::ServerIdentities;
use super::machine::TargetMachine;
use super::session_guard::{SessionGuard, end_session};
use crate::jitter::random_fraction;
use crate::postgres::{Connector, LeakedBackend, ServerIdentity};
use crate::scrape::counters::TargetCounters;
use crate::scrape::profile::{ProfileRequest, ProfileRun};
use crate::scrape::single_flight::CollectRequest;
use crate::targets::{Health, Target};

/// How long a collection may go on after the shutdown began.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// How long a session that is no longer needed may take to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// The task of one target.
pub(crate) struct TargetDriver {
    target: Arc<Target>,
    /// The target as it is to be from now on.
    changes: watch::Receiver<Arc<Target>>,
    connector: Arc<Connector>,
    health: Health,
    counters: Arc<TargetCounters>,
    context: TargetContext,
    cancelled: CancellationToken,
    machine: TargetMachine,
    session: SessionGuard,
    /// A session that has to answer first.
    draining: Option<Draining>,
    /// An attempt to connect, and one beside it when it has had no answer for two scrapes.
    first: Option<ConnectAttempt>,
    second: Option<ConnectAttempt>,
    /// The collection that is waited for.
    request: Option<CollectRequest>,
    /// A profile that is under way.
    profiling: Option<ProfileRun>,
    collector: CollectionRunner,
    /// A backend that was left behind, and the server that it may still run on.
    leaked: Option<(LeakedBackend, ServerIdentity)>,
    /// What is known of a session, or of an attempt, that does not answer.
    silent: SilentSession,
    /// Whose samples are shown, and where the name leads beside.
    identities: ServerIdentities,
    /// What was logged of a name that leads to several servers.
    ambiguous: Option<String>,
    /// Other addresses of the name were, or will be, tried once.
    looked_around: bool,
    /// The first connection was logged.
    greeted: bool,
    /// That the server ends sessions was logged.
    logged_end: bool,
    /// Done when the task that had this target before has ended.
    before: Option<CancellationToken>,
    /// Held by everything that may count at the server.
    ended: EndGuard,
    next_session: u64,
}

/// A session, or an attempt to connect, that does not answer.
#[derive(Debug, Default)]
struct SilentSession {
    /// Where it leads.
    peer: Option<SocketAddr>,
    /// What serves it there.
    backend: Option<LeakedBackend>,
    /// The server.
    server: Option<ServerIdentity>,
}

/// Where requests come from.
pub(crate) struct DriverInputs {
    pub requests: mpsc::UnboundedReceiver<CollectRequest>,
    pub profiles: mpsc::UnboundedReceiver<ProfileRequest>,
}

/// What woke the task.
enum DriverInput {
    Cancelled,
    Changed,
    RenewalRequested,
    Reloaded,
    Requested(CollectRequest),
    ProfileRequested(ProfileRequest),
    Attempt(AttemptSlot, Option<AttemptResult>),
    Drained(DrainResult),
    SessionEnded,
    /// Something may be due.
    Time,
    /// Nothing happened, and a step of a profile may be taken.
    Idle,
}

impl TargetDriver {
    pub(crate) fn new(
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
        let ended = Arc::new(ended.drop_guard());
        let machine = TargetMachine::new(
            target.address.to_string(),
            target.keep_session,
            Instant::now(),
            random_fraction,
        );
        Self {
            target,
            changes,
            connector,
            health,
            counters,
            context,
            cancelled,
            machine,
            session: SessionGuard::new(Arc::clone(&ended)),
            draining: None,
            first: None,
            second: None,
            request: None,
            profiling: None,
            collector,
            leaked: None,
            silent: SilentSession::default(),
            identities: ServerIdentities::default(),
            ambiguous: None,
            looked_around: false,
            greeted: false,
            logged_end: false,
            before,
            ended,
            next_session: 0,
        }
    }

    /// Runs until cancelled, then says Terminate.
    pub(crate) async fn run(&mut self, inputs: &mut DriverInputs) {
        let cancelled = self.cancelled.clone();
        // Until the task before it has closed its sessions, this one's would come on top.
        if let Some(before) = self.before.take() {
            tokio::select! {
                () = before.cancelled() => {}
                () = cancelled.cancelled() => {}
            }
        }
        let mut renewals = self.context.renewals.clone();
        loop {
            let view = self.view();
            let action = self.machine.next_action(Instant::now(), &view);
            self.log_notices();
            let (until, profile) = match action {
                TargetAction::Wait { until, profile } => (until, profile),
                action => match Box::pin(self.perform(action)).await {
                    true => continue,
                    false => break,
                },
            };
            let limit = self.target.timeouts.connect;
            let input = tokio::select! {
                biased;
                () = cancelled.cancelled() => DriverInput::Cancelled,
                Ok(()) = self.changes.changed() => DriverInput::Changed,
                Ok(()) = renewals.changed() => DriverInput::RenewalRequested,
                Some(request) = inputs.requests.recv(), if self.request.is_none() => {
                    DriverInput::Requested(request)
                }
                step = attempt_ended(&mut self.first, limit) => {
                    DriverInput::Attempt(AttemptSlot::First, step)
                }
                step = attempt_ended(&mut self.second, limit) => {
                    DriverInput::Attempt(AttemptSlot::Second, step)
                }
                result = drain_ended(&mut self.draining) => DriverInput::Drained(result),
                () = passed(&self.request) => DriverInput::Time,
                () = self.session.ended() => DriverInput::SessionEnded,
                () = at(until) => DriverInput::Time,
                Ok(()) = self.context.settings.changed() => DriverInput::Reloaded,
                Some(request) = inputs.profiles.recv(), if self.profiling.is_none() => {
                    DriverInput::ProfileRequested(request)
                }
                // After all else: scrapes come before it.
                () = std::future::ready(()), if profile => DriverInput::Idle,
            };
            if let DriverInput::Cancelled = input {
                break;
            }
            Box::pin(self.take_input(input)).await;
        }
        Box::pin(self.close_all()).await;
    }

    /// Takes what woke the task.
    async fn take_input(&mut self, input: DriverInput) {
        match input {
            DriverInput::Cancelled | DriverInput::Time => {}
            DriverInput::Changed => {
                self.target = self.changes.borrow_and_update().clone();
                self.collector.apply_change(&self.target);
                let keeps_session = self.target.keep_session;
                self.handle(TargetEvent::Changed { keeps_session });
            }
            DriverInput::RenewalRequested => self.handle(TargetEvent::RenewalRequested),
            DriverInput::Reloaded => self.handle(TargetEvent::Reloaded),
            DriverInput::Requested(request) => {
                self.request = Some(request);
                self.hurry();
                self.handle(TargetEvent::Requested);
            }
            DriverInput::ProfileRequested(request) => {
                let until = request.deadline;
                self.profiling = Some(ProfileRun::new(request, self.target.address.to_string()));
                self.hurry();
                self.handle(TargetEvent::ProfileRequested(until));
            }
            DriverInput::Attempt(slot, Some((result, turn))) => {
                self.finish_attempt(slot, result).await;
                drop(turn);
            }
            DriverInput::Attempt(slot, None) => self.note_late(slot),
            DriverInput::Drained(result) => self.finish_drain(result).await,
            DriverInput::SessionEnded => self.note_idle_end(),
            DriverInput::Idle => self.take_profile_step().await,
        }
    }

    /// Performs an action. Returns whether the task goes on.
    async fn perform(&mut self, action: TargetAction) -> bool {
        match action {
            TargetAction::Wait { .. } => {}
            TargetAction::Connect => self.connect(),
            TargetAction::Renew => self.begin_renewal(),
            TargetAction::ConnectElsewhere { slot, first } => self.connect_elsewhere(slot, first),
            TargetAction::LeaveAttempt => {
                if let Some(attempt) = self.first.take() {
                    self.leave(attempt);
                }
            }
            TargetAction::DropAttempt => {
                if let Some(attempt) = self.first.take() {
                    attempt.abandon();
                }
            }
            TargetAction::Collect { replacements } => return self.collect(replacements).await,
            TargetAction::Refuse(trouble) => self.refuse_request(trouble),
            TargetAction::Expire(trouble) => self.expire_request(trouble),
            TargetAction::Check => self.check().await,
            TargetAction::Close => self.close_unkept().await,
            TargetAction::EndProfile(trouble) => self.answer_profile(trouble),
        }
        true
    }

    /// Tells the machine, and does at once what it asks for.
    fn handle(&mut self, event: TargetEvent) {
        let view = self.view();
        let action = self.machine.handle(event, Instant::now(), &view);
        self.log_notices();
        let attempt = action.and_then(|action| Some((action, self.first.take()?)));
        match attempt {
            Some((TargetAction::DropAttempt, attempt)) => attempt.abandon(),
            Some((_, attempt)) => self.leave(attempt),
            None => {}
        }
    }

    fn view(&self) -> TargetView {
        TargetView {
            deadline: self.request.as_ref().map(|one| one.deadline().at()),
            is_crowded: self.context.limiter.are_taken(),
            first_began: self.first.as_ref().and_then(ConnectAttempt::began),
        }
    }

    /// Somebody begins to wait for the attempt.
    fn hurry(&self) {
        if let Some(attempt) = &self.first {
            attempt.hurry.notify_one();
        }
    }

    /// Ends what there is. An attempt that is under way is let in and says goodbye: a server is not
    /// to wonder.
    async fn close_all(&mut self) {
        drop(self.second.take());
        if let Some(attempt) = self.first.take()
            && let Some(session) = attempt.finish(GOODBYE).await
        {
            end_session(session).await;
        }
        if let Some(mut draining) = self.draining.take()
            && let Ok(Ok(session)) = tokio::time::timeout(GOODBYE, draining.ended()).await
        {
            let _ = session.close(GOODBYE).await;
        }
        if let Some(session) = self.session.take_session() {
            let _ = Box::pin(session.close(GOODBYE)).await;
        }
        Box::pin(self.collector.close()).await;
    }
}

/// Completes at that time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Completes when the collection that is waited for has to be over.
async fn passed(request: &Option<CollectRequest>) {
    match request {
        Some(request) => request.deadline().passed().await,
        None => std::future::pending().await,
    }
}

/// Completes some time after the cancellation.
async fn past(cancelled: &CancellationToken, time: Duration) {
    cancelled.cancelled().await;
    tokio::time::sleep(time).await;
}
