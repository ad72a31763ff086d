//! From the driver to the session: nothing is lost, and nothing is taken that must not come.

use super::super::connection::Connection;
use super::server::{error, message};
use super::*;
use crate::model::TargetErrorKind;

fn notice() -> Vec<u8> {
    message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")
}

/// The next message, which is to come soon.
async fn next(connection: &mut Connection) -> Vec<u8> {
    let soon = Duration::from_secs(60);
    let message = tokio::time::timeout(soon, connection.next()).await;
    message.unwrap().unwrap().whole.to_vec()
}

#[tokio::test(start_paused = true)]
async fn what_may_come_at_any_time_is_kept_for_the_session() {
    let setting = message(b'S', b"application_name\0other\0");
    for early in [
        Vec::new(),
        notice(),
        [setting, notice()].concat(),
        error("FATAL", "57P01"),
    ] {
        let connector = connector();
        let (login, _server) = log_in(&connector, &early).await;
        let mut connection = login.unwrap().connection;
        let mut rest = &*early;
        while !rest.is_empty() {
            let message = next(&mut connection).await;
            let (expected, after) = rest.split_at(message.len());
            assert_eq!(message, expected);
            rest = after;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_torn_at_the_end_of_the_login_is_read_on() {
    let notice = notice();
    for at in 0..=notice.len() {
        let connector = connector();
        let (begin, end) = notice.split_at(at);
        let (login, mut server) = log_in(&connector, begin).await;
        let mut connection = login.unwrap().connection;
        server.write(end).await;
        assert_eq!(next(&mut connection).await, notice, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nothing_is_refused_with_its_reason() {
    let ready = message(b'Z', b"I");
    for early in [
        ready.clone(),
        message(b'C', b"SET\0"),
        [notice(), ready].concat(),
        vec![b'D'],
    ] {
        let connector = connector();
        let (login, _server) = log_in(&connector, &early).await;
        let trouble = login.unwrap_err();
        assert_eq!(trouble.kind, TargetErrorKind::UnrequestedData, "{early:?}");
        assert!(trouble.message.contains("nowhere.invalid"), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn why_a_server_ends_the_session_at_once_is_known_to_its_first_query() {
    let connector = connector();
    let (login, _server) = log_in(&connector, &error("FATAL", "57P01")).await;
    let mut pipeline = Pipeline::new(&connector, 7, Mode::Kept, login.unwrap());
    let soon = Duration::from_secs(60);
    let answered = tokio::time::timeout(soon, pipeline.execute("SELECT 1")).await;
    answered.unwrap().unwrap_err();
    let trouble = pipeline.connection.trouble().unwrap();
    assert_eq!(trouble.kind, TargetErrorKind::NotReady);
    assert_eq!(trouble.message, "57P01");
}
