//! One connection: TLS if wanted, then requests until either side has enough.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::io_timeout::{ConnectionState, IoTimeouts, RequestInProgress, TimeoutStream};
use super::reply;
use super::settings::HttpSettings;
use crate::connection_limit::ConnectionPlace;

/// A head up to this size is read whole, so that one that is too large gets an answer that fits.
const READ_BUFFER: usize = 64 * 1024;

/// What a connection needs.
#[derive(Debug)]
pub(super) struct HttpConnection<'a> {
    /// Its name, for log lines.
    pub(super) port: &'static str,
    /// Cancelled when the port is no longer served.
    pub(super) stop: &'a CancellationToken,
    pub(super) router: Router,
    pub(super) settings: &'a HttpSettings,
    pub(super) place: ConnectionPlace,
}

impl HttpConnection<'_> {
    /// Answers requests until the connection ends.
    pub(super) async fn run(self, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
        let socket = SockRef::from(&stream);
        if let Err(error) = socket
            .set_tcp_nodelay(self.settings.nodelay)
            .and_then(|()| socket.set_keepalive(self.settings.keep_alive))
        {
            // The peer is gone already.
            tracing::debug!(port = self.port, %error, "cannot set options of a connection");
            return;
        }
        let state = ConnectionState::new(self.place.activity().clone());
        let timeouts = IoTimeouts {
            head: self.settings.header_read_timeout(),
            idle: self.settings.idle_timeout,
            stall: self.settings.patience(),
        };
        let stream = TimeoutStream::new(stream, state.clone(), timeouts);
        let Some(config) = tls else {
            return self.serve(stream, state).await;
        };
        let accepted = tokio::select! {
            accepted = TlsAcceptor::from(config).accept(stream) => accepted,
            () = self.stop.cancelled() => return,
            () = self.place.to_leave() => return,
        };
        match accepted {
            Ok(stream) => self.serve(stream, state).await,
            Err(error) => {
                tracing::debug!(port = self.port, %error, "the TLS handshake with a client failed");
            }
        }
    }

    async fn serve<I>(self, io: I, state: ConnectionState)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = LimitedService {
            router: self.router,
            max_url: self.settings.max_url,
            max_headers: self.settings.max_headers,
            state: state.clone(),
        };
        let mut connection = pin!(
            http1::Builder::new()
                // `TimeoutStream` keeps these times.
                .header_read_timeout(None)
                .max_buf_size(READ_BUFFER)
                .serve_connection(TokioIo::new(io), service)
        );
        let mut stopping = pin!(self.stop.cancelled());
        let mut leaving = pin!(self.place.to_leave());
        let (mut stop, mut leave, mut asked) = (false, false, false);
        let end = std::future::poll_fn(|cx| {
            loop {
                // First of all what has come is read: who has asked meanwhile is answered.
                if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                    return Poll::Ready(end);
                }
                stop = stop || stopping.as_mut().poll(cx).is_ready();
                leave = leave || leaving.as_mut().poll(cx).is_ready();
                let end_now = stop || leave;
                // Its answers are with the system, which sends them also after the end; or it has
                // not taken them for so long that it will not.
                let sent = !state.is_busy() && !state.is_blocked();
                if leave && (sent || self.place.activity().is_stalled()) {
                    return Poll::Ready(Ok(()));
                }
                // Asked while the tail of an answer waits to be taken, hyper would cut it off.
                if asked || !end_now || state.is_blocked() {
                    return Poll::Pending;
                }
                if state.is_fresh() {
                    return Poll::Ready(Ok(()));
                }
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await;
        if let Err(error) = end {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::debug!(port = self.port, %error, cause, "a connection ended early");
        }
    }
}

/// The service that hyper calls: the router behind limits on the
/// head. It also counts the requests in progress.
#[derive(Debug)]
struct LimitedService {
    router: Router,
    max_url: usize,
    max_headers: usize,
    state: ConnectionState,
}

impl LimitedService {
    fn refusal(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let url = request
            .uri()
            .path_and_query()
            .map_or(0, |url| url.as_str().len());
        if url > self.max_url {
            return Some(reply::url_too_long(self.max_url));
        }
        let headers: usize = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        (headers > self.max_headers).then(|| reply::headers_too_large(self.max_headers))
    }
}

impl hyper::service::Service<Request<Incoming>> for LimitedService {
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = self.state.begin();
        let refusal = self.refusal(&request);
        let router = self.router.clone();
        Box::pin(async move {
            let response = match refusal {
                Some(response) => response,
                None => router.oneshot(request.map(Body::new)).await?,
            };
            Ok(response.map(|body| TrackedBody { body, _busy: busy }))
        })
    }
}

/// A body whose end is the end of its request.
#[derive(Debug)]
struct TrackedBody {
    body: Body,
    _busy: RequestInProgress,
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
