//! The health port: `/livez` and `/readyz`, in the manner of the Kubernetes API server.

use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use tokio::sync::watch;

use super::reply;
use super::serve::{HttpPort, ServeError};
use super::settings::HttpSettings;
use crate::connection_limit::{ConnectionLimit, DisplacedConnections, ListenerPort};
use crate::shutdown::Shutdown;
use crate::supervision::TaskName;

/// Whether the program can do its work. It does not depend on any database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Why not, or what a person should know all the same: one short line each, without secrets.
    pub reasons: Vec<String>,
}

/// Serves `/livez` and `/readyz` in plain HTTP, as kubelet asks for them, until the shutdown
/// begins. Returns at once; the shutdown waits for the work.
///
/// # Errors
/// When the sockets cannot be watched, which is when files have run out.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_health(
    listeners: Vec<TcpListener>,
    readiness: watch::Receiver<Readiness>,
    settings: watch::Receiver<Arc<HttpSettings>>,
    displaced: DisplacedConnections,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let connections = ConnectionLimit::new(ListenerPort::Health, displaced);
    HttpPort::new(
        "health port",
        router(readiness),
        settings,
        false,
        connections,
    )
    .spawn(TaskName::Health, listeners, shutdown)?;
    Ok(())
}

pub(super) fn router(readiness: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/livez", any(live))
        .route("/readyz", any(ready))
        .fallback(|| async {
            reply::text(
                StatusCode::NOT_FOUND,
                "Nothing here. There are /livez and /readyz.\n",
            )
        })
        .with_state(readiness)
}

async fn live(method: Method, RawQuery(query): RawQuery) -> Response {
    // That this line runs is the whole check.
    let alive = Readiness {
        ready: true,
        reasons: Vec::new(),
    };
    answer("livez", &method, query.as_deref(), &alive)
}

async fn ready(
    State(readiness): State<watch::Receiver<Readiness>>,
    method: Method,
    RawQuery(query): RawQuery,
) -> Response {
    let readiness = readiness.borrow().clone();
    answer("readyz", &method, query.as_deref(), &readiness)
}

fn answer(check: &str, method: &Method, query: Option<&str>, readiness: &Readiness) -> Response {
    if let Some(refusal) = reply::refuse_method(method) {
        return refusal;
    }
    let verbose = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair.split('=').next() == Some("verbose"));
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply::text(status, body(check, verbose, readiness))
}

fn body(check: &str, verbose: bool, readiness: &Readiness) -> String {
    if readiness.ready && !verbose && readiness.reasons.is_empty() {
        return "ok".to_owned();
    }
    let mut text = String::new();
    if verbose {
        text.push_str("[+]process ok\n");
    } else if readiness.ready {
        text.push_str("ok\n");
    }
    if !readiness.ready && readiness.reasons.is_empty() {
        text.push_str("not ready yet\n");
    }
    for reason in &readiness.reasons {
        let mark = if verbose { "[-]" } else { "" };
        // One line a reason, whatever it holds.
        let line = reason.split(['\r', '\n']).collect::<Vec<_>>().join(" ");
        // Writing to a String does not fail.
        writeln!(text, "{mark}{line}").ok();
    }
    if verbose {
        let end = if readiness.ready { "passed" } else { "failed" };
        writeln!(text, "{check} check {end}").ok();
    }
    text
}
