//! What a collection runs and shows, with a session of which the test says what it does and a clock
//! that stands still.

use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::catalog::{Catalog, SETTINGS};
use crate::postgres::scripted_session::{
    ScriptedRun, ScriptedSession, SessionCalls, plain_facts, plain_target,
};
use crate::postgres::{ConnectContext, QueryError};
use crate::scrape::connection_limiter::ConnectionLimiter;
use crate::scrape::counters::QueryFailure;
use crate::scrape::single_flight::SingleFlight;
use crate::scrape::target::connect_queue::ConnectQueue;
use crate::scrape::target::context::{ShutdownDeadline, TargetContext};
use crate::targets::SampleMemory;

const SECOND: Duration = Duration::from_secs(1);

/// One query that runs in each scrape, and one that waits a minute between two runs.
const METRICS: &str = "
version: 13
metrics:
  - tag: often
    query: SELECT 1
    columns: [{type: gauge, description: One.}]
  - tag: seldom
    interval: 1m
    query: SELECT 2
    columns: [{type: gauge, description: Two.}]
";

struct CollectionBed {
    runner: CollectionRunner,
    session: ScriptedSession,
    calls: SessionCalls,
    counters: Arc<TargetCounters>,
    settings: watch::Sender<ScrapeSettings>,
    /// Ends of channels that are read.
    _keep: (watch::Sender<Arc<Catalog>>, watch::Sender<u64>),
}

impl CollectionBed {
    fn new(runs: impl IntoIterator<Item = ScriptedRun>) -> Self {
        Self::with(METRICS, runs)
    }

    fn with(metrics: &str, runs: impl IntoIterator<Item = ScriptedRun>) -> Self {
        let mut target = plain_target();
        target.collectors.exclude.push(SETTINGS.to_owned());
        let (catalog, known_catalog) = watch::channel(Arc::default());
        let (settings, known_settings) = watch::channel(ScrapeSettings::default());
        let (renewals, known_renewals) = watch::channel(0);
        let own = OwnMetrics::parse(vec![("m".to_owned(), metrics.to_owned())], SECOND * 10);
        target.metrics = Some(Arc::new(own.expect("it is sound")));
        let context = TargetContext {
            counters: Arc::default(),
            catalog: known_catalog,
            settings: known_settings,
            renewals: known_renewals,
            connect: ConnectContext::default(),
            memory: SampleMemory::new(None),
            limiter: ConnectionLimiter::new(10),
            turns: ConnectQueue::default(),
            renewal_turns: ConnectQueue::for_one(),
            end: ShutdownDeadline(watch::channel(None).1),
        };
        let counters = Arc::<TargetCounters>::default();
        let connector = Arc::new(Connector::new(Arc::new(target), context.connect.clone()));
        let runner = CollectionRunner::new(&connector, &context, &counters);
        let (session, calls) = ScriptedSession::new(plain_facts(), runs, SECOND);
        Self {
            runner,
            session,
            calls,
            counters,
            settings,
            _keep: (catalog, renewals),
        }
    }

    /// Collects within so many seconds. Returns how many queries ran in each turn, how many samples
    /// are shown, and the kind of trouble.
    async fn collect(&mut self, seconds: u32) -> (Vec<String>, usize, Option<TargetErrorKind>) {
        let (flight, mut requests) = SingleFlight::new();
        let _waiter = flight.join(Instant::now() + SECOND * seconds);
        let request = requests.recv().await.expect("a request");
        let collected = self.runner.collect(&mut self.session, &request).await;
        let mut calls = self.calls.take_all();
        calls.retain(|call| call.starts_with("run"));
        let samples = collected.queries.iter().map(|one| one.samples()).sum();
        (calls, samples, collected.trouble.map(|one| one.kind))
    }

    fn failures(&self) -> Vec<(String, &'static str, u64)> {
        self.counters.query_failures()
    }
}

fn answers() -> ScriptedRun {
    ScriptedRun::Rows(Duration::from_millis(5), vec![vec!["1"]])
}

fn fails(error: QueryError) -> ScriptedRun {
    ScriptedRun::Fails(Duration::from_millis(5), error)
}

fn ran(queries: usize) -> Vec<String> {
    vec![format!("run {queries}")]
}

#[tokio::test(start_paused = true)]
async fn what_has_an_interval_runs_once_in_it_and_is_shown_in_each_scrape() {
    let mut bed = CollectionBed::new(std::iter::repeat_n(answers(), 10));
    assert_eq!(bed.collect(5).await, (ran(2), 2, None));
    tokio::time::advance(SECOND * 15).await;
    assert_eq!(bed.collect(5).await, (ran(1), 2, None));
    tokio::time::advance(SECOND * 45).await;
    assert_eq!(bed.collect(5).await, (ran(2), 2, None));
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_the_settings_overrides_that_of_the_metric() {
    let mut bed = CollectionBed::new(std::iter::repeat_n(answers(), 10));
    let settings = ScrapeSettings {
        interval: Some(Duration::ZERO),
        ..ScrapeSettings::default()
    };
    bed.settings.send_replace(settings);
    for _ in 0..3 {
        assert_eq!(bed.collect(5).await, (ran(2), 2, None));
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_shows_nothing_and_waits_longer_each_time() {
    let wrong = || fails(QueryError::Server("it is wrong".to_owned()));
    let mut bed = CollectionBed::new(std::iter::repeat_n(wrong(), 20));
    assert_eq!(bed.collect(5).await, (ran(2), 0, None));
    // One failure may be a coincidence; what has an interval waits for it.
    assert_eq!(bed.collect(5).await, (ran(1), 0, None));
    assert_eq!(bed.collect(5).await, (ran(0), 0, None));
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(bed.collect(5).await, (ran(1), 0, None));
    tokio::time::advance(SECOND * 3).await;
    assert_eq!(bed.collect(5).await, (ran(0), 0, None), "twice as long");
    let failures: u64 = bed.failures().iter().map(|(.., number)| number).sum();
    assert_eq!(failures, 4);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_at_a_reload() {
    let wrong = fails(QueryError::Server("it is wrong".to_owned()));
    let mut bed = CollectionBed::new([wrong.clone(), wrong, answers()]);
    bed.collect(5).await;
    bed.collect(5).await;
    bed.settings.send_replace(ScrapeSettings::default());
    assert_eq!(bed.collect(5).await, (ran(2), 2, None));
}

#[tokio::test(start_paused = true)]
async fn what_the_role_may_not_see_is_tried_every_few_minutes() {
    let denied = || fails(QueryError::Denied("permission denied".to_owned()));
    let mut bed = CollectionBed::new(std::iter::repeat_n(denied(), 20));
    assert_eq!(bed.collect(5).await, (ran(2), 0, None));
    tokio::time::advance(SECOND * 200).await;
    assert_eq!(bed.collect(5).await, (ran(0), 0, None));
    tokio::time::advance(SECOND * 40).await;
    assert_eq!(bed.collect(5).await, (ran(2), 0, None));
    let reason = QueryFailure::PermissionDenied.as_str();
    assert!(bed.failures().iter().all(|(_, why, _)| *why == reason));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_takes_the_deadline_and_no_longer() {
    let mut bed = CollectionBed::new([ScriptedRun::Silent]);
    let begun = Instant::now();
    let (_, samples, trouble) = bed.collect(5).await;
    assert_eq!((samples, trouble), (0, Some(TargetErrorKind::Timeout)));
    // The answer has to be there at the deadline.
    assert_eq!(begun.elapsed(), Duration::from_millis(4_900));
    assert!(bed.runner.must_drain());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_shows_nothing_of_the_run_before() {
    let mut bed = CollectionBed::new([answers(), ScriptedRun::Silent]);
    assert_eq!(bed.collect(5).await.1, 2);
    tokio::time::advance(SECOND * 60).await;
    let (_, samples, trouble) = bed.collect(5).await;
    assert_eq!((samples, trouble), (0, Some(TargetErrorKind::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_is_the_trouble_of_the_target() {
    let mut bed = CollectionBed::new([ScriptedRun::Ends(SECOND)]);
    let (_, samples, trouble) = bed.collect(5).await;
    assert_eq!(samples, 0);
    assert!(trouble.is_some());
    assert!(bed.session.trouble().is_some());
}

#[tokio::test(start_paused = true)]
async fn rows_of_the_wrong_shape_cost_their_query_alone() {
    let mut bed = CollectionBed::new([ScriptedRun::Rows(SECOND, vec![vec!["1", "2"]])]);
    assert_eq!(bed.collect(5).await, (ran(2), 0, None));
    assert!(bed.failures().iter().all(|(_, why, _)| *why == "error"));
}

#[tokio::test(start_paused = true)]
async fn rows_with_the_same_labels_give_one_sample() {
    let mut bed = CollectionBed::new([ScriptedRun::Rows(SECOND, vec![vec!["1"], vec!["2"]])]);
    assert_eq!(bed.collect(5).await, (ran(2), 2, None));
    let duplicates: u64 = bed.counters.duplicates().values().sum();
    assert_eq!(duplicates, 2);
}

#[tokio::test(start_paused = true)]
async fn a_target_has_no_more_samples_than_it_may() {
    let mut bed = CollectionBed::new(std::iter::repeat_n(answers(), 3));
    let mut target = plain_target();
    target.collectors.exclude.push(SETTINGS.to_owned());
    target.metrics = bed.runner.target.metrics.clone();
    target.sample_limit = Some(1);
    bed.runner.apply_change(&Arc::new(target));
    let (_, samples, trouble) = bed.collect(5).await;
    assert!(samples <= 1, "{samples}");
    assert_eq!(trouble, None);
    assert!(!bed.counters.left_out().is_empty());
}

#[tokio::test(start_paused = true)]
async fn labels_that_were_changed_are_on_what_comes_then_and_nothing_old_is_shown() {
    let mut bed = CollectionBed::new([answers(), ScriptedRun::Silent]);
    assert_eq!(bed.collect(5).await.1, 2);
    let mut target = plain_target();
    target.collectors.exclude.push(SETTINGS.to_owned());
    target.metrics = bed.runner.target.metrics.clone();
    target.labels.push(("team".to_owned(), "shop".to_owned()));
    bed.runner.apply_change(&Arc::new(target));
    let (calls, samples, _) = bed.collect(5).await;
    assert_eq!((calls, samples), (ran(2), 0));
}
