//! Sessions with a server that a test plays, in memory: no PostgreSQL, and a clock that stands still.

mod batches;
mod draining;
mod hand_over;
mod questions;
mod server;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::questions::facts;
use self::server::{MemoryServer, Script, ScriptedAnswer};
use super::connector::{ConnectContext, Connector};
use super::login::{LoggedIn, log_in_over};
use super::pipeline::Pipeline;
use super::query::ScheduledQuery;
use super::query_run::QueryContext;
use super::sample_budget::SampleBudget;
use super::session::Session;
use super::session_info::SessionInfo;
use super::statement::Mode;
use super::transport::Transport;
use crate::catalog::{
    Catalog, Chosen, Column, ColumnKind, Metric, Query, Scope, Side, Source, Version,
};
use crate::security::RequireAuth;
use crate::security::tls::ClientTls;
use crate::targets::{
    Address, ByteLimits, CollectorChoice, DatabaseChoice, Origin, OwnershipTerm, SocketOptions,
    Target, Timeouts,
};

/// What a server in memory may hold that nobody has read yet, in bytes.
const PIPE: usize = 64 * 1024;

/// A target at an address that nobody listens at: a request to cancel leads nowhere.
pub(crate) fn plain_target() -> Target {
    Target {
        name: "s".to_owned(),
        origin: Origin::File,
        address: Address::Tcp {
            host: "nowhere.invalid".to_owned(),
            port: 5432,
        },
        allow_local: true,
        user: "monitor".to_owned(),
        user_is_secret: false,
        password: None,
        require_auth: RequireAuth::default(),
        database: "postgres".to_owned(),
        tls: ClientTls::disabled(),
        databases: DatabaseChoice {
            include: Vec::new(),
            exclude: Vec::new(),
        },
        collectors: CollectorChoice::default(),
        labels: Vec::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            query: Duration::from_secs(10),
            lock: Duration::from_secs(1),
        },
        keep_session: true,
        session_databases: 1,
        socket: SocketOptions {
            nodelay: true,
            keep_alive: true,
        },
        metrics: None,
        sample_limit: None,
        limits: ByteLimits {
            message: 64 * 1024,
            ..ByteLimits::default()
        },
        ownership_term: OwnershipTerm::unlimited(),
    }
}

fn connector() -> Arc<Connector> {
    let target = Arc::new(plain_target());
    Arc::new(Connector::new(target, ConnectContext::default()))
}

/// Logs in to a server that sends `early` in one packet with the end of the login.
async fn log_in(
    connector: &Connector,
    early: &[u8],
) -> (Result<LoggedIn, crate::targets::TargetError>, MemoryServer) {
    let (near, far) = tokio::io::duplex(PIPE);
    let mut server = MemoryServer::new(far);
    let transport = Transport::Memory(near);
    let (login, ()) = tokio::join!(
        log_in_over(connector, transport, "postgres", None),
        server.let_in(early)
    );
    (login.map_err(|error| error.trouble), server)
}

/// A pipeline that is logged in, and its server, which is still to be played.
async fn pipeline(mode: Mode) -> (Pipeline, MemoryServer) {
    let connector = connector();
    let (login, server) = log_in(&connector, b"").await;
    (Pipeline::new(&connector, 7, mode, login.unwrap()), server)
}

/// A session, and the script of its server, which runs until the session ends.
async fn session(
    mode: Mode,
    answer: impl FnMut(&str) -> ScriptedAnswer + Send + 'static,
) -> (Session, Script) {
    let (pipeline, server) = pipeline(mode).await;
    (session_of(pipeline), server.play(answer))
}

fn session_of(pipeline: Pipeline) -> Session {
    Session {
        pipeline,
        info: SessionInfo::default(),
        permits: Vec::new(),
    }
}

/// A query of ours or of a user, with a label `a` and a value `b`.
fn query_of(sql: &str, builtin: bool) -> ScheduledQuery {
    let column = |name: &str, kind| Column {
        name: name.to_owned(),
        kind,
    };
    let metric = Metric {
        tag: "t".to_owned(),
        collector: "c".to_owned(),
        side: Side::Both,
        scope: Scope::Own,
        optional: false,
        interval: None,
        timeout: None,
        requires: None,
        bound: None,
        extension: None,
        builtin,
        until: None,
        queries: vec![Query {
            version: Version(vec![13]),
            sql: sql.into(),
            columns: vec![
                column("a", ColumnKind::Label),
                column("b", ColumnKind::Value(0)),
            ],
        }],
        source: Source {
            file: "f".to_owned(),
            tag: "t".to_owned(),
        },
    };
    let chosen = Chosen {
        metric: Arc::new(metric),
        at: 0,
    };
    ScheduledQuery::new(chosen, "postgres")
}

/// One of ours.
pub(super) fn query(sql: &str) -> ScheduledQuery {
    query_of(sql, true)
}

/// What runs of these queries share.
pub(super) fn context<'a>(catalog: &'a Catalog, budget: &'a SampleBudget) -> QueryContext<'a> {
    QueryContext {
        catalog,
        labels: b"server=\"s\"",
        query_text: 100,
        label_value: 1_000,
        budget,
    }
}

/// How the last run of each ended: its samples in numbers, or its error.
pub(super) fn outcomes(slots: &[ScheduledQuery]) -> Vec<String> {
    use super::query::QueryOutcome;
    let outcome = |slot: &ScheduledQuery| match &slot.outcome {
        QueryOutcome::Done => slot.samples().map_or(0, |all| all.samples()).to_string(),
        QueryOutcome::Failed(error) => error.to_string(),
        QueryOutcome::Running => "running".to_owned(),
        QueryOutcome::Waiting => "waiting".to_owned(),
    };
    slots.iter().map(outcome).collect()
}
