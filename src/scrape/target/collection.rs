//! One collection: all queries of the session's own database at once, then a walk through the
//! others.

mod profile;
mod result;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use tracing::warn;

use super::context::TargetContext;
use super::databases::DatabaseCollection;
use super::databases::request::DatabaseRequest;
use super::databases::turns::{ShareKind, own_share};
use super::plan::CollectionPlan;
use super::query_log::QueryLog;
use crate::catalog::{Catalog, OwnMetrics};
use crate::exposition::render_label;
use crate::model::{NEWEST_MAJOR, Role, TargetErrorKind};
use crate::postgres::{
    Connector, PipelineRequest, PipelineResponse, QueryContext, QuerySchedule, SampleBudget,
    ScheduledQuery, ScrapeSession, ServerIdentity, ServerInfo, Session, SettingsSamples,
};
use crate::scrape::collection_result::CollectionResult;
use crate::scrape::counters::TargetCounters;
use crate::scrape::settings::ScrapeSettings;
use crate::scrape::single_flight::CollectRequest;
use crate::targets::{Target, TargetError, TargetMemory};

/// Holds what one target runs and what it showed last.
#[derive(Debug)]
pub(crate) struct CollectionRunner {
    target: Arc<Target>,
    context: TargetContext,
    counters: Arc<TargetCounters>,
    /// `server` and the target's own labels, rendered.
    labels: Vec<u8>,
    plan: Option<CollectionPlan>,
    settings: Option<(SettingsKey, Arc<SettingsSamples>)>,
    /// The settings were asked for and took too much.
    settings_too_large: Option<String>,
    /// What its samples may take.
    memory: TargetMemory,
    /// When they may be asked for again after they were refused.
    settings_schedule: QuerySchedule,
    /// The catalogue with the target's own metrics over it, and what it was made of.
    extended: Option<(Arc<OwnMetrics>, Arc<Catalog>)>,
    databases: DatabaseCollection,
    query_log: QueryLog,
    must_drain: bool,
    /// Connections that a walk may make to reach the target's server in one database.
    walk_tries: u32,
}

/// What the settings of a session depend on: the session, when the server read its configuration
/// (in bits of the time), and the role.
type SettingsKey = (u64, u64, Role);

fn settings_key(session: &impl ScrapeSession) -> Option<SettingsKey> {
    let facts = session.facts()?;
    Some((session.id(), facts.configured.to_bits(), facts.role))
}

impl CollectionRunner {
    pub(crate) fn new(
        connector: &Arc<Connector>,
        context: &TargetContext,
        counters: &Arc<TargetCounters>,
    ) -> Self {
        let target = &connector.target;
        Self {
            target: Arc::clone(target),
            context: context.clone(),
            counters: Arc::clone(counters),
            labels: labels(target),
            plan: None,
            settings: None,
            settings_too_large: None,
            memory: context.memory.join(),
            settings_schedule: QuerySchedule::default(),
            extended: None,
            databases: DatabaseCollection::new(connector, context, counters),
            query_log: QueryLog::new(target, &context.counters, counters),
            must_drain: false,
            walk_tries: 1,
        }
    }

    /// The server that a session reached.
    fn server(&self, session: &Session) -> ServerIdentity {
        let known = session.facts().map(|facts| facts.identity);
        known.unwrap_or_default()
    }

    /// How many connections a walk may make to reach the target's server in one database.
    pub(crate) fn set_walk_tries(&mut self, tries: u32) {
        self.walk_tries = tries;
    }

    /// The connections beside the target's own session.
    pub(crate) fn databases(&mut self) -> &mut DatabaseCollection {
        &mut self.databases
    }

    /// Takes over a change of the target that its session outlives.
    pub(crate) fn apply_change(&mut self, target: &Arc<Target>) {
        let before = std::mem::replace(&mut self.target, Arc::clone(target));
        let relabelled = before.labels != target.labels;
        if relabelled {
            self.labels = labels(target);
            self.settings = None;
        }
        // What was asked under a wider limit may be more than the present one allows.
        let limit = |target: &Target| target.sample_limit.unwrap_or(usize::MAX);
        let forget = relabelled
            || limit(target) < limit(&before)
            || target.limits.samples < before.limits.samples
            || target.limits.result < before.limits.result;
        if let Some(plan) = &mut self.plan {
            plan.give_way(forget, before.databases != target.databases);
        }
        self.retry();
    }

    /// What failed or was refused is tried again at the next collection: somebody may have mended
    /// it.
    fn retry(&mut self) {
        self.databases.turns.retry(Instant::now());
        self.settings_schedule.retry();
        if let Some(plan) = &mut self.plan {
            plan.retry();
        }
    }

    /// The present catalogue, with the target's own metrics over it.
    fn catalog(&mut self) -> Arc<Catalog> {
        let base = self.context.catalog.borrow().clone();
        let Some(own) = &self.target.metrics else {
            self.extended = None;
            return base;
        };
        if let Some((of, extended)) = &self.extended
            && Arc::ptr_eq(of, own)
            && extended
                .base
                .as_ref()
                .is_some_and(|of| Arc::ptr_eq(of, &base))
        {
            return Arc::clone(extended);
        }
        match own.over(&base) {
            Ok(extended) => {
                let extended = Arc::new(extended);
                self.extended = Some((Arc::clone(own), Arc::clone(&extended)));
                extended
            }
            // Whoever put the target into the list had tried it with the catalogue of before; it
            // is being told.
            Err(_) => base,
        }
    }

    /// Whether the session's last collection did not end: it must be settled before the next.
    pub(crate) fn must_drain(&self) -> bool {
        self.must_drain
    }

    /// The session was settled.
    pub(crate) fn note_drained(&mut self) {
        self.must_drain = false;
    }

    /// Leaves the other databases out once, if `hold`.
    pub(crate) fn hold_walk(&mut self, hold: bool) {
        self.databases.hold(hold);
    }

    /// Learns what the server is and prepares its queries.
    ///
    /// # Errors
    /// Why the session is of no use.
    pub(crate) async fn ready(
        &mut self,
        session: &mut Session,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        self.must_drain = false;
        let facts = session.ask_server_info(false, deadline).await?.clone();
        if let Some(rights) = session.ask_rights(deadline).await? {
            self.query_log.note_excess_rights(rights);
        }
        let mut plan = self.plan_for(&facts);
        let prepared = session.prepare(&mut plan.own, deadline).await;
        self.plan = Some(plan);
        prepared
    }

    /// The plan that fits such a server and the present catalogue: the old one, or a new one that
    /// takes over what did not change.
    fn plan_for(&mut self, facts: &ServerInfo) -> CollectionPlan {
        let catalog = self.catalog();
        let old = self.plan.take();
        match old {
            Some(plan) if plan.fits(&catalog, facts) => plan,
            old => {
                if facts.version.major() > NEWEST_MAJOR {
                    warn!(
                        server = %self.target.name,
                        "PostgreSQL {} is newer than this exporter knows; it runs the queries for \
                         {NEWEST_MAJOR}",
                        facts.version
                    );
                }
                let mut plan = CollectionPlan::new(&self.target, &catalog, facts);
                if let Some(old) = old {
                    plan.adopt(old);
                }
                plan
            }
        }
    }

    /// Asks everything that is due. What is ready at the request's deadline counts.
    pub(crate) async fn collect<S: ScrapeSession>(
        &mut self,
        session: &mut S,
        request: &CollectRequest,
    ) -> CollectionResult {
        let deadline = request.deadline();
        // They are sent anew at each reload, whether they differ or not.
        if self.context.settings.has_changed().unwrap_or(false) {
            self.retry();
        }
        let settings = self.context.settings.borrow_and_update().clone();
        let Some(known) = session.facts().cloned() else {
            return self.nothing(unasked());
        };
        let mut plan = self.plan_for(&known);
        // What is due is decided once, for both turns.
        let now = Instant::now();
        let may_try = |name: &str| self.databases.turns.may_try(name, now);
        let walk = plan.walk_is_due(now, settings.interval, may_try);
        let others = plan.count_due(now, settings.interval, may_try);
        session.ask_ahead(&plan.own, walk);
        let room = self.room(&plan, now, session, &settings);
        let mut found = ServerAnswer::default();
        let answers = AtomicBool::new(false);
        // The second turn is for a server that was promoted, demoted, configured anew, or got an
        // extension since the last scrape: what it runs now, it runs at once.
        for _ in 0..2 {
            if let Err(trouble) = session.prepare(&mut plan.own, deadline.at()).await {
                self.must_drain = true;
                found.trouble = Some(trouble);
                break;
            }
            let ask = PipelineRequest {
                facts: Some(walk),
                settings: !self.has_settings(session),
                started: false,
            };
            let mut begin = |_: &ServerInfo| answers.store(true, Ordering::Relaxed);
            // A server that answers leaves the others of its databases their share; one that does
            // not is waited for.
            let late = async {
                let share = |deadline| own_share(now, deadline, others);
                deadline.passed_share(share).await;
                if !answers.load(Ordering::Relaxed) {
                    deadline.passed().await;
                }
            };
            let answer = self
                .run(
                    session,
                    &mut plan,
                    ask,
                    (now, &settings, &room),
                    &mut begin,
                    late,
                )
                .await;
            self.must_drain |= !answer.complete;
            if !answer.complete {
                request.note_cut();
            }
            found.facts(answer.facts, &self.target);
            if ask.settings {
                self.take_settings(session, answer.settings);
            }
            let Some(facts) = found.facts.as_ref().filter(|_| answer.complete) else {
                break;
            };
            let same = plan.fits(&self.catalog(), facts);
            if same && (self.has_settings(session) || ask.settings) {
                break;
            }
            self.plan = Some(plan);
            plan = self.plan_for(facts);
        }
        let lost = self
            .query_log
            .record(plan.own.iter_mut(), found.trouble.is_some());
        found.trouble = found.trouble.or(lost);
        if found.trouble.is_none()
            && walk
            && let Some(facts) = &found.facts
        {
            if let Some(names) = &facts.databases {
                self.query_log.note_databases(names.len());
                plan.set_databases(names, &self.target.databases);
            }
            if let Some(port) = self.databases.hanging_login().filter(|_| !self.must_drain) {
                self.must_drain = !session.end_login(port, deadline.at()).await;
            }
            let catalog = Arc::clone(plan.catalog());
            let request = DatabaseRequest {
                share: ShareKind::Fair,
                mode: session.mode(),
                server: facts.identity,
                tries: self.walk_tries,
                now,
                interval: settings.interval,
                shared: QueryContext {
                    catalog: &catalog,
                    labels: &self.labels,
                    query_text: settings.query_text,
                    label_value: settings.label_value,
                    budget: &room,
                },
                deadline,
            };
            self.databases
                .collect_due(&mut plan, request, &mut self.query_log)
                .await;
        }
        self.query_log.forget_gone(&plan);
        self.query_log.note_denied(&plan);
        self.query_log.note_closed(&plan);
        let collected = self.build_result(&mut plan, found);
        self.plan = Some(plan);
        collected
    }

    async fn run<S: ScrapeSession>(
        &self,
        session: &mut S,
        plan: &mut CollectionPlan,
        ask: PipelineRequest,
        (now, settings, room): (Instant, &ScrapeSettings, &SampleBudget),
        begin: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()> + Send,
    ) -> PipelineResponse {
        let catalog = Arc::clone(plan.catalog());
        let shared = QueryContext {
            catalog: &catalog,
            labels: &self.labels,
            query_text: settings.query_text,
            label_value: settings.label_value,
            budget: room,
        };
        let mut due: Vec<&mut ScheduledQuery> = plan
            .own
            .iter_mut()
            .filter(|slot| !slot.is_fresh() && slot.is_due(now, settings.interval))
            .collect();
        session.run(&mut due, ask, shared, begin, late).await
    }

    /// Ends the sessions of other databases.
    pub(crate) async fn close(&mut self) {
        self.databases.close().await;
    }
}

/// What the turns of a collection found out about the target as a whole.
#[derive(Default)]
struct ServerAnswer {
    facts: Option<ServerInfo>,
    trouble: Option<TargetError>,
}

impl ServerAnswer {
    fn facts(
        &mut self,
        answer: Option<Result<ServerInfo, crate::postgres::QueryError>>,
        target: &Target,
    ) {
        match answer {
            Some(Ok(facts)) => self.facts = Some(facts),
            Some(Err(error)) => self.trouble = Some(error.into_target_error()),
            None => {
                self.trouble = Some(TargetError {
                    kind: TargetErrorKind::Timeout,
                    message: format!("{}: no answer in time", target.address),
                });
            }
        }
    }
}

/// `server` and the target's own labels, rendered.
fn labels(target: &Target) -> Vec<u8> {
    let mut labels = Vec::new();
    render_label(&mut labels, "server", target.name.as_bytes());
    for (name, value) in &target.labels {
        render_label(&mut labels, name, value.as_bytes());
    }
    labels
}

fn unasked() -> TargetError {
    TargetError {
        kind: TargetErrorKind::Pending,
        message: "not asked yet".to_owned(),
    }
}

#[cfg(test)]
mod tests;
