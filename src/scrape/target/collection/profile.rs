//! One step of a profile: what it runs is what a collection would, but alone, and timed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{CollectionRunner, settings_key};
use crate::catalog::SETTINGS;
use crate::postgres::{PipelineRequest, QueryContext, QueryError, SampleBudget, Session};
use crate::scrape::profile::{ProfileRun, ProfileStep};
use crate::scrape::single_flight::SharedDeadline;
use crate::scrape::target::databases::request::DatabaseRequest;
use crate::scrape::target::databases::turns::ShareKind;
use crate::targets::{ProfiledQuery, TargetError};

impl CollectionRunner {
    /// Takes the next step. When [`Self::is_unsettled`] after it, the server did not answer.
    ///
    /// # Errors
    /// Why the rest is not to be had.
    pub(crate) async fn profile_step(
        &mut self,
        session: &mut Session,
        profiling: &mut ProfileRun,
    ) -> Result<(), TargetError> {
        let Some(step) = profiling.steps.pop_front() else {
            return Ok(());
        };
        // What takes longer has failed: the server ends a query earlier.
        let patience = Instant::now() + self.target.timeouts.query * 2;
        let deadline = profiling.request.deadline.min(patience);
        let begun = Instant::now();
        let done = match step {
            ProfileStep::Begin => self.profile_begin(session, profiling, deadline).await,
            ProfileStep::Query(tag) => self.profile_query(session, profiling, &tag, deadline).await,
            ProfileStep::Settings => self.profile_settings(session, profiling, deadline).await,
            ProfileStep::Database(name) => {
                self.profile_database(session, profiling, &name, deadline)
                    .await;
                Ok(())
            }
        };
        profiling.found.duration += begun.elapsed();
        if profiling.steps.is_empty()
            && let Some(mut plan) = self.plan.take()
        {
            self.query_log.note_denied(&plan);
            self.leave_out(&mut plan);
            self.plan = Some(plan);
        }
        done
    }

    async fn profile_begin(
        &mut self,
        session: &mut Session,
        profiling: &mut ProfileRun,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        let walks = self.plan.as_ref().is_none_or(|plan| plan.walks());
        let begun = Instant::now();
        let facts = match session.ask_server_info(walks, deadline).await {
            Ok(facts) => facts.clone(),
            Err(trouble) => {
                self.must_drain = true;
                return Err(trouble);
            }
        };
        profiling.found.round_trip = Some(begun.elapsed());
        let mut plan = self.plan_for(&facts);
        if let Some(names) = &facts.databases {
            plan.set_databases(names, &self.target.databases);
        }
        let prepared = session.prepare(&mut plan.own, deadline).await;
        self.must_drain |= prepared.is_err();
        let tags = plan.own.iter().map(|slot| slot.chosen.metric.tag.clone());
        profiling.steps.extend(tags.map(ProfileStep::Query));
        if self.wants_settings() {
            profiling.steps.push_back(ProfileStep::Settings);
        }
        let databases = plan.others.keys().cloned();
        profiling.steps.extend(databases.map(ProfileStep::Database));
        self.plan = Some(plan);
        prepared
    }

    async fn profile_query(
        &mut self,
        session: &mut Session,
        profiling: &mut ProfileRun,
        tag: &str,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        let Some(mut plan) = self.plan.take() else {
            return Ok(());
        };
        let room = self.room_for(plan.slots().filter(|slot| slot.chosen.metric.tag != tag));
        let (query_text, label_value) = self.label_limits();
        let catalog = Arc::clone(plan.catalog());
        let shared = QueryContext {
            catalog: &catalog,
            labels: &self.labels,
            query_text,
            label_value,
            budget: &room,
        };
        // A scrape that came between may have found another plan to be right.
        let slot = plan
            .own
            .iter_mut()
            .find(|slot| slot.chosen.metric.tag == tag);
        let mut done = Ok(());
        if let Some(slot) = slot {
            let begun = Instant::now();
            done = session.prepare(std::slice::from_mut(slot), deadline).await;
            self.must_drain |= done.is_err();
            if done.is_ok() {
                let answer = session
                    .run(
                        &mut [&mut *slot],
                        PipelineRequest::default(),
                        shared,
                        &mut |_| {},
                        sleep_until(deadline),
                    )
                    .await;
                self.must_drain |= !answer.complete;
            }
            let took = begun.elapsed();
            let lost = self.query_log.record(std::iter::once(&mut *slot), false);
            done = done.and(lost.map_or(Ok(()), Err));
            profiling
                .found
                .queries
                .push(ProfiledQuery::from_query(slot, took, &self.target));
        }
        self.plan = Some(plan);
        done
    }

    async fn profile_settings(
        &mut self,
        session: &mut Session,
        profiling: &mut ProfileRun,
        deadline: Instant,
    ) -> Result<(), TargetError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let room = self.room_for(plan.slots());
        let catalog = Arc::clone(plan.catalog());
        let shared = QueryContext {
            catalog: &catalog,
            labels: &self.labels,
            query_text: 0,
            label_value: 0,
            budget: &room,
        };
        let ask = PipelineRequest {
            settings: true,
            ..PipelineRequest::default()
        };
        let begun = Instant::now();
        let answer = session
            .run(&mut [], ask, shared, &mut |_| {}, sleep_until(deadline))
            .await;
        let took = begun.elapsed();
        self.must_drain |= !answer.complete;
        let mut line = ProfiledQuery {
            collector: SETTINGS.to_owned(),
            tag: SETTINGS.to_owned(),
            database: self.target.database.clone(),
            interval: None,
            duration: took,
            samples: 0,
            outcome: "done",
            message: None,
        };
        let mut too_large = None;
        let samples = match answer.settings {
            Some(Ok(samples)) => {
                line.samples = samples.len();
                Some(Arc::new(samples))
            }
            Some(Err(error)) => {
                if let QueryError::TooLarge(message) = &error {
                    too_large = Some(message.clone());
                }
                (line.outcome, line.message) =
                    ("failed", Some(self.target.redact(&error.to_string())));
                None
            }
            None => {
                line.outcome = "late";
                None
            }
        };
        self.settings = settings_key(session).zip(samples);
        self.settings_too_large = too_large;
        profiling.found.queries.push(line);
        Ok(())
    }

    async fn profile_database(
        &mut self,
        session: &Session,
        profiling: &mut ProfileRun,
        name: &str,
        deadline: Instant,
    ) {
        let Some(mut plan) = self.plan.take() else {
            return;
        };
        let other = |(database, _): &(&String, _)| *database != name;
        let others = plan.others.iter().filter(other);
        let others = others.flat_map(|(_, slots)| slots);
        let room = self.room_for(plan.own.iter().chain(others));
        let (query_text, label_value) = self.label_limits();
        let catalog = Arc::clone(plan.catalog());
        let deadline = SharedDeadline::fixed(deadline);
        let request = DatabaseRequest {
            share: ShareKind::Fair,
            mode: session.mode(),
            server: self.server(session),
            tries: self.walk_tries,
            now: Instant::now(),
            interval: Some(Duration::ZERO),
            shared: QueryContext {
                catalog: &catalog,
                labels: &self.labels,
                query_text,
                label_value,
                budget: &room,
            },
            deadline: &deadline,
        };
        if let Some(slots) = plan.others.get_mut(name) {
            let watch = self
                .databases
                .profile(name, slots, request, &mut self.query_log)
                .await;
            let queries = &mut profiling.found.queries;
            queries.extend(watch.connect.map(|took| ProfiledQuery::connect(name, took)));
            queries.extend(slots.iter().enumerate().map(|(at, slot)| {
                let took = watch.runs.get(&at).copied().unwrap_or_default();
                ProfiledQuery::from_query(slot, took, &self.target)
            }));
        }
        self.plan = Some(plan);
    }

    /// Longest text of a statement in a label, in characters, and longest value of one, in bytes.
    fn label_limits(&self) -> (usize, usize) {
        let settings = self.context.settings.borrow();
        (settings.query_text, settings.label_value)
    }

    /// What one query may bring beside what `others` show.
    fn room_for<'a>(
        &self,
        others: impl Iterator<Item = &'a crate::postgres::ScheduledQuery>,
    ) -> SampleBudget {
        let settings = self.settings.as_ref().map(|(_, all)| all.as_ref());
        self.room_beside(others, settings)
    }
}
