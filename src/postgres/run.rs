//! Running: all queries of a collection in one go, with what is asked beside them.

use std::sync::{Arc, Mutex, PoisonError};

use super::batch::{BatchClass, BatchOrder, BatchRules};
use super::error::QueryError;
use super::job::{JobState, PipelineJob};
use super::pipeline::Pipeline;
use super::query::{QueryOutcome, ScheduledQuery};
use super::query_run::{QueryContext, QueryRun};
use super::row::RowEvent;
use super::server_info::{InfoQuery, ServerInfo, ServerInfoReader};
use super::session_info::SessionInfo;
use super::session_query::SessionQuery;
use super::settings::SettingsSamples;

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
    /// Everything answered. If not, the session must be [settled](super::Session::settled).
    pub complete: bool,
    /// `None`: not asked, or no answer in time.
    pub facts: Option<Result<ServerInfo, QueryError>>,
    /// `None`: not asked, or no answer in time.
    pub settings: Option<Result<SettingsSamples, QueryError>>,
    /// As in [`ServerIdentity::started`](super::ServerIdentity). `None`: not asked, or no answer.
    pub started: Option<i64>,
}

/// Sends all of `slots` at once, as [`Session::run`](super::Session::run) does.
pub(super) async fn run(
    session: &mut Pipeline,
    info: &mut SessionInfo,
    slots: &mut [&mut ScheduledQuery],
    ask: PipelineRequest,
    context: QueryContext<'_>,
    known: &mut (dyn FnMut(&ServerInfo) + Send),
    late: impl Future<Output = ()>,
) -> PipelineResponse {
    let queries = Arc::clone(&info.queries);
    let ahead = info.ahead.take();
    let ask_server_info = ahead.as_ref().map(|sent| sent.databases).or(ask.facts);
    let ask_extensions = match &ahead {
        Some(sent) => sent.extensions,
        None => session.connector.quirks.lists_extensions(),
    };
    let mut settings = SettingsSamples::default();
    let (mut facts, mut set, mut started) = (None, None, None);
    let reader = Mutex::new((
        ServerInfoReader::new(ask_extensions, ask_server_info == Some(true)),
        &mut facts,
        known,
    ));
    let on_event = |about: InfoQuery| {
        let (reader, before) = (&reader, info.facts.as_ref());
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
            started = Some(fields.integer(0));
        }
    };
    let due = [
        ask_server_info.is_some(),
        ask_server_info.is_some() && ask_extensions,
        ask_server_info == Some(true),
        ask.settings,
        ask.started,
    ];
    let mut own = [
        SessionQuery::new(&queries.probe, &mut on_server),
        SessionQuery::new(&queries.extensions, &mut on_extensions),
        SessionQuery::new(&queries.databases, &mut on_databases),
        SessionQuery::new(&queries.settings, &mut on_settings),
        SessionQuery::new(&queries.started, &mut on_started),
    ];

    let mut jobs: Vec<&mut dyn PipelineJob> = Vec::with_capacity(slots.len() + own.len());
    for (query, _) in own.iter_mut().zip(due).filter(|(_, due)| *due) {
        jobs.push(query);
    }
    let owns = jobs.len();
    let first = BatchClass {
        order: BatchOrder::ServerInfo,
        ..BatchClass::default()
    };
    let mut batch_classes = vec![first; owns];
    batch_classes.extend(slots.iter().map(|slot| BatchClass::new(slot, session.mode)));
    let state = |raw: bool| JobState {
        raw,
        ..JobState::default()
    };
    let mut states = vec![state(info.raw); owns];
    states.extend(slots.iter().map(|slot| state(slot.raw)));
    let mut runs: Vec<QueryRun<'_>> = slots
        .iter_mut()
        .map(|slot| QueryRun::begin(slot, context))
        .collect();
    jobs.extend(runs.iter_mut().map(|run| run as &mut dyn PipelineJob));
    let complete = tokio::select! {
        biased;
        // A session that broke has told each of them.
        _ = session.run(ahead, &mut jobs, &mut states, &batch_classes) => true,
        () = late => false,
    };
    drop(jobs);
    let forgotten = own.iter().any(SessionQuery::is_forgotten);
    let (reader, ..) = reader.into_inner().unwrap_or_else(PoisonError::into_inner);
    let listed = reader.listed();
    info.raw |= states[..owns].iter().any(|state| state.raw);
    if forgotten {
        // All are prepared before the next collection.
        info.queries = Arc::default();
    }
    let count = runs.len();
    let answers = ask_server_info.is_none() || facts.is_some();
    mark_at_work(
        &session.rules(),
        runs.into_iter().map(QueryRun::over).collect(),
        &states[owns..],
        &batch_classes[owns..],
        complete,
        answers,
    );
    // Under one Sync the answers come together at its end: until it is known that none is slow,
    // each has its own, so that the deadline takes nothing from those that are done.
    session.careful = !complete || (session.careful && count == 0);
    if let Some(listed) = &listed {
        session.connector.record_extensions(listed);
    }
    if let Some(Ok(facts)) = &mut facts {
        info.update(facts);
    }
    PipelineResponse {
        complete,
        facts,
        settings: set.map(|result| result.map(|()| settings.sorted())),
        started,
    }
}

/// Tells the query that the server was at when the session ended, or when the deadline came, where
/// that is known. A server that did not say a word, as `answers` tells, does not work on one query
/// in particular.
fn mark_at_work(
    rules: &BatchRules<'_>,
    mut slots: Vec<&mut ScheduledQuery>,
    states: &[JobState],
    batch_classes: &[BatchClass],
    complete: bool,
    answers: bool,
) {
    // The one that the server was at when it said that it ends the session.
    if let Some(at) = states.iter().position(|state| state.ended_session) {
        slots[at].broke_session();
        return;
    }
    let unanswered = (0..slots.len()).filter(|at| {
        matches!(
            slots[*at].outcome,
            QueryOutcome::Running | QueryOutcome::Failed(QueryError::Lost(..))
        )
    });
    let at_work = rules.find_at_work(unanswered, states, batch_classes);
    match at_work.filter(|_| answers) {
        Some(at) if complete => slots[at].broke_session(),
        Some(at) => slots[at].cut_off_at_work(),
        None => {}
    }
}
