//! A session of which a test says what it does: for everything above sessions, without PostgreSQL
//! and with a clock that stands still.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::error::{QueryError, no_answer};
use super::query::{QueryOutcome, ScheduledQuery};
use super::query_run::{QueryContext, QueryRun};
use super::row::{FieldRanges, Fields};
use super::run::{PipelineRequest, PipelineResponse};
use super::scrape_session::{LeakedBackend, ScrapeSession};
use super::server_info::ServerInfo;
use super::statement::Mode;
use crate::model::TargetErrorKind;
use crate::targets::TargetError;

pub(crate) use super::tests::{facts as plain_facts, plain_target};

/// What one run does.
#[derive(Clone, Debug)]
pub(crate) enum ScriptedRun {
    /// After so long each query gives these rows of texts.
    Rows(Duration, Vec<Vec<&'static str>>),
    /// After so long each query fails so.
    Fails(Duration, QueryError),
    /// After so long the session ends.
    Ends(Duration),
    /// The server never answers.
    Silent,
}

/// What was asked of a session, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionCalls(Arc<Mutex<Vec<String>>>);

impl SessionCalls {
    /// What was asked since the last call.
    pub(crate) fn take_all(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, what: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }
}

/// The session.
#[derive(Debug)]
pub(crate) struct ScriptedSession {
    facts: ServerInfo,
    runs: VecDeque<ScriptedRun>,
    /// How long it takes to drain, after a run that did not end.
    drains: Duration,
    trouble: Option<TargetError>,
    calls: SessionCalls,
}

impl ScriptedSession {
    /// On a server that says this of itself. `runs` are done in turn; what comes after them is
    /// [`ScriptedRun::Silent`].
    pub(crate) fn new(
        facts: ServerInfo,
        runs: impl IntoIterator<Item = ScriptedRun>,
        drains: Duration,
    ) -> (Self, SessionCalls) {
        let calls = SessionCalls::default();
        let session = Self {
            facts,
            runs: runs.into_iter().collect(),
            drains,
            trouble: None,
            calls: calls.clone(),
        };
        (session, calls)
    }

    async fn play(&mut self, jobs: &mut [QueryRun<'_>]) {
        use super::job::PipelineJob as _;
        match self.runs.pop_front().unwrap_or(ScriptedRun::Silent) {
            ScriptedRun::Silent => std::future::pending().await,
            ScriptedRun::Rows(after, rows) => {
                sleep(after).await;
                for job in jobs {
                    for row in &rows {
                        add_row(job, row);
                    }
                    job.finish(Ok(()));
                }
            }
            ScriptedRun::Fails(after, error) => {
                sleep(after).await;
                jobs.iter_mut()
                    .for_each(|job| job.finish(Err(error.clone())));
            }
            ScriptedRun::Ends(after) => {
                sleep(after).await;
                let message = "the server closed the connection".to_owned();
                let lost = QueryError::Lost(message, TargetErrorKind::ConnectionLost);
                jobs.iter_mut()
                    .for_each(|job| job.finish(Err(lost.clone())));
                self.trouble = Some(lost.into_target_error());
            }
        }
    }
}

fn add_row(job: &mut QueryRun<'_>, row: &[&str]) {
    use super::job::PipelineJob as _;
    let mut body = u16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
    for field in row {
        body.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        body.extend(field.as_bytes());
    }
    let mut ranges = FieldRanges::default();
    let fields = Fields::read(&body, &mut ranges, &[]).unwrap();
    if let Err(error) = job.row(fields, &mut Vec::new()) {
        job.stop(&error);
    }
}

impl ScrapeSession for ScriptedSession {
    fn id(&self) -> u64 {
        1
    }

    fn mode(&self) -> &Mode {
        &Mode::Kept
    }

    fn ask_ahead(&mut self, _: &[ScheduledQuery], _: bool) {}

    async fn end_login(&mut self, _: u16, _: Instant) -> bool {
        true
    }

    fn facts(&self) -> Option<&ServerInfo> {
        Some(&self.facts)
    }

    fn trouble(&self) -> Option<&TargetError> {
        self.trouble.as_ref()
    }

    async fn prepare(
        &mut self,
        slots: &mut [ScheduledQuery],
        _: Instant,
    ) -> Result<(), TargetError> {
        self.calls.add(format!("prepare {}", slots.len()));
        match &self.trouble {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(()),
        }
    }

    async fn run(
        &mut self,
        slots: &mut [&mut ScheduledQuery],
        ask: PipelineRequest,
        context: QueryContext<'_>,
        known: &mut (dyn FnMut(&ServerInfo) + Send),
        late: impl Future<Output = ()> + Send,
    ) -> PipelineResponse {
        self.calls.add(format!("run {}", slots.len()));
        let mut jobs: Vec<QueryRun<'_>> = slots
            .iter_mut()
            .map(|slot| QueryRun::begin(slot, context))
            .collect();
        let complete = tokio::select! {
            biased;
            () = self.play(&mut jobs) => true,
            () = late => false,
        };
        jobs.into_iter().for_each(|job| {
            job.over();
        });
        let answers = complete && self.trouble.is_none();
        let facts = ask.facts.filter(|_| answers).map(|_| self.facts.clone());
        facts.iter().for_each(known);
        PipelineResponse {
            complete,
            facts: facts.map(Ok),
            ..PipelineResponse::default()
        }
    }

    async fn drain(self, limit: Duration) -> Result<Self, (Option<LeakedBackend>, TargetError)> {
        self.calls.add("drain".to_owned());
        sleep(self.drains.min(limit)).await;
        match self.drains <= limit {
            true => Ok(self),
            false => Err((Some(LeakedBackend(self.facts.pid)), no_answer())),
        }
    }

    async fn close(self, _: Duration) -> Result<(), JoinHandle<()>> {
        self.calls.add("close".to_owned());
        Ok(())
    }
}

mod tests {
    use super::super::sample_budget::SampleBudget;
    use super::super::tests::{context, facts, outcomes, query};
    use super::*;
    use crate::catalog::Catalog;

    const SECOND: Duration = Duration::from_secs(1);

    /// What scraping does with a session, whichever it is.
    async fn collect<S: ScrapeSession>(
        session: &mut S,
        slots: &mut [ScheduledQuery],
        limit: Duration,
    ) -> PipelineResponse {
        let (catalog, budget) = (Catalog::default(), SampleBudget::unlimited());
        let ask = PipelineRequest {
            facts: Some(false),
            ..PipelineRequest::default()
        };
        let far = Instant::now() + limit;
        let _ = session.prepare(slots, far).await;
        let mut all: Vec<&mut ScheduledQuery> = slots.iter_mut().collect();
        let context = context(&catalog, &budget);
        session
            .run(&mut all, ask, context, &mut |_| {}, sleep(limit))
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_scripted_session_does_what_it_is_told_in_turn() {
        let denied = QueryError::Denied("no".to_owned());
        let rows = vec![vec!["x", "1"], vec!["y", "2"]];
        let (mut session, calls) = ScriptedSession::new(
            facts(),
            [
                ScriptedRun::Rows(SECOND, rows),
                ScriptedRun::Fails(SECOND, denied),
                ScriptedRun::Silent,
                ScriptedRun::Ends(SECOND),
            ],
            SECOND * 5,
        );
        let mut slots = vec![query("a"), query("b")];
        for expected in ["2", "no"] {
            let response = collect(&mut session, &mut slots, SECOND * 2).await;
            assert!(response.complete && response.facts.is_some());
            assert_eq!(outcomes(&slots), [expected; 2]);
        }
        assert!(!collect(&mut session, &mut slots, SECOND).await.complete);
        assert!(matches!(slots[0].outcome, QueryOutcome::Running));
        let begun = Instant::now();
        let mut session = session.drain(SECOND * 9).await.unwrap();
        assert_eq!(begun.elapsed(), SECOND * 5);
        collect(&mut session, &mut slots, SECOND * 2).await;
        assert!(slots.iter().all(ScheduledQuery::is_lost));
        let trouble = session.trouble().unwrap();
        assert_eq!(trouble.kind, TargetErrorKind::ConnectionLost);
        let pid = session.facts().unwrap().pid;
        let (backend, _) = session.drain(SECOND).await.unwrap_err();
        assert_eq!(backend, Some(LeakedBackend(pid)));
        let calls = calls.take_all();
        let run = ["prepare 2", "run 2"];
        let expected = [&run[..], &run, &run, &["drain"], &run, &["drain"]].concat();
        assert_eq!(calls, expected);
    }
}
