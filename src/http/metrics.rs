//! The metrics port: `/` and `/metrics`.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use super::send_margin::SendTime;
use super::sending::SentAnswers;
use super::serve::{HttpPort, ServeError};
use super::settings::HttpSettings;
use super::{negotiate, overview, reply};
use crate::connection_limit::{ConnectionLimit, DisplacedConnections, ListenerPort};
use crate::exposition::Format;
use crate::scrape::Scraper;
use crate::shutdown::Shutdown;
use crate::supervision::TaskName;

/// Serves `/` and `/metrics` until the shutdown begins; then the sockets close at once, and
/// answers under way have 5 s. Returns at once; the shutdown waits for the work.
///
/// # Errors
/// When the sockets cannot be watched, which is when files have run out.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_metrics(
    listeners: Vec<TcpListener>,
    scraper: Scraper,
    settings: watch::Receiver<Arc<HttpSettings>>,
    displaced: DisplacedConnections,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let connections = ConnectionLimit::new(ListenerPort::Metrics, displaced);
    let router = router(scraper, settings.clone());
    HttpPort::new("metrics port", router, settings, true, connections).spawn(
        TaskName::Metrics,
        listeners,
        shutdown,
    )?;
    Ok(())
}

#[derive(Clone, Debug)]
struct MetricsState {
    scraper: Scraper,
    settings: watch::Receiver<Arc<HttpSettings>>,
    sent: SentAnswers,
    sends: SendTime,
}

pub(super) fn router(scraper: Scraper, settings: watch::Receiver<Arc<HttpSettings>>) -> Router {
    Router::new()
        .route("/", any(get_overview))
        .route("/metrics", any(get_metrics))
        .fallback(refuse_path)
        .layer(compression())
        .with_state(MetricsState {
            scraper,
            settings,
            sent: SentAnswers::default(),
            sends: SendTime::default(),
        })
}

/// Compression by `Accept-Encoding`: gzip and zstd at their fastest, for a scrape is read once.
pub(super) fn compression() -> CompressionLayer {
    CompressionLayer::new()
        .gzip(true)
        .zstd(true)
        .quality(CompressionLevel::Fastest)
}

async fn get_overview(State(source): State<MetricsState>, method: Method) -> Response {
    reply::refuse_method(&method).unwrap_or_else(|| overview::page(&source.scraper.overview()))
}

async fn get_metrics(
    State(source): State<MetricsState>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = reply::refuse_method(&method) {
        return refusal;
    }
    let settings = source.settings.borrow().clone();
    let format = negotiate::format(&headers, settings.openmetrics);
    // To ask for the head is not to ask for a scrape.
    let mut response = if method == Method::HEAD {
        stream(std::iter::empty(), format)
    } else {
        let limit = negotiate::time_limit(&headers, settings.patience(), &source.sends);
        let deadline = Instant::now() + limit;
        let exposition = source.scraper.scrape(deadline, format).await;
        // What the collection itself takes beyond its deadline is missing from the client's time
        // as well.
        let over = Instant::now().min(deadline);
        let MetricsState { sent, sends, .. } = source;
        let end = std::iter::from_fn(move || {
            sends.record(over.elapsed());
            None
        });
        let pieces = sent.begin(&exposition, format).chain(end);
        // Compression asks once more after the end.
        answer(Body::from_stream(stream::iter(pieces).fuse()), format)
    };
    if settings.openmetrics {
        response
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("accept"));
    }
    response
}

async fn refuse_path() -> Response {
    reply::text(
        StatusCode::FORBIDDEN,
        "Nothing here. The metrics are at /metrics, an overview is at /.\n",
    )
}

/// An answer that sends the pieces as they are.
pub(super) fn stream(
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
    format: Format,
) -> Response {
    answer(
        Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)).fuse()),
        format,
    )
}

/// An answer whose length is left open, so that it goes out in chunks (RFC 9112 section 7.1), also
/// when it is compressed.
fn answer(body: Body, format: Format) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    reply::unkept(headers);
    response
}
