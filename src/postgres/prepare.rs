//! The statements that a session holds prepared.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Weak;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::connection::{Connection, without_zero};
use super::error::{QueryError, ServerError, malformed};
use super::simple_query::execute;
use super::statement::{Prepared, columns};
use crate::model::TargetErrorKind;

/// So many statements are prepared under one Sync: few round trips, and no long transaction.
const PREPARED_TOGETHER: usize = 64;

/// The prepared statements of one session.
#[derive(Debug)]
pub(super) struct PreparedStatements {
    session: u64,
    /// Begins their names. Where a pooler lends one server session to several clients, another
    /// client's statement of the same name would be run instead.
    prefix: String,
    next: u64,
    /// Their names, and who still wants each.
    held: Vec<(String, Weak<()>)>,
}

impl PreparedStatements {
    /// Of the session of that number, which holds none yet.
    pub(super) fn new(session: u64) -> Self {
        let chance = RandomState::new().hash_one(session) & 0xffff_ffff;
        Self {
            session,
            prefix: format!("p{chance:08x}_"),
            next: 0,
            held: Vec::new(),
        }
    }

    /// The number of the session.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    /// Prepares all of them; `path` is set meanwhile, where there is one. The error of each is its
    /// own. Where one waits for a lock until its timeout those behind it are refused with the same
    /// error, for most would wait as long: each is sent without a name when it is run.
    ///
    /// # Errors
    /// The session broke.
    pub(super) async fn prepare_all(
        &mut self,
        connection: &mut Connection,
        statements: &mut [&mut Prepared],
        path: Option<&[String; 2]>,
    ) -> Result<Vec<Result<(), QueryError>>, QueryError> {
        // Nobody wants these any more.
        let out = connection.outbox();
        self.held.retain(|(name, wanted)| {
            let keep = wanted.strong_count() > 0;
            keep || frontend::close(b'S', name, out).is_err()
        });
        let mut results = vec![Ok(()); statements.len()];
        match self
            .prepare_in_batches(connection, statements, &mut results, path)
            .await
        {
            Ok(()) => Ok(results),
            Err(error) => {
                connection.end_with(error.clone().into_target_error());
                Err(error)
            }
        }
    }

    async fn prepare_in_batches(
        &mut self,
        connection: &mut Connection,
        statements: &mut [&mut Prepared],
        results: &mut [Result<(), QueryError>],
        path: Option<&[String; 2]>,
    ) -> Result<(), QueryError> {
        if let Some([before, _]) = path {
            set_for_prepare(connection, before).await?;
        }
        let mut done = 0;
        while done < statements.len() {
            let until = statements.len().min(done + PREPARED_TOGETHER);
            let failed = self
                .prepare_batch(connection, &mut statements[done..until])
                .await?;
            let Some((at, error)) = failed else {
                done = until;
                continue;
            };
            let at = done + at;
            let waited = matches!(error, QueryError::LockTimeout(_) | QueryError::Timeout(_));
            done = if waited { statements.len() } else { at + 1 };
            for refused in at..done {
                statements[refused].refuse(self.session);
                results[refused] = Err(error.clone());
            }
        }
        match path {
            Some([_, after]) => set_for_prepare(connection, after).await,
            None => Ok(()),
        }
    }

    /// Prepares them under one Sync. The first that fails ends it: its place, and its error. Those
    /// before it are held then, and the server has skipped those behind it.
    async fn prepare_batch(
        &mut self,
        connection: &mut Connection,
        statements: &mut [&mut Prepared],
    ) -> Result<Option<(usize, QueryError)>, QueryError> {
        connection.expect();
        let first = self.next;
        let mut failed = None;
        let mut sent = 0;
        for statement in statements.iter() {
            let name = name(&self.prefix, first + sent as u64);
            let put = without_zero(&statement.sql).and_then(|()| {
                let out: &mut BytesMut = connection.outbox();
                frontend::parse(&name, &statement.sql, [], out)?;
                frontend::describe(b'S', &name, out)
            });
            if let Err(error) = put {
                failed = Some((sent, QueryError::Server(error.to_string())));
                break;
            }
            sent += 1;
        }
        self.next += sent as u64;
        connection.sync();
        let mut at = 0;
        loop {
            let message = connection.next().await;
            let message = message.map_err(|error| QueryError::lost(&error))?;
            match message.kind {
                b'T' | b'n' if at < sent => {
                    let columns = match message.kind {
                        b'T' => columns(message.whole),
                        _ => Vec::new(),
                    };
                    let name = name(&self.prefix, first + at as u64);
                    let wanted = statements[at].hold(self.session, &name, &columns);
                    self.held.push((name, wanted));
                    at += 1;
                }
                b'E' => {
                    let error = ServerError::read(message.whole).of_query();
                    if matches!(error, QueryError::Lost(..)) {
                        return Err(error);
                    }
                    failed = Some((at, error));
                    // The server skips what is left of it.
                    sent = at;
                }
                b'Z' if at < sent => return Err(malformed()),
                b'Z' => return Ok(failed),
                _ => {
                    let length = message.cut.unwrap_or(message.whole.len());
                    let wasted = connection.waste(length);
                    wasted.map_err(|error| QueryError::lost(&error))?;
                }
            }
        }
    }
}

async fn set_for_prepare(connection: &mut Connection, settings: &str) -> Result<(), QueryError> {
    execute(connection, settings)
        .await
        .map_err(|error| match error {
            lost @ QueryError::Lost(..) => lost,
            other => QueryError::Lost(other.to_string(), TargetErrorKind::ServerError),
        })
}

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{number}")
}
