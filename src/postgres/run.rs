//! Running: all queries of a collection in one go, and what they need before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::job_state::JobState;
use super::pipeline::{JobGroup, PipelineJob, SentAhead};
use super::query::{QueryContext, QueryOutcome, QueryRun, ScheduledQuery};
use super::server_info::{InfoQuery, ServerInfo, ServerInfoReader, integer, no_answer};
use super::session::Session;
use super::session_query::{RowEvent, SessionQuery};
use super::session_settings::SessionSettings;
use super::settings::SettingsSamples;
use super::statement::{Mode, Prepared};
use crate::targets::TargetError;

/// What is asked beside the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineRequest {
    /// [`ServerInfo`]; true with the list of databases.
    pub facts: Option<bool>,
    /// The settings.
    pub settings: bool,
    /// When the server was started, to tell it from another.
    pub started: bool,
}

/// What came back beside the slots.
#[derive(Debug, Default)]
pub struct PipelineResponse {
    /// Everything answered. If not, the session must be [`Session::settled`].
    pub complete: bool,
    /// `None`: not asked, or no answer in time.
    pub facts: Option<Result<ServerInfo, QueryError>>,
    /// `None`: not asked, or no answer in time.
    pub settings: Option<Result<SettingsSamples, QueryError>>,
    /// As in [`ServerIdentity::started`](super::ServerIdentity). `None`: not asked, or no answer.
    pub started: Option<i64>,
}

/// What decides which jobs are sent together, and when.
#[derive(Clone, Copy, Debug, Default)]
struct BatchClass {
    order: BatchOrder,
    /// It has a Sync of its own.
    apart: bool,
    /// It is a user's, and runs in a transaction of its own.
    users: bool,
    /// Its own `statement_timeout`, where it may not have that of the others.
    limit: Option<Duration>,
}

/// The order in which jobs are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum BatchOrder {
    /// What the server is: known as soon as it is told.
    ServerInfo,
    /// As the session is set.
    #[default]
    Plain,
    /// Users' own, each in a transaction.
    Users,
    /// With settings of its own.
    Special,
    /// What held up the others once waits for them from then on.
    Slow,
}

impl Session {
    /// Prepares what is not prepared yet. A query that cannot be is marked and left out.
    ///
    /// # Errors
    /// The session broke, or did not answer in time: it must be [`Session::settled`] then.
    pub async fn prepare(
        &mut self,
        slots: &mut [ScheduledQuery],
        deadline: Instant,
    ) -> Result<(), TargetError> {
        if self.mode != Mode::Kept {
            return Ok(());
        }
        // A session of another database is never asked for facts.
        if self.facts.is_some() {
            self.prepare_session_queries(deadline).await?;
        }
        let around = self.settings.around_users_prepare();
        for own in [true, false] {
            let id = self.id;
            let missing = |slot: &&mut ScheduledQuery| {
                slot.chosen.metric.builtin == own && is_missing(slot, id)
            };
            let mut slots: Vec<&mut ScheduledQuery> = slots.iter_mut().filter(missing).collect();
            if slots.is_empty() {
                continue;
            }
            let mut statements: Vec<&mut Prepared> =
                slots.iter_mut().map(|slot| &mut slot.prepared).collect();
            // The server analyses a statement by the path of the moment, now and whenever it is run
            // under another one.
            let path = (!own).then_some(&around);
            let results = timeout_at(deadline, self.prepare_all(&mut statements, path))
                .await
                .map_err(|_| no_answer())?
                .map_err(QueryError::into_target_error)?;
            for (slot, result) in slots.into_iter().zip(results) {
                if result.is_err() {
                    slot.refused();
                }
            }
        }
        Ok(())
    }

    /// Sends the questions for [`ServerInfo`], with `databases` that for their list, before it is
    /// known what follows: the server works on them while that is made ready. The next
    /// [`Session::run`], which must follow without a wait, hears the answers. Nothing is sent where
    /// something else must go before.
    pub fn ask_ahead(&mut self, slots: &[ScheduledQuery], databases: bool) {
        let ready = self.mode == Mode::Kept
            && !self.careful
            && self.trouble().is_none()
            && self.connection.owed() == 0
            && !self.raw_server_info
            && !self.questions.probe.is_new_to(self.id)
            && !slots.iter().any(|slot| is_missing(slot, self.id));
        if !ready {
            return;
        }
        let questions = Arc::clone(&self.questions);
        let mut jobs = Vec::new();
        let extensions = self.extensions_are_due();
        for question in questions.of_server_info(extensions, databases) {
            // One that cannot be put, and those after it, go with the others, which tells why.
            let Ok(encodings) = question.put(self.id, self.connection.outbox()) else {
                break;
            };
            jobs.push(encodings);
        }
        self.ahead = Some(SentAhead {
            extensions,
            databases,
            jobs,
        });
        self.connection.sync();
        self.connection.send_now();
    }

    /// Sends all of `slots` at once, with the questions for [`ServerInfo`] and for the settings
    /// before them, and waits no longer than until `late` completes. What did not answer is left in
    /// [`QueryOutcome::Running`]. `known` hears the facts as soon as they are there.
    pub async fn run(
        &mut self,
        slots: &mut [&mut ScheduledQuery],
        ask: PipelineRequest,
        context: QueryContext<'_>,
        known: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()>,
    ) -> PipelineResponse {
        let questions = Arc::clone(&self.questions);
        let ahead = self.ahead.take();
        let ask_server_info = ahead.as_ref().map(|sent| sent.databases).or(ask.facts);
        let ask_extensions = match &ahead {
            Some(sent) => sent.extensions,
            None => self.extensions_are_due(),
        };
        let before = self.facts.clone();
        let mut settings = SettingsSamples::default();
        let (mut facts, mut set, mut started) = (None, None, None);
        let reader = Mutex::new((
            ServerInfoReader::new(ask_extensions, ask_server_info == Some(true)),
            &mut facts,
            known,
        ));
        let on_event = |about: InfoQuery| {
            let (reader, before) = (&reader, before.as_ref());
            move |event: RowEvent<'_>| {
                let (reader, facts, known) =
                    &mut *reader.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(all) = reader.handle_event(about, event, before) {
                    if let Ok(all) = &all {
                        known(all);
                    }
                    **facts = Some(all);
                }
            }
        };
        let (mut on_server, mut on_extensions, mut on_databases) = (
            on_event(InfoQuery::Server),
            on_event(InfoQuery::Extensions),
            on_event(InfoQuery::Databases),
        );
        let mut on_settings = |event: RowEvent<'_>| match event {
            RowEvent::Restart => settings = SettingsSamples::default(),
            RowEvent::Row(fields) => {
                let before = settings.held();
                settings.add(fields, context.labels);
                context.budget.consume(1, settings.held() - before);
            }
            RowEvent::End(result) => set = Some(result),
        };
        let mut on_started = |event: RowEvent<'_>| {
            if let RowEvent::Row(fields) = event {
                started = Some(integer(&fields, 0));
            }
        };
        let mut probe = SessionQuery::new(&questions.probe, &mut on_server);
        let mut listed = SessionQuery::new(&questions.extensions, &mut on_extensions);
        let mut named = SessionQuery::new(&questions.databases, &mut on_databases);
        let mut asked = SessionQuery::new(&questions.settings, &mut on_settings);
        let mut which = SessionQuery::new(&questions.started, &mut on_started);

        let mut jobs: Vec<&mut dyn PipelineJob> = Vec::with_capacity(slots.len() + 5);
        if let Some(databases) = ask_server_info {
            jobs.push(&mut probe);
            if ask_extensions {
                jobs.push(&mut listed);
            }
            if databases {
                jobs.push(&mut named);
            }
        }
        if ask.settings {
            jobs.push(&mut asked);
        }
        if ask.started {
            jobs.push(&mut which);
        }
        let first = BatchClass {
            order: BatchOrder::ServerInfo,
            ..BatchClass::default()
        };
        let own = jobs.len();
        let mut batch_classes = vec![first; own];
        batch_classes.extend(slots.iter().map(|slot| self.batch_class(slot)));
        let of_own = JobState {
            raw: self.raw_server_info,
            ..JobState::default()
        };
        let mut states = vec![of_own; own];
        states.extend(slots.iter().map(|slot| JobState {
            raw: slot.raw,
            ..JobState::default()
        }));
        let mut runs: Vec<QueryRun<'_>> = slots
            .iter_mut()
            .map(|slot| QueryRun::begin(slot, context))
            .collect();
        jobs.extend(runs.iter_mut().map(|run| run as &mut dyn PipelineJob));
        let complete = tokio::select! {
            biased;
            // A session that broke has told each of them.
            _ = self.run_in(ahead, &mut jobs, &mut states, &batch_classes) => true,
            () = late => false,
        };
        drop(jobs);
        let (reader, ..) = reader.into_inner().unwrap_or_else(PoisonError::into_inner);
        let listed = reader.listed();
        self.raw_server_info |= states[..own].iter().any(|state| state.raw);
        let mut slots: Vec<&mut ScheduledQuery> = runs.into_iter().map(QueryRun::over).collect();
        let count = slots.len();
        // The one that the server was at when it said that it ends the session is known.
        let ended = states[own..].iter().position(|state| state.ended_session);
        if let Some(slot) = ended.and_then(|at| slots.get_mut(at)) {
            slot.broke_session();
        }
        // The server works on them in the order in which they were sent; those that are sent again
        // come behind all others.
        let turns = batch_classes[own..].iter().zip(&states[own..]);
        let unanswered = slots.into_iter().zip(turns).filter(|(slot, _)| {
            matches!(
                slot.outcome,
                QueryOutcome::Running | QueryOutcome::Failed(QueryError::Lost(..))
            )
        });
        let place = |batch_class: &BatchClass, state: &JobState| {
            let apart = batch_class.apart && !self.careful && batch_class.order < BatchOrder::Users;
            (state.put_off, batch_class.order, state.raw, apart)
        };
        let first = unanswered
            .min_by_key(|(_, (batch_class, state))| place(batch_class, state))
            .map(|(slot, (batch_class, _))| (slot, batch_class));
        // Of those under one Sync nobody knows which one the server was at; the next run tells. And
        // a server that did not say a word does not work on one query in particular.
        let alone = |batch_class: &BatchClass| {
            self.careful
                || self.mode == Mode::Pooled
                || batch_class.apart
                || matches!(batch_class.order, BatchOrder::Special | BatchOrder::Slow)
        };
        let answers = ask_server_info.is_none() || facts.is_some();
        if let Some((slot, batch_class)) = first
            && answers
            && ended.is_none()
            && alone(batch_class)
        {
            match complete {
                true => slot.broke_session(),
                false => slot.cut_off_at_work(),
            }
        }
        // Under one Sync the answers come together at its end: until it is known that none is slow,
        // each has its own, so that the deadline takes nothing from those that are done.
        self.careful = !complete || (self.careful && count == 0);
        if let Some(listed) = &listed {
            self.note_extensions(listed);
        }
        if let Some(Ok(facts)) = &mut facts {
            // Behind a pooler it may be another server than the one that was asked for these.
            let before = before.map(|before| before.identity.started);
            if before.is_some_and(|before| before != facts.identity.started) {
                self.control = Some(None);
            }
            facts.identity.complete(self.control.flatten());
            self.facts = Some(facts.clone());
        }
        PipelineResponse {
            complete,
            facts,
            settings: set.map(|result| result.map(|()| settings.sorted())),
            started,
        }
    }

    /// Runs questions of our own.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn run_all(
        &mut self,
        jobs: &mut [&mut dyn PipelineJob],
    ) -> Result<(), QueryError> {
        let batch_classes = vec![BatchClass::default(); jobs.len()];
        let mut states = vec![JobState::default(); jobs.len()];
        self.run_in(None, jobs, &mut states, &batch_classes).await
    }

    /// Runs all, of which the first were sent `ahead`.
    async fn run_in(
        &mut self,
        mut ahead: Option<SentAhead>,
        jobs: &mut [&mut dyn PipelineJob],
        states: &mut [JobState],
        batch_classes: &[BatchClass],
    ) -> Result<(), QueryError> {
        let sent = ahead.as_ref().map_or(0, |ahead| ahead.jobs.len());
        let mut left: Vec<usize> = (sent..jobs.len()).collect();
        let mut renewed = Vec::new();
        while ahead.is_some() || !left.is_empty() {
            let groups = self.groups(&left, states, batch_classes);
            let unfinished = self
                .run_pipeline(ahead.take(), jobs, states, &groups, &renewed)
                .await?;
            left = unfinished.skipped;
            let mut stale = unfinished.stale;
            if stale.is_empty() {
                continue;
            }
            if unfinished.forgot {
                // One after the other would be found to be unknown.
                let id = self.id;
                let held =
                    |at: &usize| !renewed.contains(at) && jobs[*at].statement().is_held_in(id);
                stale.extend(left.extract_if(.., |at| held(at)));
            }
            match self.prepare_anew(&stale, jobs).await {
                Ok(ready) => left.extend(ready),
                Err(error) => {
                    for at in left.into_iter().chain(stale) {
                        jobs[at].finish(Err(error.clone()));
                    }
                    return Err(error);
                }
            }
            left.sort_unstable();
            renewed.extend(stale);
        }
        Ok(())
    }

    /// Prepares the statements of these jobs anew, with their columns as they are now. Returns
    /// those that are to be sent again.
    ///
    /// # Errors
    /// The session broke.
    async fn prepare_anew(
        &mut self,
        stale: &[usize],
        jobs: &mut [&mut dyn PipelineJob],
    ) -> Result<Vec<usize>, QueryError> {
        let mut ready = Vec::new();
        for own in [true, false] {
            let (mut places, mut statements) = (Vec::new(), Vec::new());
            for (at, job) in jobs.iter_mut().enumerate() {
                if !stale.contains(&at) || job.is_builtin() != own {
                    continue;
                }
                match job.renew() {
                    Some(statement) => {
                        places.push(at);
                        statements.push(statement);
                    }
                    None => {
                        // A question of the session: all are prepared before the next collection.
                        self.questions = Arc::default();
                        ready.push(at);
                    }
                }
            }
            if statements.is_empty() {
                continue;
            }
            let around = self.settings.around_users_prepare();
            let path = (!own).then_some(&around);
            self.prepare_all(&mut statements, path).await?;
            // One that cannot be prepared is sent without a name, which tells what is wrong.
            ready.extend(places);
        }
        Ok(ready)
    }

    /// How the query of a slot is sent.
    fn batch_class(&self, slot: &ScheduledQuery) -> BatchClass {
        let metric = &slot.chosen.metric;
        let pooled = self.mode == Mode::Pooled;
        let users = !metric.builtin;
        let limit = metric.timeout.filter(|_| !pooled || users);
        let order = match (slot.slow, limit) {
            (true, _) => BatchOrder::Slow,
            (false, Some(_)) => BatchOrder::Special,
            (false, None) if users => BatchOrder::Users,
            (false, None) => BatchOrder::Plain,
        };
        BatchClass {
            order,
            apart: slot.failing,
            users,
            limit,
        }
    }

    fn groups(
        &self,
        left: &[usize],
        states: &[JobState],
        batch_classes: &[BatchClass],
    ) -> Vec<JobGroup> {
        let key = |at: &usize| (batch_classes[*at].order, states[*at].raw);
        let mut order = left.to_vec();
        order.sort_by_key(key);
        let mut groups: Vec<JobGroup> = Vec::new();
        for same in order.chunk_by(|a, b| key(a) == key(b)) {
            let (order, raw) = key(&same[0]);
            let alone = order >= BatchOrder::Users;
            if alone {
                groups.extend(same.iter().map(|at| JobGroup {
                    batches: vec![vec![*at]],
                    raw,
                    ..self.around(batch_classes[*at], raw)
                }));
                continue;
            }
            let (apart, together): (Vec<usize>, Vec<usize>) = same
                .iter()
                .partition(|at| self.careful || batch_classes[**at].apart);
            let mut batches = vec![together];
            batches.extend(apart.into_iter().map(|at| vec![at]));
            groups.push(JobGroup {
                batches,
                raw,
                ..self.around(BatchClass::default(), raw)
            });
        }
        groups
    }

    /// What is set before and after those of one group. Behind a pooler each of our own queries
    /// brings its settings along.
    fn around(&self, batch_class: BatchClass, raw: bool) -> JobGroup {
        let pooled = self.mode == Mode::Pooled;
        let limit = batch_class.limit;
        let mut group = JobGroup::default();
        if batch_class.users {
            if pooled && self.connector.quirks.refuses_transactions() {
                return group;
            }
            let limit = limit.unwrap_or(self.connector.target.timeouts.query);
            group.before = Some(self.settings.begin(limit, raw, pooled));
            group.after = Some(SessionSettings::end_transaction().to_owned());
        } else if !pooled && (limit.is_some() || raw) {
            let before = limit.map(|limit| self.settings.limit(limit));
            let mut before = before.unwrap_or_default();
            let mut after = self.settings.usual();
            if raw {
                before += &self.settings.encoding(true);
                after += &self.settings.encoding(false);
            }
            (group.before, group.after) = (Some(before), Some(after));
        }
        group
    }
}

/// Whether that session has to prepare it before it is run. One that failed last time is sent
/// without a name when it is due: a new session is not to run into the same error before that.
fn is_missing(slot: &ScheduledQuery, session: u64) -> bool {
    !slot.failing && slot.prepared.is_new_to(session)
}
