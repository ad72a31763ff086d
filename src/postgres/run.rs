//! Running: all queries of a collection in one go, and what they need before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::exchange::{Ahead, Group, Job};
use super::facts::{About, Facts, Told, integer, no_answer};
use super::job_state::JobState;
use super::query::{Outcome, Run, Shared, Slot};
use super::question::{Question, Word};
use super::session::Session;
use super::session_settings::SessionSettings;
use super::settings::SettingsSamples;
use super::statement::{Mode, Prepared};
use crate::targets::Trouble;

/// What is asked beside the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// [`Facts`]; true with the list of databases.
    pub facts: Option<bool>,
    /// The settings.
    pub settings: bool,
    /// When the server was started, to tell it from another.
    pub started: bool,
}

/// What came back beside the slots.
#[derive(Debug, Default)]
pub struct Answer {
    /// Everything answered. If not, the session must be [`Session::settled`].
    pub complete: bool,
    /// `None`: not asked, or no answer in time.
    pub facts: Option<Result<Facts, QueryError>>,
    /// `None`: not asked, or no answer in time.
    pub settings: Option<Result<SettingsSamples, QueryError>>,
    /// As in [`ServerIdentity::started`](super::ServerIdentity). `None`: not asked, or no answer.
    pub started: Option<i64>,
}

/// With whom a job goes.
#[derive(Clone, Copy, Debug, Default)]
struct Company {
    turn: Turn,
    /// It has a Sync of its own.
    apart: bool,
    /// It is a user's, and runs in a transaction of its own.
    users: bool,
    /// Its own `statement_timeout`, where it may not have that of the others.
    limit: Option<Duration>,
}

/// The order in which jobs are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// What the server is: known as soon as it is told.
    Facts,
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
    pub async fn prepare(&mut self, slots: &mut [Slot], deadline: Instant) -> Result<(), Trouble> {
        if self.mode != Mode::Kept {
            return Ok(());
        }
        // A session of another database is never asked for facts.
        if self.facts.is_some() {
            self.prepare_questions(deadline).await?;
        }
        let around = self.settings.around_users_prepare();
        for own in [true, false] {
            let id = self.id;
            let missing =
                |slot: &&mut Slot| slot.chosen.metric.builtin == own && is_missing(slot, id);
            let mut slots: Vec<&mut Slot> = slots.iter_mut().filter(missing).collect();
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
                .map_err(QueryError::into_trouble)?;
            for (slot, result) in slots.into_iter().zip(results) {
                if result.is_err() {
                    slot.refused();
                }
            }
        }
        Ok(())
    }

    /// Sends the questions for [`Facts`], with `databases` that for their list, before it is known
    /// what follows: the server works on them while that is made ready. The next
    /// [`Session::run`], which must follow without a wait, hears the answers. Nothing is sent where
    /// something else must go before.
    pub fn ask_ahead(&mut self, slots: &[Slot], databases: bool) {
        let ready = self.mode == Mode::Kept
            && !self.careful
            && self.trouble().is_none()
            && self.pipe.owed() == 0
            && !self.raw_facts
            && !self.questions.probe.is_new_to(self.id)
            && !slots.iter().any(|slot| is_missing(slot, self.id));
        if !ready {
            return;
        }
        let questions = Arc::clone(&self.questions);
        let mut jobs = Vec::new();
        let extensions = self.extensions_are_due();
        for question in questions.of_facts(extensions, databases) {
            // One that cannot be put, and those after it, go with the others, which tells why.
            let Ok(encodings) = question.put(self.id, self.pipe.outbox()) else {
                break;
            };
            jobs.push(encodings);
        }
        self.ahead = Some(Ahead {
            extensions,
            databases,
            jobs,
        });
        self.pipe.sync();
        self.pipe.send_now();
    }

    /// Sends all of `slots` at once, with the questions for [`Facts`] and for the settings before
    /// them, and waits no longer than until `late` completes. What did not answer is left in
    /// [`Outcome::Running`]. `known` hears the facts as soon as they are there.
    pub async fn run(
        &mut self,
        slots: &mut [&mut Slot],
        ask: Ask,
        shared: Shared<'_>,
        known: &mut (dyn FnMut(&Facts) + Send),
        late: impl Future<Output = ()>,
    ) -> Answer {
        let questions = Arc::clone(&self.questions);
        let ahead = self.ahead.take();
        let ask_facts = ahead.as_ref().map(|sent| sent.databases).or(ask.facts);
        let ask_extensions = match &ahead {
            Some(sent) => sent.extensions,
            None => self.extensions_are_due(),
        };
        let before = self.facts.clone();
        let mut settings = SettingsSamples::default();
        let (mut facts, mut set, mut started) = (None, None, None);
        let told = Mutex::new((
            Told::new(ask_extensions, ask_facts == Some(true)),
            &mut facts,
            known,
        ));
        let hear = |about: About| {
            let (told, before) = (&told, before.as_ref());
            move |word: Word<'_>| {
                let (told, facts, known) =
                    &mut *told.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(all) = told.hear(about, word, before) {
                    if let Ok(all) = &all {
                        known(all);
                    }
                    **facts = Some(all);
                }
            }
        };
        let (mut on_server, mut on_extensions, mut on_databases) = (
            hear(About::Server),
            hear(About::Extensions),
            hear(About::Databases),
        );
        let mut on_settings = |word: Word<'_>| match word {
            Word::Restart => settings = SettingsSamples::default(),
            Word::Row(fields) => {
                let before = settings.held();
                settings.add(fields, shared.labels);
                shared.room.take(1, settings.held() - before);
            }
            Word::End(result) => set = Some(result),
        };
        let mut on_started = |word: Word<'_>| {
            if let Word::Row(fields) = word {
                started = Some(integer(&fields, 0));
            }
        };
        let mut probe = Question::new(&questions.probe, &mut on_server);
        let mut listed = Question::new(&questions.extensions, &mut on_extensions);
        let mut named = Question::new(&questions.databases, &mut on_databases);
        let mut asked = Question::new(&questions.settings, &mut on_settings);
        let mut which = Question::new(&questions.started, &mut on_started);

        let mut jobs: Vec<&mut dyn Job> = Vec::with_capacity(slots.len() + 5);
        if let Some(databases) = ask_facts {
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
        let first = Company {
            turn: Turn::Facts,
            ..Company::default()
        };
        let own = jobs.len();
        let mut company = vec![first; own];
        company.extend(slots.iter().map(|slot| self.company(slot)));
        let of_own = JobState {
            raw: self.raw_facts,
            ..JobState::default()
        };
        let mut states = vec![of_own; own];
        states.extend(slots.iter().map(|slot| JobState {
            raw: slot.raw,
            ..JobState::default()
        }));
        let mut runs: Vec<Run<'_>> = slots
            .iter_mut()
            .map(|slot| Run::begin(slot, shared))
            .collect();
        jobs.extend(runs.iter_mut().map(|run| run as &mut dyn Job));
        let complete = tokio::select! {
            biased;
            // A session that broke has told each of them.
            _ = self.run_in(ahead, &mut jobs, &mut states, &company) => true,
            () = late => false,
        };
        drop(jobs);
        let (told, ..) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
        let listed = told.listed();
        self.raw_facts |= states[..own].iter().any(|state| state.raw);
        let mut slots: Vec<&mut Slot> = runs.into_iter().map(Run::over).collect();
        let count = slots.len();
        // The one that the server was at when it said that it ends the session is known.
        let ended = states[own..].iter().position(|state| state.ended_session);
        if let Some(slot) = ended.and_then(|at| slots.get_mut(at)) {
            slot.broke_session();
        }
        // The server works on them in the order in which they were sent; those that are sent again
        // come behind all others.
        let turns = company[own..].iter().zip(&states[own..]);
        let unanswered = slots.into_iter().zip(turns).filter(|(slot, _)| {
            matches!(
                slot.outcome,
                Outcome::Running | Outcome::Failed(QueryError::Lost(..))
            )
        });
        let place = |company: &Company, state: &JobState| {
            let apart = company.apart && !self.careful && company.turn < Turn::Users;
            (state.put_off, company.turn, state.raw, apart)
        };
        let first = unanswered
            .min_by_key(|(_, (company, state))| place(company, state))
            .map(|(slot, (company, _))| (slot, company));
        // Of those under one Sync nobody knows which one the server was at; the next run tells. And
        // a server that did not say a word does not work on one query in particular.
        let alone = |company: &Company| {
            self.careful
                || self.mode == Mode::Pooled
                || company.apart
                || matches!(company.turn, Turn::Special | Turn::Slow)
        };
        let answers = ask_facts.is_none() || facts.is_some();
        if let Some((slot, company)) = first
            && answers
            && ended.is_none()
            && alone(company)
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
        Answer {
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
    pub(super) async fn run_all(&mut self, jobs: &mut [&mut dyn Job]) -> Result<(), QueryError> {
        let company = vec![Company::default(); jobs.len()];
        let mut states = vec![JobState::default(); jobs.len()];
        self.run_in(None, jobs, &mut states, &company).await
    }

    /// Runs all, of which the first were sent `ahead`.
    async fn run_in(
        &mut self,
        mut ahead: Option<Ahead>,
        jobs: &mut [&mut dyn Job],
        states: &mut [JobState],
        company: &[Company],
    ) -> Result<(), QueryError> {
        let sent = ahead.as_ref().map_or(0, |ahead| ahead.jobs.len());
        let mut left: Vec<usize> = (sent..jobs.len()).collect();
        let mut renewed = Vec::new();
        while ahead.is_some() || !left.is_empty() {
            let groups = self.groups(&left, states, company);
            let unfinished = self
                .exchange(ahead.take(), jobs, states, &groups, &renewed)
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
                        jobs[at].end(Err(error.clone()));
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
        jobs: &mut [&mut dyn Job],
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

    /// With whom a slot goes.
    fn company(&self, slot: &Slot) -> Company {
        let metric = &slot.chosen.metric;
        let pooled = self.mode == Mode::Pooled;
        let users = !metric.builtin;
        let limit = metric.timeout.filter(|_| !pooled || users);
        let turn = match (slot.slow, limit) {
            (true, _) => Turn::Slow,
            (false, Some(_)) => Turn::Special,
            (false, None) if users => Turn::Users,
            (false, None) => Turn::Plain,
        };
        Company {
            turn,
            apart: slot.failing,
            users,
            limit,
        }
    }

    fn groups(&self, left: &[usize], states: &[JobState], company: &[Company]) -> Vec<Group> {
        let key = |at: &usize| (company[*at].turn, states[*at].raw);
        let mut order = left.to_vec();
        order.sort_by_key(key);
        let mut groups: Vec<Group> = Vec::new();
        for same in order.chunk_by(|a, b| key(a) == key(b)) {
            let (turn, raw) = key(&same[0]);
            let alone = turn >= Turn::Users;
            if alone {
                groups.extend(same.iter().map(|at| Group {
                    batches: vec![vec![*at]],
                    raw,
                    ..self.around(company[*at], raw)
                }));
                continue;
            }
            let (apart, together): (Vec<usize>, Vec<usize>) = same
                .iter()
                .partition(|at| self.careful || company[**at].apart);
            let mut batches = vec![together];
            batches.extend(apart.into_iter().map(|at| vec![at]));
            groups.push(Group {
                batches,
                raw,
                ..self.around(Company::default(), raw)
            });
        }
        groups
    }

    /// What is set before and after those of one group. Behind a pooler each of our own queries
    /// brings its settings along.
    fn around(&self, company: Company, raw: bool) -> Group {
        let pooled = self.mode == Mode::Pooled;
        let limit = company.limit;
        let mut group = Group::default();
        if company.users {
            if pooled && self.connector.quirks.refuses_transactions() {
                return group;
            }
            let limit = limit.unwrap_or(self.connector.target.timeouts.query);
            group.before = Some(self.settings.begin(limit, raw, pooled));
            group.after = Some(SessionSettings::end().to_owned());
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
fn is_missing(slot: &Slot, session: u64) -> bool {
    !slot.failing && slot.prepared.is_new_to(session)
}
