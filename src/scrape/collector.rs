//! One collection: all queries of the session's own database at once, then a walk through the
//! others over one more connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::collected::Collected;
use super::counters::TargetCounters;
use super::flight::Deadline;
use super::plan::Plan;
use super::worker::{Commons, Leftover};
use crate::exposition::render_label;
use crate::model::Reason;
use crate::postgres::{
    Ask, Connector, Facts, Mode, Outcome, QueryError, Session, SettingsSamples, Shared, Slot,
};
use crate::targets::{Target, Trouble};

/// Holds what one target runs and what it showed last.
#[derive(Debug)]
pub(super) struct Collector {
    target: Arc<Target>,
    connector: Arc<Connector>,
    commons: Commons,
    counters: Arc<TargetCounters>,
    /// `server` and the target's own labels, rendered.
    labels: Vec<u8>,
    plan: Option<Plan>,
    settings: Option<Arc<SettingsSamples>>,
    /// Sessions of other databases that are kept, for those who chose to spend connections.
    kept: BTreeMap<String, Session>,
    /// A second connection that may still count at the server.
    leftover: Option<Leftover>,
    /// Skip the next walk: a backend of a session that was given up may still be there.
    hold_walk: bool,
    /// A limit of one connection leaves none for other databases.
    walk_told: bool,
    unsettled: bool,
    /// Failures that were logged, so that each is told once.
    told: BTreeSet<(String, String)>,
    denied: Vec<String>,
    next_session: u64,
}

/// How long a second connection that was given up is waited for.
const GONE: Duration = Duration::from_secs(60);
/// Ids of sessions to other databases; those of the own one count from 1.
const OTHERS: u64 = 1 << 32;

impl Collector {
    pub(super) fn new(
        connector: &Arc<Connector>,
        commons: &Commons,
        counters: &Arc<TargetCounters>,
    ) -> Self {
        let target = &connector.target;
        let mut labels = Vec::new();
        render_label(&mut labels, "server", target.name.as_bytes());
        for (name, value) in &target.labels {
            render_label(&mut labels, name, value.as_bytes());
        }
        Self {
            target: Arc::clone(target),
            connector: Arc::clone(connector),
            commons: commons.clone(),
            counters: Arc::clone(counters),
            labels,
            plan: None,
            settings: None,
            kept: BTreeMap::new(),
            leftover: None,
            hold_walk: false,
            walk_told: false,
            unsettled: false,
            told: BTreeSet::new(),
            denied: Vec::new(),
            next_session: OTHERS,
        }
    }

    /// Whether the session's last collection did not end: it must be settled before the next.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// The session was settled.
    pub(super) fn settled(&mut self) {
        self.unsettled = false;
    }

    /// Leaves the other databases out once, if `hold`.
    pub(super) fn hold_walk(&mut self, hold: bool) {
        self.hold_walk = hold;
    }

    /// Learns what the server is and prepares its queries.
    ///
    /// # Errors
    /// Why the session is of no use.
    pub(super) async fn ready(
        &mut self,
        session: &mut Session,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        self.unsettled = false;
        let facts = session.ask_facts(false, deadline).await?.clone();
        self.replan(&facts);
        if let Some(plan) = &mut self.plan {
            for slot in plan
                .own
                .iter_mut()
                .chain(plan.others.values_mut().flatten())
            {
                slot.forget_denial();
            }
            session.prepare(&mut plan.own, deadline).await?;
        }
        Ok(())
    }

    /// Chooses anew when the server or the catalogue is another. Returns whether it did.
    fn replan(&mut self, facts: &Facts) -> bool {
        let catalog = self.commons.catalog.borrow().clone();
        if self
            .plan
            .as_ref()
            .is_some_and(|plan| plan.fits(&catalog, facts))
        {
            return false;
        }
        if facts.version.major() > crate::model::NEWEST_MAJOR {
            warn!(
                server = %self.target.name,
                "PostgreSQL {} is newer than this exporter knows; it runs the queries for {}",
                facts.version, crate::model::NEWEST_MAJOR
            );
        }
        let mut plan = Plan::new(&self.target, &catalog, facts);
        if let Some(old) = self.plan.take() {
            plan.adopt(old);
        }
        self.plan = Some(plan);
        true
    }

    /// Asks everything that is due. What is ready at `deadline` counts.
    pub(super) async fn collect(
        &mut self,
        session: &mut Session,
        deadline: &Deadline,
    ) -> Collected {
        let settings = self.commons.settings.borrow().clone();
        let started = Instant::now();
        if let Some(facts) = session.facts().cloned() {
            // A new catalogue came with a reload.
            if self.replan(&facts)
                && let Some(plan) = &mut self.plan
                && let Err(trouble) = session.prepare(&mut plan.own, deadline.at()).await
            {
                self.unsettled = true;
                return self.nothing(trouble);
            }
        }
        let Some(mut plan) = self.plan.take() else {
            return self.nothing(unasked());
        };
        let walk = plan.walk_is_due(started, settings.interval);
        let mut facts = None;
        let mut trouble = None;
        let mut ran: BTreeSet<usize> = BTreeSet::new();
        // The second turn is for a server that was promoted, demoted or got an extension since the
        // last scrape: what it runs now, it runs at once.
        for turn in 0..2 {
            let (due, mut slots): (Vec<usize>, Vec<&mut Slot>) = plan
                .own
                .iter_mut()
                .enumerate()
                .filter(|(at, slot)| {
                    !ran.contains(at)
                        && !slot.is_denied()
                        && slot.is_due(started, settings.interval)
                })
                .unzip();
            let shared = Shared {
                catalog: &self.commons.catalog.borrow().clone(),
                labels: &self.labels,
                query_text: settings.query_text,
            };
            let ask = Ask {
                facts: Some(walk),
                settings: turn == 0,
            };
            let answer = session
                .run(&mut slots, ask, shared, deadline.passed())
                .await;
            drop(slots);
            ran.extend(due.iter().copied());
            self.unsettled |= !answer.complete;
            if turn == 0 {
                self.settings = answer.settings.and_then(Result::ok).map(Arc::new);
            }
            match answer.facts {
                Some(Ok(found)) => facts = Some(found),
                Some(Err(error)) => trouble = Some(of_query(error)),
                None => {
                    trouble = Some(Trouble {
                        reason: Reason::Timeout,
                        message: format!("{}: no answer in time", self.target.address),
                    });
                }
            }
            let Some(found) = &facts else { break };
            let again = answer.complete && {
                self.plan = Some(plan);
                let changed = self.replan(found);
                plan = match self.plan.take() {
                    Some(plan) => plan,
                    None => return self.nothing(unasked()),
                };
                changed
            };
            if !again || turn == 1 {
                break;
            }
            ran.clear();
            if let Err(why) = session.prepare(&mut plan.own, deadline.at()).await {
                self.unsettled = true;
                trouble = Some(why);
                break;
            }
            // Those that ran in the first turn need not again.
            for (at, slot) in plan.own.iter().enumerate() {
                if matches!(slot.outcome, Outcome::Done) {
                    ran.insert(at);
                }
            }
        }
        self.look_over(&mut plan.own, &ran, &mut trouble);
        if trouble.is_none() && walk && facts.is_some() {
            if let Some(names) = facts.as_ref().and_then(|found| found.databases.as_ref()) {
                plan.set_databases(names, &self.target.databases);
            }
            self.walk(
                &mut plan,
                session.mode(),
                settings.interval,
                settings.query_text,
                deadline,
            )
            .await;
            for slot in plan.others.values_mut().flatten() {
                slot.left_out(
                    started,
                    settings.interval,
                    "its database was not reached in time",
                );
            }
        }
        self.note_denied(&plan);
        let collected = self.gather(&plan, facts, trouble);
        self.plan = Some(plan);
        collected
    }

    /// Runs what is due in the other databases, one after the other.
    async fn walk(
        &mut self,
        plan: &mut Plan,
        mode: &Mode,
        interval: Option<Duration>,
        query_text: usize,
        deadline: &Deadline,
    ) {
        if std::mem::take(&mut self.hold_walk) {
            return;
        }
        if let Some(leftover) = &mut self.leftover {
            tokio::select! {
                _ = leftover => self.leftover = None,
                () = deadline.passed() => return,
            }
        }
        if self.commons.places.is_for_one() {
            if !std::mem::replace(&mut self.walk_told, true) {
                warn!(
                    server = %self.target.name,
                    "max_connections = 1 leaves no connection for its other databases; raise it"
                );
            }
            return;
        }
        let catalog = Arc::clone(plan.catalog());
        for (database, slots) in &mut plan.others {
            let now = Instant::now();
            let due = |slot: &&mut Slot| !slot.is_denied() && slot.is_due(now, interval);
            if deadline.is_over() || !slots.iter_mut().any(|slot| due(&slot)) {
                continue;
            }
            let session = match self.session_of(database, mode, deadline).await {
                Ok(session) => session,
                Err(trouble) => {
                    self.commons.counters.errors.add(1);
                    self.tell(database.clone(), "connection".to_owned(), &trouble.message);
                    if self.leftover.is_some() {
                        return;
                    }
                    continue;
                }
            };
            let mut session = session;
            if *session.mode() == Mode::Kept && session.prepare(slots, deadline.at()).await.is_err()
            {
                self.give_up(session);
                return;
            }
            let mut picked: Vec<&mut Slot> = slots.iter_mut().filter(due).collect();
            let shared = Shared {
                catalog: &catalog,
                labels: &self.labels,
                query_text,
            };
            let answer = session
                .run(&mut picked, Ask::default(), shared, deadline.passed())
                .await;
            let ran = (0..slots.len()).collect();
            let mut trouble = None;
            self.look_over(slots, &ran, &mut trouble);
            if !answer.complete || trouble.is_some() {
                self.give_up(session);
                return;
            }
            if *session.mode() == Mode::Kept {
                self.kept.insert(database.clone(), session);
            } else {
                let left = deadline.at().saturating_duration_since(Instant::now());
                if let Err(leftover) = session.close(left.min(Duration::from_secs(1))).await {
                    self.leftover = Some(leftover);
                    return;
                }
            }
        }
        let gone: Vec<String> = self
            .kept
            .keys()
            .filter(|name| !plan.others.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(session) = self.kept.remove(&name) {
                let _ = session.close(Duration::from_secs(1)).await;
            }
        }
    }

    async fn session_of(
        &mut self,
        database: &str,
        mode: &Mode,
        deadline: &Deadline,
    ) -> Result<Session, Trouble> {
        if let Some(session) = self.kept.remove(database)
            && session.trouble().is_none()
        {
            return Ok(session);
        }
        let mode = match mode {
            Mode::Pooled => Mode::Pooled,
            // The session's own database counts as one.
            _ if self.kept.len() + 1 < self.target.session_databases
                && self.commons.places.has_room() =>
            {
                Mode::Kept
            }
            _ => Mode::Once,
        };
        let late = || Trouble {
            reason: Reason::Timeout,
            message: "no connection before the scrape's deadline".to_owned(),
        };
        let permits = tokio::select! {
            permits = self.commons.places.for_another_database() => permits.ok_or_else(late)?,
            () = deadline.passed() => return Err(late()),
        };
        self.next_session += 1;
        self.counters.connections.add(1);
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let database = database.to_owned();
        let mut opening =
            tokio::spawn(
                async move { Session::open(&connector, &database, id, mode, permits).await },
            );
        tokio::select! {
            opened = &mut opening => opened.unwrap_or_else(|_| Err(late())),
            // A connection that is given up half-way still counts at the server.
            () = deadline.passed() => {
                self.leftover = Some(tokio::spawn(async move {
                    if let Ok(Ok(session)) = opening.await {
                        let _ = session.close(GONE).await;
                    }
                }));
                Err(late())
            }
        }
    }

    /// Ends a second connection whose state is unsure, beside what comes next.
    fn give_up(&mut self, session: Session) {
        self.leftover = Some(tokio::spawn(async move {
            if let Ok(session) = session.settled(GONE).await {
                let _ = session.close(GONE).await;
            }
        }));
    }

    /// Counts and tells what came of each slot that ran. A lost session is the target's trouble.
    fn look_over(
        &mut self,
        slots: &mut [Slot],
        ran: &BTreeSet<usize>,
        trouble: &mut Option<Trouble>,
    ) {
        let counters = Arc::clone(&self.commons.counters);
        for at in ran {
            let Some(slot) = slots.get_mut(*at) else {
                continue;
            };
            slot.cut_off();
            counters.executions.add(1);
            let metric = Arc::clone(&slot.chosen.metric);
            let key = (metric.tag.clone(), slot.database().to_owned());
            match &slot.outcome {
                Outcome::Failed(QueryError::Lost(message, reason)) => {
                    trouble.get_or_insert(Trouble {
                        reason: *reason,
                        message: message.clone(),
                    });
                }
                Outcome::Failed(QueryError::Timeout(message)) => {
                    counters.timeouts.add(1);
                    self.tell(key.1, key.0, message);
                }
                // Told once for all of them.
                Outcome::Failed(QueryError::Denied(_)) => {}
                Outcome::Failed(error) => {
                    if !metric.optional {
                        counters.errors.add(1);
                        self.tell(key.1, key.0, &error.to_string());
                    }
                }
                Outcome::Done => {
                    self.told.remove(&(key.1, key.0));
                }
                Outcome::Waiting | Outcome::Running => {}
            }
        }
    }

    fn tell(&mut self, database: String, tag: String, message: &str) {
        if self.told.insert((database.clone(), tag.clone())) {
            warn!(server = %self.target.name, database, tag, "no samples: {message}");
        }
    }

    fn note_denied(&mut self, plan: &Plan) {
        let slots = plan.own.iter().chain(plan.others.values().flatten());
        let denied: BTreeSet<&str> = slots
            .filter(|slot| slot.is_denied())
            .map(|slot| slot.chosen.metric.collector.as_str())
            .collect();
        let denied: Vec<String> = denied.into_iter().map(str::to_owned).collect();
        if denied != self.denied {
            if !denied.is_empty() {
                warn!(
                    server = %self.target.name,
                    "role {} may not see: {}; grant it pg_monitor, or more where a collector's \
                     page says so, or exclude these collectors",
                    self.target.user,
                    denied.join(", ")
                );
            }
            self.denied = denied;
        }
    }

    fn gather(&self, plan: &Plan, facts: Option<Facts>, trouble: Option<Trouble>) -> Collected {
        let mut collected = self.nothing(unasked());
        collected.facts = facts;
        if trouble.is_none() {
            let slots = plan.own.iter().chain(plan.others.values().flatten());
            collected.queries = slots.filter_map(|slot| slot.samples().cloned()).collect();
            collected.settings.clone_from(&self.settings);
        }
        collected.trouble = trouble;
        collected.catalog = Arc::clone(plan.catalog());
        collected
    }

    /// An answer without samples.
    pub(super) fn nothing(&self, trouble: Trouble) -> Collected {
        Collected {
            target: Arc::clone(&self.target),
            catalog: self.commons.catalog.borrow().clone(),
            queries: Vec::new(),
            settings: None,
            facts: None,
            trouble: Some(trouble),
            denied: self.denied.clone(),
            duration: Duration::ZERO,
            counters: Arc::clone(&self.counters),
        }
    }

    /// Ends the sessions of other databases.
    pub(super) async fn close(&mut self, limit: Duration) {
        if let Some(leftover) = self.leftover.take() {
            // Whoever takes the target over now begins with the server as it is.
            let _ = tokio::time::timeout(limit, leftover).await;
        }
        for (_, session) in std::mem::take(&mut self.kept) {
            let _ = session.close(limit).await;
        }
    }
}

fn unasked() -> Trouble {
    Trouble {
        reason: Reason::Pending,
        message: "not asked yet".to_owned(),
    }
}

fn of_query(error: QueryError) -> Trouble {
    match error {
        QueryError::Lost(message, reason) => Trouble { reason, message },
        QueryError::Timeout(message) => Trouble {
            reason: Reason::Timeout,
            message,
        },
        other => Trouble {
            reason: Reason::ServerError,
            message: other.to_string(),
        },
    }
}
