//! A run that was given up: what is still to come is read, and the session is as it was.

use tokio::time::{Instant, sleep};

use super::super::run::PipelineRequest;
use super::super::scrape_session::LeakedBackend;
use super::server::{error, message, row};
use super::*;
use crate::model::TargetErrorKind;

const LIMIT: Duration = Duration::from_secs(300);

/// Runs all of them for a second at most; whether they ended by then.
async fn run(session: &mut Session, slots: &mut [ScheduledQuery]) -> bool {
    let (catalog, budget) = (Catalog::default(), SampleBudget::unlimited());
    let context = context(&catalog, &budget);
    let mut all: Vec<&mut ScheduledQuery> = slots.iter_mut().collect();
    let (ask, late) = (PipelineRequest::default(), sleep(Duration::from_secs(1)));
    let response = session.run(&mut all, ask, context, &mut |_| {}, late).await;
    slots.iter_mut().for_each(ScheduledQuery::cut_off);
    response.complete
}

fn silent_for(name: &'static str) -> impl FnMut(&str) -> ScriptedAnswer + Send + 'static {
    let mut silent = true;
    move |sql| match sql == name && std::mem::take(&mut silent) {
        true => ScriptedAnswer::Silence,
        false => ScriptedAnswer::one(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_query_at_work_is_told_from_those_behind_it_and_the_session_goes_on() {
    let (mut session, script) = session(Mode::Kept, silent_for("q1")).await;
    let mut slots: Vec<_> = ["q0", "q1", "q2"].map(query).into();
    assert!(!run(&mut session, &mut slots).await);
    let [first, second, third] = &outcomes(&slots)[..] else {
        panic!("three")
    };
    assert_eq!(first, "1");
    assert!(second.contains("no answer before"), "{second}");
    assert!(third.contains("did not start before"), "{third}");
    script.go_on();
    let mut session = session.settled(LIMIT).await.unwrap();
    assert!(run(&mut session, &mut slots).await);
    assert_eq!(outcomes(&slots), ["1"; 3]);
    // What held up the others waits for them.
    let log = script.take_log();
    assert_eq!(log[log.len() - 2..], ["q1", "|"]);
}

#[tokio::test(start_paused = true)]
async fn of_those_under_one_sync_nobody_is_blamed() {
    let (mut session, script) = session(Mode::Once, silent_for("q1")).await;
    session.trust();
    let mut slots: Vec<_> = ["q0", "q1", "q2"].map(query).into();
    assert!(!run(&mut session, &mut slots).await);
    assert!(slots.iter().all(|slot| !slot.slow && !slot.failing));
    script.go_on();
    let mut session = session.settled(LIMIT).await.unwrap();
    // The next run gives each a Sync of its own, and tells.
    script.take_log();
    assert!(run(&mut session, &mut slots).await);
    assert_eq!(script.take_log(), ["q0", "|", "q1", "|", "q2", "|"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_silent_is_given_up_with_its_backend_known() {
    let (mut session, _script) = session(Mode::Once, |_| ScriptedAnswer::Silence).await;
    let mut slots = vec![query("q0")];
    assert!(!run(&mut session, &mut slots).await);
    session.info.facts = Some(facts());
    let begun = Instant::now();
    let (backend, trouble) = session.settled(LIMIT).await.unwrap_err();
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(backend, Some(LeakedBackend(4711)));
    assert_eq!(trouble.kind, TargetErrorKind::Timeout);
    assert!(trouble.message.contains("given up"), "{trouble:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_it_is_drained_says_why() {
    let (pipeline, mut server) = pipeline(Mode::Once).await;
    let mut session = session_of(pipeline);
    let mut slots = vec![query("q0")];
    assert!(!run(&mut session, &mut slots).await);
    server.write(&error("FATAL", "57P01")).await;
    let (backend, trouble) = session.settled(LIMIT).await.unwrap_err();
    assert_eq!((backend, trouble.kind), (None, TargetErrorKind::NotReady));
    assert_eq!(trouble.message, "57P01");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_still_open_is_rolled_back_until_it_is_over() {
    let (mut pipeline, mut server) = pipeline(Mode::Kept).await;
    pipeline.connection.query("x").unwrap();
    let session = session_of(pipeline);
    let play = async move {
        let mut heard = Vec::new();
        // The query fails in its transaction; the first end of it is hit by the cancel.
        for (bytes, state) in [
            (error("ERROR", "57014"), b"E"),
            (error("ERROR", "57014"), b"E"),
            (message(b'C', b"ROLLBACK\0"), b"I"),
        ] {
            let (kind, text) = server.read().await.unwrap();
            assert_eq!(kind, b'Q');
            heard.push(String::from_utf8(text).unwrap());
            server.write(&[bytes, message(b'Z', state)].concat()).await;
        }
        (heard, server)
    };
    let (settled, (heard, _server)) = tokio::join!(session.settled(LIMIT), play);
    settled.unwrap();
    for text in &heard[1..] {
        assert!(
            text.starts_with("ROLLBACK; SET statement_timeout"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_query_that_was_cut_off_are_taken_back() {
    let (mut session, script) = session(Mode::Kept, silent_for("q")).await;
    let mut slots = vec![query_of("q", false)];
    assert!(!run(&mut session, &mut slots).await);
    script.go_on();
    let mut session = session.settled(LIMIT).await.unwrap();
    let log = script.take_log();
    let last = log.last().unwrap();
    assert!(last.contains("SET search_path = pg_catalog"), "{log:?}");
    assert!(run(&mut session, &mut slots).await);
    assert_eq!(outcomes(&slots), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_given_up_at_any_byte_leaves_nothing_to_the_next() {
    let done = [message(b'C', b"SELECT\0"), message(b'Z', b"I")].concat();
    let rows = [row(&["x", "1"]), row(&["y", "2"])].concat();
    let first = [message(b'1', b""), message(b'2', b""), rows, done.clone()].concat();
    let second = [
        message(b'1', b""),
        message(b'2', b""),
        row(&["z", "3"]),
        done.clone(),
    ]
    .concat();
    for at in 0..first.len() {
        let (pipeline, mut server) = pipeline(Mode::Once).await;
        let mut session = session_of(pipeline);
        let (begin, end) = first.split_at(at);
        server.write(begin).await;
        let mut slots = vec![query("q")];
        assert!(!run(&mut session, &mut slots).await, "{at}");
        server.write(end).await;
        let play = async {
            // What the run sent, and what sets the session as it was.
            while server.read().await.unwrap().0 != b'Q' {}
            server.write(&done).await;
        };
        let (settled, ()) = tokio::join!(session.settled(LIMIT), play);
        let mut session = settled.unwrap();
        server.write(&second).await;
        assert!(run(&mut session, &mut slots).await, "{at}");
        assert_eq!(outcomes(&slots), ["1"], "{at}");
    }
}
