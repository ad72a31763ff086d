//! From a target to a session with its settings.

use std::sync::Arc;
use std::time::Duration;

use super::connector::Connector;
use super::error::QueryError;
use super::login::{PATIENCE, log_in};
use super::pipeline::Pipeline;
use super::statement::Mode;
use crate::model::TargetErrorKind;
use crate::targets::{Target, TargetError};

/// Connects, as [`Session::open`](super::Session::open) does.
///
/// # Errors
/// Why there is no session.
pub(super) async fn open(
    connector: &Arc<Connector>,
    database: &str,
    id: u64,
    mode: Mode,
) -> Result<Pipeline, TargetError> {
    // Nobody is shown the settings of a session to another database than the target's.
    let beside = database != connector.target.database;
    let mut limits = beside.then(|| limits_at_login(&connector.target, 0));
    let mut attempts = 0;
    loop {
        let (mut session, major) =
            open_plain(connector, database, id, mode, limits.as_deref()).await?;
        attempts += 1;
        match tokio::time::timeout(PATIENCE, introduce(&mut session)).await {
            Ok(Ok(())) => return Ok(session),
            // The role has a time limit that is too short for a busy server, and `exit_on_error`
            // makes it the end of the session. The first session is replaced by one of the same
            // kind; the next comes with limits of ours, at the price that `pg_settings` shows those
            // instead of the role's.
            Ok(Err(QueryError::Lost(_, TargetErrorKind::NotReady)))
                if attempts < OPEN_ATTEMPTS && session.mode == Mode::Kept =>
            {
                if attempts + 1 == OPEN_ATTEMPTS {
                    limits = Some(limits_at_login(&connector.target, major));
                }
            }
            Ok(Err(error)) => return Err(error.into_target_error()),
            Err(_) => {
                return Err(TargetError {
                    kind: TargetErrorKind::Timeout,
                    message: format!("{}: no answer after login", connector.target.address),
                });
            }
        }
    }
}

/// A session that is logged in and has no settings yet, and the major version of its server.
async fn open_plain(
    connector: &Arc<Connector>,
    database: &str,
    id: u64,
    mut mode: Mode,
    limits: Option<&str>,
) -> Result<(Pipeline, u32), TargetError> {
    if connector.quirks.refuses_options() {
        mode = Mode::Pooled;
    }
    let options = match (mode, limits) {
        (Mode::Pooled, _) => None,
        (Mode::Kept | Mode::Once, Some(limits)) => Some(format!("{MARK} {limits}")),
        (Mode::Kept | Mode::Once, None) => Some(MARK.to_owned()),
    };
    let login = match log_in(connector, database, options.as_deref()).await {
        Ok(login) => login,
        // Poolers and proxies pass no options on. In which words they say so, or whether they
        // only hang up, differs: so it is tried without, once.
        Err(failed) if options.is_some() && failed.may_be_for_options() => {
            mode = Mode::Pooled;
            let login = log_in(connector, database, None)
                .await
                .map_err(|failed| failed.trouble)?;
            connector.quirks.note_refused_options();
            login
        }
        Err(failed) => return Err(failed.trouble),
    };
    let major = login.major;
    Ok((Pipeline::new(connector, id, mode, login), major))
}

/// Gives the session its settings. By `SET`, not with the startup packet: `pg_settings` then
/// still tells what the server's own are.
async fn introduce(session: &mut Pipeline) -> Result<(), QueryError> {
    match session.mode {
        // The session of the target's own database has found out whether this is a pooler, and
        // what is refused.
        Mode::Once => {
            session.greeting.push((session.settings.required(), true));
            session.greeting.push((session.settings.optional(), false));
            return Ok(());
        }
        Mode::Kept => {
            let mark = session.settings.find_mark();
            match persist(session, &mark).await {
                // Its value is looked up before the type that it has, for which a catalogue is read
                // that somebody may have locked.
                Ok(()) | Err(QueryError::LockTimeout(_)) => {
                    let required = session.settings.required();
                    persist(session, &required).await?;
                }
                // A pooler swallowed the mark, as it may be told to: what is set here would be set
                // on whatever session it lends.
                Err(lost @ (QueryError::Lost(..) | QueryError::Timeout(_))) => return Err(lost),
                Err(_) => session.mode = Mode::Pooled,
            }
        }
        Mode::Pooled => {}
    }
    set_optional(session).await
}

/// Runs what has no limit but the role's own yet, which may be too short on a busy server.
async fn persist(session: &mut Pipeline, sql: &str) -> Result<(), QueryError> {
    let mut tries = 0;
    loop {
        match session.execute(sql).await {
            Err(QueryError::Timeout(_)) if tries < 10 => tries += 1,
            other => return other,
        }
    }
}

/// Sets what should hold, and finds out what of it the server refuses.
async fn set_optional(session: &mut Pipeline) -> Result<(), QueryError> {
    let pooled = session.mode == Mode::Pooled;
    let all = match pooled {
        true => session.settings.pooled_trial(),
        false => session.settings.optional(),
    };
    match persist(session, &all).await {
        Ok(()) => return Ok(()),
        Err(lost @ QueryError::Lost(..)) => return Err(lost),
        Err(_) => {}
    }
    for (name, text) in session.settings.each_optional(pooled) {
        match persist(session, &text).await {
            Ok(()) => {}
            Err(lost @ QueryError::Lost(..)) => return Err(lost),
            Err(error) => {
                let target = &session.connector.target;
                let error = target.redact(&error.to_string());
                tracing::info!(
                    server = %target.name,
                    "the server refuses the setting {name}, the session goes without it: {error}"
                );
                session.connector.quirks.note_refused_setting(name);
                session.settings.without(&[name]);
            }
        }
    }
    Ok(())
}

/// How often a session is opened before its end is taken for the server's refusal.
const OPEN_ATTEMPTS: u32 = 3;

/// A setting of no effect. Who does not find it again is not alone on its session.
const MARK: &str = "-c pgexporter.session=own";

/// A locked catalogue keeps a login waiting, and nothing but a lock timeout ends that: a server does
/// not look whether its client has gone meanwhile. It is set anew after the login. The role's own
/// `statement_timeout` may be too short even for that, and its `exit_on_error` make that the end of
/// the session: what comes with the login goes before what the role is given. `major` is the
/// server's version, 0 where it is not known: a server refuses a login with a setting that it has not.
fn limits_at_login(target: &Target, major: u32) -> String {
    const LONGEST: Duration = Duration::from_millis(500);
    let lock = target.timeouts.lock.min(LONGEST).as_millis().max(1);
    let query = target.timeouts.query.as_millis();
    let mut limits =
        format!("-c lock_timeout={lock} -c statement_timeout={query} -c exit_on_error=off");
    for (since, name) in [(14, "idle_session_timeout"), (17, "transaction_timeout")] {
        if major >= since {
            limits.push_str(&format!(" -c {name}=0"));
        }
    }
    limits
}
