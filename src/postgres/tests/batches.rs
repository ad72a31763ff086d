//! Many statements in one go, each with its own answer, whatever the others do.

use super::super::run::{PipelineRequest, PipelineResponse};
use super::server::{error, message, row};
use super::*;
use crate::model::TargetErrorKind;

/// Runs all of them, and waits for as long as it takes.
async fn run(session: &mut Session, slots: &mut [ScheduledQuery]) -> PipelineResponse {
    let (catalog, budget) = (Catalog::default(), SampleBudget::unlimited());
    run_within(session, slots, context(&catalog, &budget)).await
}

async fn run_within(
    session: &mut Session,
    slots: &mut [ScheduledQuery],
    context: QueryContext<'_>,
) -> PipelineResponse {
    let mut all: Vec<&mut ScheduledQuery> = slots.iter_mut().collect();
    let ask = PipelineRequest::default();
    session
        .run(&mut all, ask, context, &mut |_| {}, std::future::pending())
        .await
}

/// Prepares all of them, and trusts the session: they go together.
async fn prepare(session: &mut Session, slots: &mut [ScheduledQuery]) {
    let far = tokio::time::Instant::now() + Duration::from_secs(60);
    session.prepare(slots, far).await.unwrap();
    session.trust();
}

fn names(count: usize) -> Vec<ScheduledQuery> {
    (0..count).map(|at| query(&format!("q{at}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn all_go_under_one_sync_and_each_gives_its_samples() {
    let (mut session, script) = session(Mode::Kept, |_| ScriptedAnswer::one()).await;
    let mut slots = names(4);
    prepare(&mut session, &mut slots).await;
    script.take_log();
    assert!(run(&mut session, &mut slots).await.complete);
    assert_eq!(outcomes(&slots), ["1"; 4]);
    assert_eq!(script.take_log(), ["q0", "q1", "q2", "q3", "|"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_at_each_place_of_a_batch_is_the_error_of_its_query_alone() {
    const COUNT: usize = 5;
    for wrong in 0..COUNT {
        for begun in [false, true] {
            let bad = format!("q{wrong}");
            let (mut session, script) = session(Mode::Kept, move |sql| match (sql == bad, begun) {
                (true, false) => ScriptedAnswer::Error("22012"),
                (true, true) => ScriptedAnswer::Broken(vec![vec!["x", "1"]], "22012"),
                _ => ScriptedAnswer::one(),
            })
            .await;
            let mut slots = names(COUNT);
            prepare(&mut session, &mut slots).await;
            script.take_log();
            assert!(run(&mut session, &mut slots).await.complete);
            let mut expected = ["1"; COUNT];
            expected[wrong] = "22012";
            assert_eq!(outcomes(&slots), expected);
            // What was skipped is sent once more, and nothing else is.
            let mut sent: Vec<String> = (0..=wrong).map(|at| format!("q{at}")).collect();
            sent.push("|".to_owned());
            if wrong + 1 < COUNT {
                sent.extend((wrong + 1..COUNT).map(|at| format!("q{at}")));
                sent.push("|".to_owned());
            }
            assert_eq!(script.take_log(), sent);
            assert!(session.trouble().is_none());
            // From now on it has a Sync of its own, behind the others.
            run(&mut session, &mut slots).await;
            let log = script.take_log();
            assert_eq!(&log[log.len() - 2..], [format!("q{wrong}"), "|".to_owned()]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_all_statements_are_told_one_by_one() {
    let (mut session, script) = session(Mode::Kept, |_| ScriptedAnswer::Error("22012")).await;
    let mut slots = names(4);
    prepare(&mut session, &mut slots).await;
    assert!(run(&mut session, &mut slots).await.complete);
    assert_eq!(outcomes(&slots), ["22012"; 4]);
    let runs = script.take_log().iter().filter(|one| *one != "|").count();
    assert_eq!(runs, 4);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_trusted_gives_each_a_sync_of_its_own() {
    let (mut session, script) = session(Mode::Kept, |sql| match sql {
        "q1" => ScriptedAnswer::Error("42501"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(3);
    let far = tokio::time::Instant::now() + Duration::from_secs(60);
    session.prepare(&mut slots, far).await.unwrap();
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "42501", "1"]);
    assert!(slots[1].is_denied());
    assert_eq!(script.take_log(), ["q0", "|", "q1", "|", "q2", "|"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_statement_is_prepared_anew_and_run_in_the_same_scrape() {
    // A result that has changed: the others are held as before.
    let mut times = 0;
    let (mut session, script) = session(Mode::Kept, move |sql| match sql {
        "q1" if times == 0 => {
            times += 1;
            ScriptedAnswer::Error("0A000")
        }
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(3);
    prepare(&mut session, &mut slots).await;
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1"; 3]);
    // The second Sync ends what prepares it.
    let log = script.take_log();
    assert_eq!(log, ["q0", "q1", "|", "|", "q1", "q2", "|"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_forgot_its_statements_prepares_all_of_them_at_once() {
    let (mut session, script) = session(Mode::Kept, |_| ScriptedAnswer::one()).await;
    let mut slots = names(5);
    prepare(&mut session, &mut slots).await;
    script.forget_statements();
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1"; 5]);
    let log = script.take_log();
    assert_eq!(log, ["|", "|", "q0", "q1", "q2", "q3", "q4", "|"]);
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_stays_stale_is_sent_without_a_name_and_then_it_is_its_error() {
    let (mut session, script) = session(Mode::Kept, |sql| match sql {
        "q0" => ScriptedAnswer::Error("0A000"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(2);
    prepare(&mut session, &mut slots).await;
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["0A000", "1"]);
    let runs = script.take_log().into_iter().filter(|one| one == "q0");
    assert_eq!(runs.count(), 3, "as it was, prepared anew, without a name");
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_fails_behind_its_first_rows_is_not_stale() {
    let (mut session, script) = session(Mode::Kept, |sql| match sql {
        "q0" => ScriptedAnswer::Broken(vec![vec!["x", "1"]], "0A000"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(2);
    prepare(&mut session, &mut slots).await;
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["0A000", "1"]);
    assert_eq!(script.take_log(), ["q0", "|", "q1", "|"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_run_again_ends_with_the_session() {
    // A second try, and a statement to be prepared anew.
    for state in ["40001", "0A000"] {
        let (mut session, _script) = session(Mode::Kept, move |sql| match sql {
            "q0" => ScriptedAnswer::Error(state),
            "q1" => ScriptedAnswer::Fatal("57P01"),
            _ => ScriptedAnswer::one(),
        })
        .await;
        let mut slots = names(3);
        let far = tokio::time::Instant::now() + Duration::from_secs(60);
        session.prepare(&mut slots, far).await.unwrap();
        assert!(run(&mut session, &mut slots).await.complete);
        assert_eq!(outcomes(&slots), ["57P01"; 3]);
        assert!(slots.iter().all(ScheduledQuery::is_lost));
        let failing: Vec<bool> = slots.iter().map(|slot| slot.failing).collect();
        assert_eq!(failing, [false, true, false]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_three_times_more_and_the_others_once() {
    for (failures, expected, runs) in [(1, "1", 2), (3, "1", 4), (4, "40001", 4)] {
        let mut left = failures;
        let (mut session, script) = session(Mode::Kept, move |sql| {
            if sql == "q0" && left > 0 {
                left -= 1;
                return ScriptedAnswer::Broken(vec![vec!["old", "1"]], "40001");
            }
            ScriptedAnswer::one()
        })
        .await;
        let mut slots = names(3);
        prepare(&mut session, &mut slots).await;
        script.take_log();
        run(&mut session, &mut slots).await;
        assert_eq!(outcomes(&slots), [expected, "1", "1"], "{failures}");
        let log = script.take_log();
        let count = |name: &str| log.iter().filter(|one| *one == name).count();
        assert_eq!(count("q0"), runs, "{failures}");
    }
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_in_utf8_is_asked_for_as_it_is() {
    let mut times = 0;
    let (mut session, script) = session(Mode::Kept, move |sql| match sql {
        "q0" if times == 0 => {
            times += 1;
            ScriptedAnswer::Error("22021")
        }
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(2);
    prepare(&mut session, &mut slots).await;
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "1"]);
    let log = script.take_log();
    let at = log
        .iter()
        .position(|one| one.contains("SQL_ASCII"))
        .unwrap();
    let q0 = log.iter().rposition(|one| one == "q0").unwrap();
    let back = log.iter().rposition(|one| one.contains("'UTF8'")).unwrap();
    assert!(at < q0 && q0 < back, "{log:?}");
    // The next time it is asked so from the beginning.
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_users_query_runs_in_a_transaction_and_its_error_leaves_the_others_alone() {
    let (mut session, script) = session(Mode::Kept, |sql| match sql {
        "bad" => ScriptedAnswer::Error("22012"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = vec![query_of("bad", false), query("q"), query_of("good", false)];
    prepare(&mut session, &mut slots).await;
    script.take_log();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["22012", "1", "1"]);
    let log = script.take_log();
    let short: Vec<&str> = log
        .iter()
        .map(|one| one.split(' ').next().unwrap())
        .collect();
    let around = |name| ["BEGIN", name, "|", "ROLLBACK;"];
    assert_eq!(
        short,
        [&["q", "|"][..], &around("bad"), &around("good")].concat()
    );
}

#[tokio::test(start_paused = true)]
async fn behind_a_pooler_each_is_one_message_and_a_failed_one_leaves_the_others_alone() {
    let (mut session, script) = session(Mode::Pooled, |sql| match sql {
        sql if sql.ends_with("q1") => ScriptedAnswer::Error("22012"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(3);
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "22012", "1"]);
    let log = script.take_log();
    assert_eq!(log.len(), 3);
    assert!(
        log.iter().all(|one| one.starts_with("SET LOCAL ")),
        "{log:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_for_one_collection_sends_its_settings_with_the_first_query() {
    let (mut session, script) = session(Mode::Once, |_| ScriptedAnswer::one()).await;
    let greeting = session.pipeline.settings.required();
    session.pipeline.greeting.push((greeting.clone(), true));
    let mut slots = names(2);
    session.trust();
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "1"]);
    assert_eq!(script.take_log(), [&*greeting, "q0", "q1", "|"]);
    run(&mut session, &mut slots).await;
    assert_eq!(script.take_log(), ["q0", "q1", "|"], "once");
}

#[tokio::test(start_paused = true)]
async fn what_ends_the_session_ends_all_and_is_known_to_be_the_one_at_work() {
    for at in 0..4 {
        let bad = format!("q{at}");
        let (mut session, _script) = session(Mode::Kept, move |sql| match sql == bad {
            true => ScriptedAnswer::Fatal("57P01"),
            false => ScriptedAnswer::one(),
        })
        .await;
        let mut slots = names(4);
        prepare(&mut session, &mut slots).await;
        assert!(run(&mut session, &mut slots).await.complete);
        let expected: Vec<&str> = (0..4)
            .map(|slot| if slot < at { "1" } else { "57P01" })
            .collect();
        assert_eq!(outcomes(&slots), expected, "{at}");
        assert_eq!(session.trouble().unwrap().kind, TargetErrorKind::NotReady);
        let failing: Vec<bool> = slots.iter().map(|slot| slot.failing).collect();
        let expected: Vec<bool> = (0..4).map(|slot| slot == at).collect();
        assert_eq!(failing, expected, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_torn_anywhere_ends_the_session_and_gives_no_half_result() {
    let answer = [
        message(b'2', b""),
        row(&["x", "1"]),
        message(b'C', b"SELECT\0"),
        message(b'Z', b"I"),
    ]
    .concat();
    for end in 0..answer.len() {
        let (pipeline, mut server) = pipeline(Mode::Once).await;
        let mut session = session_of(pipeline);
        let mut slots = names(1);
        let part = answer[..end].to_vec();
        let play = async move {
            while server.read().await.unwrap().0 != b'S' {}
            server.write(&part).await;
        };
        tokio::join!(run(&mut session, &mut slots), play);
        let trouble = session.trouble().unwrap();
        assert_eq!(trouble.kind, TargetErrorKind::ConnectionLost, "{end}");
        // With its completion the query had all that it gives.
        let whole = end >= answer.len() - message(b'Z', b"I").len();
        assert_eq!(slots[0].samples().is_some(), whole, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_byte_by_byte_is_the_same() {
    let (mut session, _script) = session(Mode::Once, |_| {
        ScriptedAnswer::Rows(vec![vec!["x", "1"], vec!["y", "2"]])
    })
    .await;
    let mut slots = names(3);
    assert!(run(&mut session, &mut slots).await.complete);
    assert_eq!(outcomes(&slots), ["2"; 3]);
    let (pipeline, mut server) = pipeline(Mode::Once).await;
    session.pipeline = pipeline;
    let rows = [row(&["x", "1"]), row(&["y", "2"])].concat();
    let answer = [message(b'1', b""), message(b'2', b""), rows];
    let answer = [
        answer.concat(),
        message(b'C', b"SELECT\0"),
        message(b'Z', b"I"),
    ]
    .concat();
    let play = async move {
        while server.read().await.unwrap().0 != b'S' {}
        for byte in answer {
            server.write(&[byte]).await;
            tokio::task::yield_now().await;
        }
        server
    };
    let (answered, _server) = tokio::join!(run(&mut session, &mut slots[..1]), play);
    assert!(answered.complete && session.trouble().is_none());
    assert_eq!(outcomes(&slots[..1]), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn notices_and_changed_settings_between_answers_change_nothing() {
    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
    let setting = message(b'S', b"application_name\0other\0");
    let told = message(b'A', b"\0\0\0\x07channel\0text\0");
    let mut bytes = Vec::new();
    for part in [
        row(&["x", "1"]),
        row(&["y", "2"]),
        message(b'C', b"SELECT\0"),
    ] {
        bytes.extend([&notice[..], &setting, &told, &part, &notice].concat());
    }
    let (mut session, _script) =
        session(Mode::Kept, move |_| ScriptedAnswer::Bytes(bytes.clone())).await;
    let mut slots = names(3);
    prepare(&mut session, &mut slots).await;
    assert!(run(&mut session, &mut slots).await.complete);
    assert_eq!(outcomes(&slots), ["2"; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_ends_the_session() {
    for (bytes, kind) in [
        // The server is ready, and has not answered.
        (message(b'Z', b"I"), TargetErrorKind::ConnectionLost),
        // More fields than the row has bytes for.
        (message(b'D', &[0, 9]), TargetErrorKind::ConnectionLost),
        // CopyInResponse.
        (message(b'G', &[0, 0, 0]), TargetErrorKind::ServerError),
        // Shorter than its own length.
        (vec![b'D', 0, 0, 0, 3], TargetErrorKind::ConnectionLost),
        // More than any message may have.
        (vec![b'D', 0x7f, 0, 0, 0], TargetErrorKind::MessageTooLarge),
    ] {
        let (mut session, _script) =
            session(Mode::Once, move |_| ScriptedAnswer::Bytes(bytes.clone())).await;
        let mut slots = names(2);
        run(&mut session, &mut slots).await;
        assert_eq!(session.trouble().unwrap().kind, kind);
        assert!(slots.iter().all(ScheduledQuery::is_lost));
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_too_long_costs_its_own_query_alone() {
    let long = "x".repeat(70 * 1024);
    let row = [row(&[&long, "1"]), message(b'C', b"SELECT\0")].concat();
    let (mut session, _script) = session(Mode::Kept, move |sql| match sql {
        "q1" => ScriptedAnswer::Bytes(row.clone()),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let mut slots = names(3);
    prepare(&mut session, &mut slots).await;
    run(&mut session, &mut slots).await;
    let outcomes = outcomes(&slots);
    assert_eq!((&*outcomes[0], &*outcomes[2]), ("1", "1"));
    assert!(outcomes[1].contains("message_limit"), "{outcomes:?}");
    assert!(slots[1].is_left_out());
}

#[tokio::test(start_paused = true)]
async fn a_query_with_other_columns_or_too_many_samples_is_left_out_alone() {
    let (mut session, _script) = session(Mode::Kept, |sql| match sql {
        "q0" => ScriptedAnswer::Rows(vec![vec!["x", "1", "more"], vec!["y", "2", "more"]]),
        "q1" => ScriptedAnswer::Rows(vec![vec!["x", "1"]; 10]),
        _ => ScriptedAnswer::one(),
    })
    .await;
    let memory = crate::targets::SampleMemory::default().join();
    let budget = SampleBudget::new(Some(5), ByteLimits::default(), &memory);
    let catalog = Catalog::default();
    let mut slots = names(4);
    prepare(&mut session, &mut slots).await;
    run_within(&mut session, &mut slots, context(&catalog, &budget)).await;
    let outcomes = outcomes(&slots);
    assert!(outcomes[0].contains("3 columns"), "{outcomes:?}");
    assert!(outcomes[1].contains("sampleLimit"), "{outcomes:?}");
    assert_eq!(outcomes[2..], ["1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_setting_ends_the_session_before_its_query_is_counted() {
    let (mut refusing, _script) = session(Mode::Once, |sql| match sql {
        "SELECT x" => ScriptedAnswer::Error("42704"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    for (required, lost) in [(false, false), (true, true)] {
        let greeting = ("SELECT x".to_owned(), required);
        refusing.pipeline.greeting.push(greeting);
        let mut slots = names(1);
        run(&mut refusing, &mut slots).await;
        assert_eq!(slots[0].is_lost(), lost, "{required}");
    }
    let trouble = refusing.trouble().unwrap();
    assert!(trouble.message.contains("refused a setting"), "{trouble:?}");
}

#[tokio::test(start_paused = true)]
async fn statements_that_cannot_be_prepared_are_run_without_a_name_and_tell_why_themselves() {
    let (mut session, script) = session(Mode::Kept, |sql| match sql {
        "q1" => ScriptedAnswer::Error("42P01"),
        _ => ScriptedAnswer::one(),
    })
    .await;
    script.refuse_to_prepare("q1", "42P01");
    let mut slots = names(3);
    prepare(&mut session, &mut slots).await;
    assert!(slots[1].failing && !slots[0].failing && !slots[2].failing);
    run(&mut session, &mut slots).await;
    assert_eq!(outcomes(&slots), ["1", "42P01", "1"]);
}

#[test]
fn an_error_says_its_state() {
    let said = super::super::error::ServerError::read(&error("ERROR", "26000"));
    assert!(said.may_be_stale() && said.has_lost_statement() && !said.fatal);
}

#[tokio::test(start_paused = true)]
async fn a_pooler_that_refuses_transactions_gets_users_queries_as_one_message_from_then_on() {
    let (mut session, _script) = session(Mode::Pooled, |sql| match sql.starts_with("BEGIN") {
        true => ScriptedAnswer::Fatal("08P01"),
        false => ScriptedAnswer::one(),
    })
    .await;
    // It ends the session at the beginning of a transaction that spans messages.
    let (pipeline, mut server) = pipeline(Mode::Pooled).await;
    let connector = Arc::clone(&pipeline.connector);
    let mut first = session_of(pipeline);
    let mut slots = vec![
        query_of("SELECT 1", false),
        query_of("SELECT 1; COMMIT", false),
    ];
    let play = async move {
        while server.read().await.unwrap().0 != b'Q' {}
        server.write(&error("FATAL", "08P01")).await;
        server
    };
    let (_, _server) = tokio::join!(run(&mut first, &mut slots), play);
    assert_eq!(first.trouble().unwrap().kind, TargetErrorKind::NotReady);
    assert!(connector.quirks.refuses_transactions());
    session.pipeline.connector = connector;
    run(&mut session, &mut slots).await;
    let outcomes = outcomes(&slots);
    assert_eq!(outcomes[0], "1");
    assert!(outcomes[1].contains("semicolon"), "{outcomes:?}");
}
