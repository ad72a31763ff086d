//! What a session asks its server beside the queries of the catalogue.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use super::super::identity::{CONTROL, ServerIdentity};
use super::super::run::PipelineRequest;
use super::super::server_info::{DATABASES, EXTENSIONS, PROBE, RIGHTS, ServerInfo};
use super::super::settings;
use super::server::{error, message};
use super::*;
use crate::model::{Role, ServerVersion, TargetErrorKind};
use crate::targets::DatabaseProblem;

/// What a server says of itself that is scripted by [`plain`].
pub(crate) fn facts() -> ServerInfo {
    ServerInfo {
        version: ServerVersion(170_002),
        role: Role::Primary,
        uptime: 12.5,
        configured: 1_700_000_000.0,
        pid: 4711,
        identity: ServerIdentity {
            started: 1_700_000_000_000_001,
            system: Some(99),
            timeline: Some(3),
            place: "10.0.0.1:5432".parse().ok(),
        },
        extensions: vec![("x".to_owned(), "1.4".to_owned(), String::new())],
        databases: Some(Vec::new()),
    }
}

/// A server to which nothing is wrong.
fn plain(sql: &str) -> ScriptedAnswer {
    let sql = sql.rsplit("; ").next().unwrap();
    match sql {
        PROBE => ScriptedAnswer::Rows(vec![vec![
            "f",
            "170002",
            "12.5",
            "4711",
            "1700000000",
            "1700000000000001",
        ]]),
        EXTENSIONS => ScriptedAnswer::Rows(vec![vec!["x", "1.4", ""]]),
        DATABASES => ScriptedAnswer::Rows(vec![vec!["b", ""], vec!["c", "a"]]),
        CONTROL => ScriptedAnswer::Rows(vec![vec!["99", "3", "10.0.0.1", "5432"]]),
        RIGHTS => ScriptedAnswer::Rows(vec![vec!["SUPERUSER"], vec!["pg_maintain"]]),
        settings::SQL => ScriptedAnswer::Rows(vec![vec!["jit", "bool", "on", "Help."]]),
        _ => ScriptedAnswer::one(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn a_server_is_known_in_each_mode() {
    for mode in [Mode::Kept, Mode::Once, Mode::Pooled] {
        let (mut session, _script) = session(mode, plain).await;
        let found = session.ask_server_info(false, soon()).await.unwrap();
        assert_eq!(*found, facts(), "{mode:?}");
        let found = session.ask_server_info(true, soon()).await.unwrap();
        let databases = found.databases.as_ref().unwrap();
        let all: Vec<_> = databases
            .iter()
            .map(|one| (&*one.name, &one.closed))
            .collect();
        assert_eq!(
            all,
            [("b", &None), ("c", &Some(DatabaseProblem::NotAccepting))]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_question_may_fail_and_costs_what_it_asks_for() {
    // The statement, its error, and whether version, system identifier, extensions and databases
    // are known then.
    for (statement, state, known) in [
        (CONTROL, "42501", [true, false, true, true]),
        (EXTENSIONS, "55P03", [true, true, false, true]),
        (DATABASES, "55P03", [true, true, true, false]),
        (PROBE, "42883", [false; 4]),
    ] {
        for mode in [Mode::Kept, Mode::Pooled] {
            let (mut session, _script) = session(mode, move |sql| match sql.ends_with(statement) {
                true => ScriptedAnswer::Error(state),
                false => plain(sql),
            })
            .await;
            let found = session.ask_server_info(true, soon()).await;
            let found = found.ok().map(|found| {
                [
                    true,
                    found.identity.system.is_some(),
                    !found.extensions.is_empty(),
                    found.databases.is_some(),
                ]
            });
            assert_eq!(found.unwrap_or_default(), known, "{statement}");
            assert!(session.trouble().is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn extensions_that_cannot_be_listed_stay_as_they_were_and_are_not_asked_for_at_once() {
    let mut times = 0;
    let (mut session, script) = session(Mode::Kept, move |sql| {
        if sql == EXTENSIONS {
            times += 1;
            if times == 2 {
                return ScriptedAnswer::Error("55P03");
            }
        }
        plain(sql)
    })
    .await;
    let asked = || {
        let log = script.take_log();
        log.iter().filter(|one| *one == EXTENSIONS).count()
    };
    for expected in [1, 1, 0, 0] {
        let found = session.ask_server_info(false, soon()).await.unwrap();
        assert_eq!(found.extensions, facts().extensions);
        assert_eq!(asked(), expected);
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    session.ask_server_info(false, soon()).await.unwrap();
    assert_eq!(asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_server_and_one_that_does_not_answer_are_told() {
    let old = |sql: &str| match sql == PROBE {
        true => ScriptedAnswer::Rows(vec![vec!["f", "120022", "1", "1", "1", "1"]]),
        false => plain(sql),
    };
    let silent = |sql: &str| match sql == PROBE {
        true => ScriptedAnswer::Silence,
        false => plain(sql),
    };
    let (mut session, _script) = session(Mode::Kept, old).await;
    let trouble = session.ask_server_info(false, soon()).await.unwrap_err();
    assert_eq!(trouble.kind, TargetErrorKind::UnsupportedVersion);
    let (mut session, _script) = self::session(Mode::Kept, silent).await;
    let begun = Instant::now();
    let trouble = session.ask_server_info(false, soon()).await.unwrap_err();
    assert_eq!(trouble.kind, TargetErrorKind::Timeout);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn another_server_behind_a_pooler_has_no_identifier_of_the_first() {
    let started = Arc::new(AtomicI64::new(0));
    let now = Arc::clone(&started);
    let (mut session, _script) = session(Mode::Pooled, move |sql| {
        match sql.ends_with(PROBE) && now.load(Ordering::Relaxed) > 0 {
            true => ScriptedAnswer::Rows(vec![vec!["t", "170002", "1", "1", "1", "5"]]),
            false => plain(sql),
        }
    })
    .await;
    let found = session.ask_server_info(false, soon()).await.unwrap();
    assert_eq!(found.identity.system, Some(99));
    started.store(5, Ordering::Relaxed);
    let found = session.ask_server_info(false, soon()).await.unwrap();
    assert_eq!(found.identity.system, None);
    assert_eq!((found.identity.started, found.role), (5, Role::Replica));
}

#[tokio::test(start_paused = true)]
async fn questions_that_were_sent_ahead_are_answered_by_the_run_that_follows() {
    let (mut session, script) = session(Mode::Kept, plain).await;
    session.ask_server_info(false, soon()).await.unwrap();
    let mut slots = vec![query("q")];
    session.prepare(&mut slots, soon()).await.unwrap();
    let (catalog, budget) = (Catalog::default(), SampleBudget::unlimited());
    let ask = PipelineRequest {
        settings: true,
        started: true,
        ..PipelineRequest::default()
    };
    for trusted in [false, true] {
        script.take_log();
        if trusted {
            session.trust();
        }
        // Nothing goes ahead of what may be slow.
        session.ask_ahead(&slots, true);
        let mut known = 0;
        let mut all: Vec<&mut ScheduledQuery> = slots.iter_mut().collect();
        let response = session
            .run(
                &mut all,
                ask,
                context(&catalog, &budget),
                &mut |facts| known += facts.pid,
                std::future::pending(),
            )
            .await;
        let asked = [PROBE, EXTENSIONS, DATABASES];
        let log = script.take_log();
        assert_eq!(
            log.starts_with(&asked.map(str::to_owned)),
            trusted,
            "{log:?}"
        );
        assert_eq!(response.facts.is_some(), trusted);
        assert_eq!(known, if trusted { 4711 } else { 0 });
        assert_eq!(response.settings.unwrap().unwrap().len(), 1);
        assert!(response.started.is_some());
        assert_eq!(outcomes(&slots), ["1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn rights_are_asked_for_once_an_hour_and_may_be_refused() {
    let (mut session, script) = session(Mode::Kept, plain).await;
    let rights = ["SUPERUSER".to_owned(), "pg_maintain".to_owned()];
    let found = session.ask_rights(soon()).await.unwrap();
    assert_eq!(found.as_deref(), Some(&rights[..]));
    assert_eq!(session.ask_rights(soon()).await.unwrap(), None);
    assert_eq!(
        script
            .take_log()
            .iter()
            .filter(|one| *one == RIGHTS)
            .count(),
        1
    );
    let (mut session, _script) =
        self::session(Mode::Kept, |_| ScriptedAnswer::Error("42501")).await;
    assert_eq!(session.ask_rights(soon()).await.unwrap(), None);
    assert!(session.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_hears_its_end_and_nothing_else_ends_it() {
    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
    for (bytes, kind) in [
        (error("FATAL", "57P01"), TargetErrorKind::NotReady),
        (message(b'Z', b"I"), TargetErrorKind::UnrequestedData),
        (message(b'C', b"SET\0"), TargetErrorKind::UnrequestedData),
    ] {
        let (pipeline, mut server) = pipeline(Mode::Kept).await;
        let mut session = session_of(pipeline);
        server.write(&notice).await;
        server.write(&error("ERROR", "22012")).await;
        assert!(session.is_alive());
        server.write(&bytes).await;
        assert!(!session.is_alive());
        assert_eq!(session.trouble().unwrap().kind, kind);
        session.ended().await;
    }
    let (pipeline, server) = pipeline(Mode::Kept).await;
    let mut connection = pipeline.connection;
    drop(server);
    super::super::simple_query::wait_for_end(&mut connection).await;
    let trouble = connection.trouble().unwrap();
    assert_eq!(trouble.kind, TargetErrorKind::ConnectionLost);
}

#[tokio::test(start_paused = true)]
async fn a_session_says_goodbye_and_waits_for_the_other_side_no_longer_than_it_may() {
    let (pipeline, mut server) = pipeline(Mode::Kept).await;
    let session = session_of(pipeline);
    let limit = Duration::from_secs(3);
    let begun = Instant::now();
    let waits = session.close(limit).await.unwrap_err();
    assert_eq!(begun.elapsed(), limit);
    assert_eq!(server.read().await.unwrap().0, b'X');
    drop(server);
    waits.await.unwrap();
}
