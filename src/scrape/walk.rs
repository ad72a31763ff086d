//! The walk through a server's other databases, one after the other over one more connection, so
//! that the server never counts more than two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use super::commons::Commons;
use super::counters::TargetCounters;
use super::flight::Deadline;
use super::ledger::Ledger;
use super::plan::Plan;
use crate::model::Reason;
use crate::postgres::{Ask, Connector, Mode, ServerIdentity, Session, Shared, Slot};
use crate::targets::Trouble;

/// Walks for one target.
#[derive(Debug)]
pub(super) struct Walker {
    connector: Arc<Connector>,
    commons: Commons,
    counters: Arc<TargetCounters>,
    /// Sessions that are kept, for those who chose to spend connections on it.
    kept: BTreeMap<String, Session>,
    /// Databases whose last walk came to its end.
    proven: BTreeSet<String>,
    /// A connection that was given up and may still count at the server.
    leftover: Option<JoinHandle<()>>,
    /// Skip the next walk: a backend that was given up may still be there.
    hold: bool,
    /// A limit of one connection leaves none for other databases; that was told.
    told: bool,
    next_session: u64,
    /// When the servers were started that new connections reached, since they were last taken.
    reached: Vec<i64>,
}

/// What a walk is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// How the target's own session sends its queries.
    pub mode: &'a Mode,
    /// The server that the target's own session reached.
    pub server: ServerIdentity,
    /// Connections that may be made until one reaches that server, at least 1.
    pub tries: u32,
    /// When it was decided what is due.
    pub now: Instant,
    /// Overrides the catalogue's intervals.
    pub interval: Option<Duration>,
    pub shared: Shared<'a>,
    pub deadline: &'a Deadline,
}

/// What a visit took, query by query: they run one after the other then.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// Until a new connection was there.
    pub connect: Option<Duration>,
    /// The queries that ran, by their place among the slots.
    pub runs: BTreeMap<usize, Duration>,
}

/// Ids of these sessions; those of the target's own database count from 1.
const FIRST_ID: u64 = 1 << 32;
/// How long a server may take to close a connection that we closed.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a connection that was given up is waited for.
const GONE: Duration = Duration::from_secs(60);

impl Walker {
    pub(super) fn new(
        connector: &Arc<Connector>,
        commons: &Commons,
        counters: &Arc<TargetCounters>,
    ) -> Self {
        Self {
            connector: Arc::clone(connector),
            commons: commons.clone(),
            counters: Arc::clone(counters),
            kept: BTreeMap::new(),
            proven: BTreeSet::new(),
            leftover: None,
            hold: false,
            told: false,
            next_session: FIRST_ID,
            reached: Vec::new(),
        }
    }

    /// When the servers were started that new connections have reached, in microseconds of the Unix
    /// epoch, since this was last asked.
    pub(super) fn take_reached(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.reached)
    }

    /// Whether no connection but the target's own may count at the server.
    pub(super) fn is_over(&mut self) -> bool {
        if self.leftover.as_ref().is_some_and(JoinHandle::is_finished) {
            self.leftover = None;
        }
        self.leftover.is_none()
    }

    /// Lets the next walk wait for the end of a connection that was given up.
    pub(super) fn wait_for(&mut self, leftover: JoinHandle<()>) {
        let before = self.leftover.take();
        self.leftover = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let _ = leftover.await;
        }));
    }

    /// Ends the sessions that were kept, beside what comes next: the next walk opens others.
    pub(super) fn close_kept(&mut self) {
        for (_, session) in std::mem::take(&mut self.kept) {
            self.wait_for(tokio::spawn(async move {
                let _ = session.close(GONE).await;
            }));
        }
    }

    /// Leaves the next walk out, if `hold`.
    pub(super) fn hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    /// Runs what is due in the other databases. What could not be run shows nothing: old rows would
    /// pass for new.
    pub(super) async fn walk(&mut self, plan: &mut Plan, errand: Errand<'_>, ledger: &mut Ledger) {
        if self.may_walk(errand.deadline).await {
            for (database, slots) in &mut plan.others {
                if !self.visit(database, slots, errand, ledger, None).await {
                    break;
                }
            }
        }
        for slot in plan
            .others
            .values_mut()
            .flatten()
            .filter(|slot| is_due(slot, errand))
        {
            slot.give_up("not asked before the scrape's deadline");
        }
        ledger.enter(plan.others.values_mut().flatten(), false);
        let gone: Vec<String> = self
            .kept
            .keys()
            .filter(|name| !plan.others.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(session) = self.kept.remove(&name) {
                self.bid_goodbye(session, GOODBYE).await;
            }
        }
    }

    /// Runs everything in one other database, query by query. Returns whether others may follow.
    pub(super) async fn profile(
        &mut self,
        database: &str,
        slots: &mut [Slot],
        errand: Errand<'_>,
        ledger: &mut Ledger,
    ) -> (bool, Stopwatch) {
        let mut watch = Stopwatch::default();
        let go_on = self.may_walk(errand.deadline).await
            && self
                .visit(database, slots, errand, ledger, Some(&mut watch))
                .await;
        for slot in slots.iter_mut().filter(|slot| is_due(slot, errand)) {
            slot.give_up("not asked in time");
        }
        ledger.enter(slots.iter_mut(), false);
        (go_on, watch)
    }

    async fn may_walk(&mut self, deadline: &Deadline) -> bool {
        if self.commons.places.is_for_one() {
            if !std::mem::replace(&mut self.told, true) {
                warn!(
                    server = %self.connector.target.name,
                    "max_connections = 1 leaves no connection for its other databases; raise it"
                );
            }
            return false;
        }
        if std::mem::take(&mut self.hold) {
            return false;
        }
        if let Some(leftover) = &mut self.leftover {
            tokio::select! {
                _ = leftover => self.leftover = None,
                () = deadline.passed() => return false,
            }
        }
        true
    }

    /// Returns whether the walk may go on.
    async fn visit(
        &mut self,
        database: &str,
        slots: &mut [Slot],
        errand: Errand<'_>,
        ledger: &mut Ledger,
        mut watch: Option<&mut Stopwatch>,
    ) -> bool {
        for _ in 0..errand.tries.max(1) {
            let watch = watch.as_deref_mut();
            match self
                .visit_once(database, slots, errand, ledger, watch)
                .await
            {
                Visit::Over(go_on) => return go_on,
                Visit::OtherServer => {}
            }
        }
        let address = &self.connector.target.address;
        self.fail_database(
            database,
            slots,
            errand,
            ledger,
            &Trouble {
                reason: Reason::ConnectionLost,
                message: format!(
                    "{address} led to another server than the one that is shown; nothing is shown \
                     of this database, until all sessions reach one server"
                ),
            },
        );
        true
    }

    /// Nothing is shown of a database that could not be asked, and that is told.
    fn fail_database(
        &self,
        database: &str,
        slots: &mut [Slot],
        errand: Errand<'_>,
        ledger: &mut Ledger,
        trouble: &Trouble,
    ) {
        ledger.unreachable(database, trouble);
        for slot in slots.iter_mut().filter(|slot| is_due(slot, errand)) {
            slot.give_up(&trouble.message);
            slot.take_fresh();
        }
    }

    async fn visit_once(
        &mut self,
        database: &str,
        slots: &mut [Slot],
        errand: Errand<'_>,
        ledger: &mut Ledger,
        watch: Option<&mut Stopwatch>,
    ) -> Visit {
        if errand.deadline.is_over() {
            return Visit::Over(false);
        }
        if !slots.iter().any(|slot| is_due(slot, errand)) {
            return Visit::Over(true);
        }
        let due: Vec<bool> = slots.iter().map(|slot| is_due(slot, errand)).collect();
        let known = self.kept.contains_key(database);
        let begun = Instant::now();
        let mut session = match self.session_of(database, errand).await {
            Ok(session) => session,
            Err(trouble) => {
                self.fail_database(database, slots, errand, ledger, &trouble);
                return Visit::Over(self.leftover.is_none());
            }
        };
        if self.proven.remove(database) {
            session.trust();
        }
        if session.prepare(slots, errand.deadline.at()).await.is_err() {
            self.give_up(session);
            return Visit::Over(false);
        }
        let (complete, started) = match watch {
            None => run(&mut session, slots, errand).await,
            Some(watch) => {
                watch.connect = (!known).then(|| begun.elapsed());
                run_apart(&mut session, slots, errand, watch).await
            }
        };
        let lost = session.trouble().is_some();
        self.reached.extend(started.filter(|_| !known));
        if started.is_some_and(|started| started != errand.server.started) {
            // What came is another server's: as if it had not run.
            for (slot, _) in slots.iter_mut().zip(due).filter(|(_, due)| *due) {
                slot.forget();
                slot.take_fresh();
            }
            if !complete || lost {
                self.give_up(session);
                return Visit::Over(false);
            }
            let left = errand.deadline.at() - Instant::now();
            return match self.bid_goodbye(session, left).await {
                true => Visit::OtherServer,
                false => Visit::Over(false),
            };
        }
        ledger.reached(database);
        if !complete || lost {
            self.give_up(session);
            return Visit::Over(false);
        }
        self.proven.insert(database.to_owned());
        if *session.mode() == Mode::Kept {
            self.kept.insert(database.to_owned(), session);
            return Visit::Over(true);
        }
        let left = errand.deadline.at() - Instant::now();
        Visit::Over(self.bid_goodbye(session, left).await)
    }

    async fn session_of(&mut self, database: &str, errand: Errand<'_>) -> Result<Session, Trouble> {
        if let Some(mut session) = self.kept.remove(database)
            && session.is_alive()
        {
            return Ok(session);
        }
        let target = &self.connector.target;
        let mode = match errand.mode {
            Mode::Pooled => Mode::Pooled,
            // The session of the target's own database counts as one.
            _ if self.kept.len() + 1 < target.session_databases
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
            () = errand.deadline.passed() => return Err(late()),
        };
        self.next_session += 1;
        self.counters.connections.add(1);
        let (connector, id) = (Arc::clone(&self.connector), self.next_session);
        let database = database.to_owned();
        let mut opening = Opening(Some(Box::pin(async move {
            Session::open(&connector, &database, id, mode, permits).await
        })));
        tokio::select! {
            opened = opening.ended() => opened,
            () = errand.deadline.passed() => {
                self.leftover = opening.give_up();
                Err(late())
            }
        }
    }

    /// Ends a connection whose state is unsure, beside what comes next.
    fn give_up(&mut self, session: Session) {
        self.leftover = Some(tokio::spawn(async move {
            if let Ok(session) = session.settled(GONE).await {
                let _ = session.close(GONE).await;
            }
        }));
    }

    async fn bid_goodbye(&mut self, session: Session, left: Duration) -> bool {
        match session.close(left.min(GOODBYE)).await {
            Ok(()) => true,
            Err(leftover) => {
                self.leftover = Some(leftover);
                false
            }
        }
    }

    /// Ends the sessions that were kept.
    pub(super) async fn close(&mut self) {
        self.close_kept();
        if let Some(leftover) = self.leftover.take() {
            // Whoever takes the target over now begins with the server as it is.
            let _ = tokio::time::timeout(GOODBYE, leftover).await;
        }
    }
}

/// What came of going to a database.
enum Visit {
    /// It is done with; whether others may follow.
    Over(bool),
    /// The connection reached a server that is not the target's.
    OtherServer,
}

/// A session that is being opened. Given up half-way it still counts at the server: so it is let in,
/// and says goodbye.
struct Opening(Option<BoxFuture<'static, Result<Session, Trouble>>>);

impl Opening {
    async fn ended(&mut self) -> Result<Session, Trouble> {
        let Some(opening) = &mut self.0 else {
            return std::future::pending().await;
        };
        let opened = opening.await;
        self.0 = None;
        opened
    }

    fn give_up(&mut self) -> Option<JoinHandle<()>> {
        let opening = self.0.take()?;
        Some(tokio::spawn(async move {
            if let Ok(session) = opening.await {
                let _ = session.close(GONE).await;
            }
        }))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // A runtime that ends drops it for good.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.give_up();
        }
    }
}

/// Runs all that is due at once. Returns whether everything answered, and when the server was
/// started.
async fn run(session: &mut Session, slots: &mut [Slot], errand: Errand<'_>) -> (bool, Option<i64>) {
    let mut due: Vec<&mut Slot> = slots
        .iter_mut()
        .filter(|slot| is_due(slot, errand))
        .collect();
    ask(session, &mut due, errand).await
}

/// The same one after the other, timed.
async fn run_apart(
    session: &mut Session,
    slots: &mut [Slot],
    errand: Errand<'_>,
    watch: &mut Stopwatch,
) -> (bool, Option<i64>) {
    let mut started = None;
    for (at, slot) in slots.iter_mut().enumerate() {
        if !is_due(slot, errand) {
            continue;
        }
        let begun = Instant::now();
        let (complete, reached) = ask(session, &mut [slot], errand).await;
        watch.runs.insert(at, begun.elapsed());
        started = started.or(reached);
        if !complete {
            return (false, started);
        }
    }
    (true, started)
}

async fn ask(
    session: &mut Session,
    slots: &mut [&mut Slot],
    errand: Errand<'_>,
) -> (bool, Option<i64>) {
    let late = errand.deadline.passed();
    let ask = Ask {
        started: true,
        ..Ask::default()
    };
    let answer = session
        .run(slots, ask, errand.shared, &mut |_| {}, late)
        .await;
    (answer.complete, answer.started)
}

fn is_due(slot: &Slot, errand: Errand<'_>) -> bool {
    !slot.is_denied() && !slot.is_fresh() && slot.is_due(errand.now, errand.interval)
}
